//! Ends tasks before their time.

use std::io;

use ploinky_contract::TaskId;
use rustix::fs::{OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::{FILE_MODE, LOCK_MODE, Producer};
use crate::TaskError;
use crate::directories::{Directories, exists};

/// What a wish to cancel met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cancel {
    /// No run of the task went on, and none will begin; its record is published.
    NeverStarted,
    /// The agent has the task and was asked to end it; a record follows, or [`Producer::give_up`] makes one.
    Asked,
    /// The task has an outcome already, or is not there.
    Finished,
}

impl Producer {
    /// Ends a task that nobody waits for: takes its lock before the agent does and publishes `why`, or asks
    /// the agent to end it. Call [`Producer::clean`] when the outcome is of no use any more.
    ///
    /// # Errors
    /// When the lock or the wish cannot be made. The task may still run; its deadline ends it.
    pub fn cancel(&self, id: TaskId, why: &TaskError) -> io::Result<Cancel> {
        match mkdirat(&self.directories.locks, id.as_str(), LOCK_MODE) {
            Ok(()) => {
                // The lock is also free after the end: the agent records first and unlocks then.
                if self.directories.has_outcome(id)? {
                    self.directories.unlock(id)?;
                    return Ok(Cancel::Finished);
                }
                self.give_up(id, why)?;
                Ok(Cancel::NeverStarted)
            }
            Err(Errno::EXIST) => self.ask(id),
            Err(e) => Err(e.into()),
        }
    }

    /// The same for a task that was accepted for good: the record is durable before this returns.
    ///
    /// # Errors
    /// When the lock, the wish or the record cannot be made. The task does not run as long as the lock is
    /// there that this call made; call it again.
    pub fn cancel_durable(&self, id: TaskId, why: &TaskError) -> io::Result<Cancel> {
        match mkdirat(&self.directories.locks, id.as_str(), LOCK_MODE) {
            Ok(()) => {
                let Directories { requests, .. } = &self.directories;
                if self.directories.has_outcome(id)? || !exists(requests, id)? {
                    self.directories.unlock(id)?;
                    return Ok(Cancel::Finished);
                }
                self.give_up_durable(id, why)?;
                // Nobody claims a task with an outcome.
                self.directories.unlock(id)?;
                Ok(Cancel::NeverStarted)
            }
            Err(Errno::EXIST) => self.ask(id),
            Err(e) => Err(e.into()),
        }
    }

    /// Publishes an error record for a task whose agent does not. The first record wins.
    ///
    /// # Errors
    /// When the record cannot be written; none is visible then.
    pub fn give_up(&self, id: TaskId, why: &TaskError) -> io::Result<()> {
        self.directories.record(id, &why.encode(id), FILE_MODE).map(|_recorded| ())
    }

    /// The same for a task that was accepted for good: whichever record there is, it is durable before this
    /// returns.
    ///
    /// # Errors
    /// When the record cannot be written or not be made durable; try again.
    pub fn give_up_durable(&self, id: TaskId, why: &TaskError) -> io::Result<()> {
        self.directories.record_synced(id, &why.encode(id), FILE_MODE).map(|_recorded| ())
    }

    /// Asks the agent to end a task that it has.
    fn ask(&self, id: TaskId) -> io::Result<Cancel> {
        if self.directories.has_outcome(id)? {
            return Ok(Cancel::Finished);
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.directories.urgent, id.as_str(), flags, FILE_MODE) {
            Ok(_) | Err(Errno::EXIST) => Ok(Cancel::Asked),
            Err(e) => Err(e.into()),
        }
    }
}
