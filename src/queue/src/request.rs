//! A task as the server hands it to an agent, and its bytes.

use ploinky_contract::limits::{PARAMS_MAX, REQUEST_ENVELOPE_MAX_BYTES, REQUEST_MAX_BYTES};
use ploinky_contract::{CommandName, TaskId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::parse_boot_id;
use crate::record::{RecordError, VERSION, check_version, parse};

/// Bytes of a request file.
pub(crate) const REQUEST_FILE_MAX_BYTES: usize = REQUEST_MAX_BYTES + REQUEST_ENVELOPE_MAX_BYTES;
/// Entries of `params` in a request file: those of the caller, and the user before them.
const WRITTEN_PARAMS_MAX: usize = PARAMS_MAX + 1;
/// The only mode of this version: the promise ends with the connection that waits.
const MODE: &str = "sync";
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
    /// 1, unless the task was run before.
    pub attempt: u32,
}

/// One life of a server process.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Submitter {
    /// N of `ploinky@N`.
    pub instance: u16,
    /// systemd's `$INVOCATION_ID`.
    pub invocation: String,
}

/// The file, with parameters of any form.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written<'a, P> {
    v: u8,
    id: &'a str,
    command: &'a str,
    params: P,
    owner: &'a str,
    mode: &'a str,
    seq: u64,
    deadline_boot_ns: u64,
    boot_id: &'a str,
    #[serde(borrow)]
    submitter: WrittenSubmitter<'a>,
    attempt: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenSubmitter<'a> {
    instance: u16,
    invocation: &'a str,
}

/// The part of a request that decides whether it is run and how.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) id: TaskId,
    pub(crate) command: CommandName,
    pub(crate) seq: u64,
    pub(crate) deadline_boot_ns: u64,
    pub(crate) is_of_boot: bool,
    /// N of `ploinky@N`, who waits.
    pub(crate) instance: u16,
}

impl Request {
    /// The bytes of the request file: one line of JSON without a line feed, whatever white space the
    /// parameters hold.
    pub fn encode(&self) -> Vec<u8> {
        let Self { id, command, params, owner, seq, deadline_boot_ns, boot_id, submitter, attempt } =
            self;
        let Submitter { instance, invocation } = submitter;
        let written = Written {
            v: VERSION,
            id: id.as_str(),
            command: command.as_str(),
            params: params.as_slice(),
            owner: owner.as_str(),
            mode: MODE,
            seq: *seq,
            deadline_boot_ns: *deadline_boot_ns,
            boot_id,
            submitter: WrittenSubmitter { instance: *instance, invocation },
            attempt: *attempt,
        };
        let size: usize = params.iter().map(|param| param.get().len() + 1).sum();
        let mut bytes = Vec::with_capacity(size + 512);
        // Strings, numbers and checked JSON cannot fail to serialise into memory.
        if serde_json::to_writer(&mut bytes, &written).is_err() {
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

    /// The request in `bytes`.
    ///
    /// # Errors
    /// When they are too long, nest too deeply or have not exactly the fields of a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let written: Written<'_, Vec<Box<RawValue>>> = parse(bytes, REQUEST_FILE_MAX_BYTES, SHAPE)?;
        written.check()?;
        let Written {
            v: _,
            id,
            command,
            params,
            owner,
            mode: _,
            seq,
            deadline_boot_ns,
            boot_id,
            submitter: WrittenSubmitter { instance, invocation },
            attempt,
        } = written;
        let has_user = params.first().is_some_and(|first| first.get().starts_with('"'));
        if !has_user || WRITTEN_PARAMS_MAX < params.len() {
            return Err(RecordError::Field { field: "params" });
        }
        Ok(Self {
            id: id.parse().map_err(|_shape| RecordError::Field { field: "id" })?,
            command: command.parse().map_err(|_shape| RecordError::Field { field: "command" })?,
            params,
            owner: owner.parse().map_err(|_shape| RecordError::Field { field: "owner" })?,
            seq,
            deadline_boot_ns,
            boot_id: boot_id.to_owned(),
            submitter: Submitter { instance, invocation: invocation.to_owned() },
            attempt,
        })
    }
}

impl RequestHead {
    /// The head of the request in `bytes`; the parameters are checked to be JSON and not copied.
    pub(crate) fn decode(bytes: &[u8], boot_id: &str) -> Result<Self, RecordError> {
        let written: Written<'_, &RawValue> = parse(bytes, REQUEST_FILE_MAX_BYTES, SHAPE)?;
        written.check()?;
        if !written.params.get().starts_with('[') {
            return Err(RecordError::Field { field: "params" });
        }
        Ok(Self {
            id: written.id.parse().map_err(|_shape| RecordError::Field { field: "id" })?,
            command: written
                .command
                .parse()
                .map_err(|_shape| RecordError::Field { field: "command" })?,
            seq: written.seq,
            deadline_boot_ns: written.deadline_boot_ns,
            is_of_boot: written.boot_id == boot_id,
            instance: written.submitter.instance,
        })
    }
}

impl<P> Written<'_, P> {
    fn check(&self) -> Result<(), RecordError> {
        check_version(self.v)?;
        if self.mode != MODE {
            return Err(RecordError::Field { field: "mode" });
        }
        match parse_boot_id(self.boot_id) {
            Ok(normal) if normal == self.boot_id => Ok(()),
            Ok(_) | Err(_) => Err(RecordError::Field { field: "boot_id" }),
        }
    }
}
