//! The part of a request that decides whether, when and how it is run: all but the parameters.

use std::os::fd::OwnedFd;

use ploinky_contract::limits::REQUEST_ENVELOPE_MAX_BYTES;
use ploinky_contract::{CommandName, TaskId, UserId};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::written::Read;
use super::{REQUEST_FILE_MAX_BYTES, SHAPE, Submitter, Terms};
use crate::read_result::{BadResult, read, read_prefix};
use crate::record::{RecordError, parse};

/// Bytes in which the head of a task that is kept ends.
const HEAD_MAX_BYTES: usize = REQUEST_ENVELOPE_MAX_BYTES;
/// What ends such a head. No string holds these bytes: a quote in a string is escaped, and one that ends a
/// string is not followed by a letter.
const PARAMS: &[u8] = br#","params":["#;

/// A request without its parameters.
#[derive(Clone, Debug)]
pub struct TaskHead {
    /// Names the task and its files.
    pub id: TaskId,
    /// What to do.
    pub command: CommandName,
    /// Who may see the task.
    pub owner: UserId,
    /// `CLOCK_BOOTTIME` in nanoseconds at submission.
    pub seq: u64,
    /// When the task is over at the latest, in nanoseconds of `CLOCK_BOOTTIME`, on its own boot.
    pub deadline_boot_ns: u64,
    /// The boot that both times belong to.
    pub boot_id: String,
    /// Who waits for the result, or took the task.
    pub submitter: Submitter,
    /// 1.
    pub attempt: u32,
    /// What was agreed on beyond a plain call.
    pub terms: Terms,
}

impl TaskHead {
    /// When the task is over at the latest, in nanoseconds of `CLOCK_BOOTTIME` of the boot `boot_id`; `None`
    /// if it is over with its own boot.
    pub fn deadline_on(&self, boot_id: &str) -> Option<u64> {
        if self.boot_id == boot_id {
            Some(self.deadline_boot_ns)
        } else if self.terms.is_async() {
            // The span begins anew with the boot: how long the host was off is not known.
            Some(self.terms.deadline_in_ns.unwrap_or(self.deadline_boot_ns))
        } else {
            None
        }
    }

    /// The place among the tasks of an agent, small ones first: those of earlier boots in the order of the
    /// wall clock, then those of `boot_id` as they were submitted.
    pub fn order_on(&self, boot_id: &str) -> u64 {
        const THIS_BOOT: u64 = 1 << 63;
        if self.boot_id == boot_id {
            THIS_BOOT | self.seq
        } else {
            self.terms.submitted_ms & !THIS_BOOT
        }
    }

    /// The head of the request in `bytes`; the parameters are checked to be JSON and not copied.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let read: Read<'_, &RawValue> = parse(bytes, REQUEST_FILE_MAX_BYTES, SHAPE)?;
        let (head, params) = read.check()?;
        if params.get().starts_with('[') {
            Ok(head)
        } else {
            Err(RecordError::Field { field: "params" })
        }
    }

    /// The head if the beginning of a request file holds it whole.
    fn decode_beginning(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(PARAMS.len()).position(|window| window == PARAMS)?;
        let mut head = bytes.get(..end)?.to_vec();
        head.extend_from_slice(br#","params":[]}"#);
        let read: Read<'_, IgnoredAny> = parse(&head, REQUEST_FILE_MAX_BYTES, SHAPE).ok()?;
        let (head, _params) = read.check().ok()?;
        // A plain call has fields behind its parameters.
        head.terms.is_async().then_some(head)
    }
}

/// What the lane of plain calls has to know of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) id: TaskId,
    pub(crate) command: CommandName,
    pub(crate) seq: u64,
    pub(crate) deadline_boot_ns: u64,
    pub(crate) is_of_boot: bool,
    pub(crate) is_stream: bool,
    /// N of `ploinky@N`, who waits.
    pub(crate) instance: u16,
}

impl RequestHead {
    /// The head of the request in `bytes`.
    pub(crate) fn decode(bytes: &[u8], boot_id: &str) -> Result<Self, RecordError> {
        TaskHead::decode(bytes).map(|head| Self::of(&head, boot_id))
    }

    /// What a claim needs of `head`.
    pub(crate) fn of(head: &TaskHead, boot_id: &str) -> Self {
        Self {
            id: head.id,
            command: head.command.clone(),
            seq: head.seq,
            deadline_boot_ns: head.deadline_boot_ns,
            is_of_boot: head.boot_id == boot_id,
            is_stream: head.terms.stream,
            instance: head.submitter.instance,
        }
    }
}

/// The head of the request `id`, or `None` if it is not there. Of a task that is kept only the beginning is
/// read.
pub(crate) fn read_head(
    requests: &OwnedFd,
    id: TaskId,
) -> Result<Option<(TaskHead, rustix::fs::Stat)>, BadResult> {
    let Some((beginning, about)) = read_prefix(requests, id.as_str(), HEAD_MAX_BYTES)? else {
        return Ok(None);
    };
    let decoded = match TaskHead::decode_beginning(&beginning) {
        Some(head) => Ok(head),
        None if beginning.len() < HEAD_MAX_BYTES => TaskHead::decode(&beginning),
        None => match read(requests, id, REQUEST_FILE_MAX_BYTES)? {
            Some(bytes) => TaskHead::decode(&bytes),
            None => return Ok(None),
        },
    };
    let head = decoded.map_err(BadResult::Record)?;
    if head.id == id {
        Ok(Some((head, about)))
    } else {
        Err(BadResult::Record(RecordError::Field { field: "id" }))
    }
}
