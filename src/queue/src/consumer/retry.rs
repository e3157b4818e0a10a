//! Runs that failed and are followed by another one.

use std::io;
use std::time::Duration;

use ploinky_contract::TaskId;
use serde_json::value::RawValue;

use super::{Claim, Consumer};
use crate::note::{Note, read_note, write_note};
use crate::progress::write_progress;
use crate::read_result::BadResult;
use crate::{TaskError, boottime_ns};

impl Consumer {
    /// Writes down that this run of a claimed task failed, and releases the task for another run after
    /// `wait`, which [`crate::Terms::backoff`] tells. Not for the last run: that has to [`Consumer::fail`].
    ///
    /// # Errors
    /// The task is still locked; try again.
    pub fn put_off(&self, claim: &Claim, error: &TaskError, wait: Duration) -> io::Result<()> {
        self.note_failure(claim.id(), claim.attempt(), error.clone(), wait)?;
        self.unlock(claim.id())
    }

    /// Releases a claimed task that has not begun to run, as if it had never been claimed.
    ///
    /// # Errors
    /// The task is still locked; try again.
    pub fn give_back(&self, claim: &Claim) -> io::Result<()> {
        self.unlock(claim.id())
    }

    /// The note on the last failed run, or `None` if none failed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn note(&self, id: TaskId) -> Result<Option<Note>, BadResult> {
        read_note(&self.directories.locks, id)
    }

    /// Writes down how far a claimed task is, in the place of what was said before.
    ///
    /// # Errors
    /// When it is longer than [`ploinky_contract::limits::PROGRESS_MAX_BYTES`] or cannot be written.
    pub fn progress(&self, id: TaskId, progress: &RawValue) -> io::Result<()> {
        write_progress(&self.directories.locks, id, progress)
    }

    pub(super) fn note_failure(
        &self,
        id: TaskId,
        attempt: u32,
        error: TaskError,
        wait: Duration,
    ) -> io::Result<()> {
        let directories = &self.directories;
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let note = Note {
            attempt,
            not_before_boot_ns: boottime_ns().saturating_add(wait_ns),
            boot_id: self.boot_id.clone(),
            error,
        };
        write_note(&directories.locks, id, &note, Some(&directories.disk))?;
        directories.locks_sync.sync(&directories.disk, &directories.locks)
    }
}
