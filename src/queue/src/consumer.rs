//! The agent's side of its queue: claim, complete or fail, recover.

mod claim;
mod recovery;
mod retry;
mod waiting;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ploinky_contract::TaskId;
use ploinky_contract::limits::RESULT_MAX_BYTES;
use rustix::fs::{AtFlags, Dir, Mode, unlinkat};
use rustix::io::Errno;
use serde_json::value::RawValue;

pub use self::claim::{Claim, Claimed, NotClaimed};
pub use self::recovery::Recovered;
pub use self::waiting::Waiting;
use crate::directories::{Directories, OpenError, unless_absent};
use crate::publish::Recorded;
use crate::runner_lock::RunnerLock;
use crate::watch::Watch;
use crate::{FileResult, Outcome, TaskError, code};

/// Results: the server is nobody special to the agent's files.
pub(crate) const RESULT_MODE: Mode = Mode::from_raw_mode(0o644);

/// The agent's handle of its queue. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) directories: Directories,
    boot_id: String,
}

impl Consumer {
    /// Opens the queue at `tasks` without following links. `boot_id` is that of [`crate::boot_id`].
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub fn open(tasks: &Path, boot_id: String) -> Result<Self, OpenError> {
        Directories::open(tasks).map(|directories| Self { directories, boot_id })
    }

    /// Becomes the runner of this queue; `None` if there is one already.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn become_runner(&self) -> io::Result<Option<RunnerLock>> {
        RunnerLock::take(&self.directories.locks)
    }

    /// Tasks that shall end early.
    ///
    /// # Errors
    /// When the wishes cannot be listed.
    pub fn urgent(&self) -> io::Result<Vec<TaskId>> {
        ids_in(&self.directories.urgent, usize::MAX)
    }

    /// Publishes the value of a claimed task and releases it; a value that is too long becomes the error
    /// `RESULT_TOO_LARGE`. The record of a task that was accepted for good is durable then.
    ///
    /// # Errors
    /// The task is still locked; try again.
    pub fn complete(&self, claim: &Claim, response: &RawValue) -> io::Result<Recorded> {
        let bytes = Outcome::encode_response(claim.id(), response);
        if RESULT_MAX_BYTES < bytes.len() {
            return self.fail(claim, &too_large(bytes.len()));
        }
        self.record(claim, &bytes)
    }

    /// Publishes that the result of a claimed task is a file, as [`Consumer::seal_output`] found it, and
    /// releases the task.
    ///
    /// # Errors
    /// The task is still locked; try again.
    pub fn complete_file(&self, claim: &Claim, file: &FileResult) -> io::Result<Recorded> {
        self.record(claim, &file.encode(claim.id()))
    }

    /// Publishes why a claimed task has no value, and releases it. The record of a task that was accepted for
    /// good is durable then.
    ///
    /// # Errors
    /// The task is still locked; try again.
    pub fn fail(&self, claim: &Claim, why: &TaskError) -> io::Result<Recorded> {
        let id = claim.id();
        let mut bytes = why.encode(id);
        if RESULT_MAX_BYTES < bytes.len() {
            bytes = too_large(bytes.len()).encode(id);
        }
        self.record(claim, &bytes)
    }

    fn record(&self, claim: &Claim, bytes: &[u8]) -> io::Result<Recorded> {
        let id = claim.id();
        let recorded = if claim.head().terms.is_async() {
            self.directories.record_synced(id, bytes, RESULT_MODE)?
        } else {
            self.directories.record(id, bytes, RESULT_MODE)?
        };
        self.unlock(id)?;
        Ok(recorded)
    }

    /// A watch of its own on the tasks that arrive.
    ///
    /// # Errors
    /// When the kernel gives no more watches.
    pub fn watch_requests(&self) -> io::Result<Watch> {
        Watch::on(&[&self.directories.requests])
    }

    /// A watch of its own on the wishes to end tasks.
    ///
    /// # Errors
    /// When the kernel gives no more watches.
    pub fn watch_urgent(&self) -> io::Result<Watch> {
        Watch::on(&[&self.directories.urgent])
    }

    fn unlock(&self, id: TaskId) -> io::Result<()> {
        match unlinkat(&self.directories.locks, id.as_str(), AtFlags::REMOVEDIR) {
            // The server made this lock to cancel the task, and removes it when it cleans.
            Err(Errno::PERM | Errno::NOTEMPTY) => Ok(()),
            other => unless_absent(other),
        }
    }
}

pub(crate) fn too_large(length: usize) -> TaskError {
    TaskError::new(
        code::RESULT_TOO_LARGE,
        format!("the result has {length} bytes; {RESULT_MAX_BYTES} are allowed"),
    )
}

/// The names in a directory that are task ids, at most `limit` of them.
pub(crate) fn ids_in(directory: &OwnedFd, limit: usize) -> io::Result<Vec<TaskId>> {
    let mut ids = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if let Ok(id) = TaskId::from_bytes(entry.file_name().to_bytes()) {
            if limit <= ids.len() {
                break;
            }
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests;
