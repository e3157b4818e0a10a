//! A task as the server hands it to an agent, and its bytes.

mod head;
mod terms;
mod written;

use ploinky_contract::limits::{PARAMS_MAX, REQUEST_ENVELOPE_MAX_BYTES, REQUEST_MAX_BYTES};
use ploinky_contract::{CommandName, TaskId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::written::{Read, Written};
use crate::record::{RecordError, parse};

pub use self::head::TaskHead;
pub(crate) use self::head::{RequestHead, read_head};
pub use self::terms::{Mode, Terms};

/// Bytes of a request file.
pub(crate) const REQUEST_FILE_MAX_BYTES: usize = REQUEST_MAX_BYTES + REQUEST_ENVELOPE_MAX_BYTES;
/// Entries of `params` in a request file: those of the caller, and the user before them.
const WRITTEN_PARAMS_MAX: usize = PARAMS_MAX + 1;
const SHAPE: &str = "a request";

/// One task.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the task and its files.
    pub id: TaskId,
    /// What to do.
    pub command: CommandName,
    /// With what; the first one is the user for whom the task runs, as a JSON string.
    pub params: Vec<Box<RawValue>>,
    /// Who may see the task.
    pub owner: UserId,
    /// Order among the tasks of an agent: `CLOCK_BOOTTIME` in nanoseconds at submission.
    pub seq: u64,
    /// When the task is over at the latest, in nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline_boot_ns: u64,
    /// The boot that both times belong to.
    pub boot_id: String,
    /// Who waits for the result.
    pub submitter: Submitter,
    /// 1 in a request file; which run it is in what a handler gets.
    pub attempt: u32,
    /// What was agreed on beyond a plain call.
    pub terms: Terms,
}

/// One life of a server process.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Submitter {
    /// N of `ploinky@N`.
    pub instance: u16,
    /// systemd's `$INVOCATION_ID`.
    pub invocation: String,
}

impl Request {
    /// The bytes of the request file: one line of JSON without a line feed, whatever white space the
    /// parameters hold. Empty if it cannot be written, which only a programming error brings about.
    pub fn encode(&self) -> Vec<u8> {
        let size: usize = self.params.iter().map(|param| param.get().len() + 1).sum();
        let mut bytes = Vec::with_capacity(size + 512);
        // Strings, numbers and checked JSON cannot fail to serialise into memory.
        if serde_json::to_writer(&mut bytes, &Written::from(self)).is_err() {
            bytes.clear();
        }
        // A string holds no bare control character, so these are white space between values.
        for byte in &mut bytes {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        bytes
    }

    /// The request in `bytes`. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// When they are too long, nest too deeply, lack a field, or have one twice.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let read: Read<'_, Vec<Box<RawValue>>> = parse(bytes, REQUEST_FILE_MAX_BYTES, SHAPE)?;
        let (head, params) = read.check()?;
        let has_user = params.first().is_some_and(|first| first.get().starts_with('"'));
        if !has_user || WRITTEN_PARAMS_MAX < params.len() {
            return Err(RecordError::Field { field: "params" });
        }
        let TaskHead {
            id,
            command,
            owner,
            seq,
            deadline_boot_ns,
            boot_id,
            submitter,
            attempt,
            terms,
        } = head;
        Ok(Self {
            id,
            command,
            params,
            owner,
            seq,
            deadline_boot_ns,
            boot_id,
            submitter,
            attempt,
            terms,
        })
    }

    /// All but the parameters.
    pub fn head(&self) -> TaskHead {
        let Self {
            id,
            command,
            params: _,
            owner,
            seq,
            deadline_boot_ns,
            boot_id,
            submitter,
            attempt,
            terms,
        } = self;
        TaskHead {
            id: *id,
            command: command.clone(),
            owner: owner.clone(),
            seq: *seq,
            deadline_boot_ns: *deadline_boot_ns,
            boot_id: boot_id.clone(),
            submitter: submitter.clone(),
            attempt: *attempt,
            terms: terms.clone(),
        }
    }
}
