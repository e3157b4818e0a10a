//! What waits in the lane, as far as a scheduler has to know, and results that are files.

use std::io;

use ploinky_contract::TaskId;

use super::{SyncClaim, SyncConsumer};
use crate::consumer::ids_in;
use crate::request::{RequestHead, TaskHead};
use crate::{FileResult, Recorded, Waiting};

impl SyncConsumer {
    /// All tasks whose requests are there.
    ///
    /// # Errors
    /// When the inbox cannot be listed.
    pub fn requests(&self) -> io::Result<Vec<TaskId>> {
        let there = ids_in(&self.directories.requests, usize::MAX)?;
        self.looked().retain(&there);
        Ok(there)
    }

    /// A task that a hint of the kernel named; `None` if it is not there. Whether it is over is only seen when it
    /// is claimed: nearly none is.
    ///
    /// # Errors
    /// When the lane cannot be read.
    pub fn waiting_task(&self, id: TaskId) -> io::Result<Option<Waiting>> {
        let Some(bytes) = self.read(id)? else { return Ok(None) };
        let Ok(head) = TaskHead::decode(&bytes) else {
            return Ok(Some(Waiting::unreadable(id)));
        };
        if head.id == id {
            self.looked().keep(RequestHead::of(&head, self.boot_id()), bytes);
        }
        Ok(Some(Waiting {
            id,
            order: head.seq,
            urgency: head.terms.urgency,
            not_before_boot_ns: 0,
            deadline_boot_ns: head.deadline_boot_ns,
            failed: 0,
            attempts: 1,
            what: Some((head.owner, head.command)),
        }))
    }

    /// Publishes that the result of a claimed task is a file, and frees its slot.
    ///
    /// # Errors
    /// The task is still claimed and has no outcome; try again.
    pub fn complete_file(&self, claim: &SyncClaim, file: &FileResult) -> io::Result<Recorded> {
        self.end(claim, file.encode(claim.id()))
    }
}
