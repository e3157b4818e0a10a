//! A call that a thread of this process has taken.

use ploinky_contract::{CommandName, TaskId};

use crate::{RecordError, Request};

/// A task that belongs to this process until it has an outcome. Dropped without one it keeps its slot until
/// its deadline, and the next runner reports it as crashed.
#[derive(Debug)]
pub struct SyncClaim {
    pub(super) slot: usize,
    pub(super) id: TaskId,
    pub(super) command: CommandName,
    pub(super) deadline_boot_ns: u64,
    /// Who waits.
    pub(super) instance: u16,
    pub(super) is_stream: bool,
    pub(super) bytes: Vec<u8>,
}

impl SyncClaim {
    /// The task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// What to do.
    pub fn command(&self) -> &CommandName {
        &self.command
    }

    /// When the task is over at the latest, in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn deadline_boot_ns(&self) -> u64 {
        self.deadline_boot_ns
    }

    /// Whether the caller reads events while the task runs.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The bytes of the request file: one JSON object.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole request.
    ///
    /// # Errors
    /// When a field that does not decide about the claim breaks a rule.
    pub fn request(&self) -> Result<Request, RecordError> {
        Request::decode(&self.bytes)
    }
}
