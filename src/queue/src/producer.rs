//! The server's side of one agent's queue: submit, look, collect, cancel, clean.

mod backlog;
mod cancel;
mod clean;
mod collect;
mod inspect;
mod known;
mod list;
mod submit;

use std::io;
use std::path::Path;
use std::sync::Mutex;

use ploinky_contract::Floor;
use rustix::fs::Mode;

pub use self::backlog::Backlog;
pub use self::cancel::Cancel;
pub(crate) use self::clean::remove_result;
pub use self::inspect::Inspected;
use self::known::KnownDurable;
pub use self::list::{Cursor, Filter, InvalidCursor, Page};
pub(crate) use self::submit::refused;
pub use self::submit::{Accepted, SubmitError, is_no_space};
use crate::directories::{Directories, OpenError, space_of};
use crate::janitor::Janitor;
use crate::lock::runner_is_alive_in;
use crate::watch::ResultWatch;

/// Requests and our own records: the agent reads them by its group.
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Locks.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o770);

/// The server's handle of one agent's queue. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct Producer {
    pub(crate) directories: Directories,
    /// Outcomes that a client may be told.
    known: KnownDurable,
    pub(crate) janitor: Mutex<Janitor>,
}

impl Producer {
    /// Opens the queue at `tasks` without following links.
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub fn open(tasks: &Path) -> Result<Self, OpenError> {
        let directories = Directories::open(tasks)?;
        Ok(Self { directories, known: KnownDurable::default(), janitor: Mutex::default() })
    }

    /// Device and inode of the directory that was opened; no other one has them as long as this value lives.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn place(&self) -> io::Result<(u64, u64)> {
        self.directories.place()
    }

    /// Whether blocks and inodes are above the floor below which no task is taken.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn has_room(&self) -> io::Result<bool> {
        Ok(!space_of(&self.directories.requests)?.is_below(Floor::USABLE))
    }

    /// Whether the agent serves its queue.
    pub fn runner_is_alive(&self) -> bool {
        runner_is_alive_in(&self.directories.locks)
    }

    /// A watch of its own on the results of this agent.
    ///
    /// # Errors
    /// When the kernel gives no more watches (`fs.inotify.max_user_instances`).
    pub fn watch(&self) -> io::Result<ResultWatch> {
        ResultWatch::on(&[&self.directories.responses, &self.directories.errors])
    }
}

#[cfg(test)]
mod tests;
