//! Makes requests visible to the agent, and durable where that is promised.

use std::io;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, mkdirat, unlinkat};
use rustix::io::Errno;

use super::{FILE_MODE, LOCK_MODE, Producer};
use crate::Request;
use crate::directories::{Directories, exists};
use crate::publish::{Recorded, Staged, publish};
use crate::request::REQUEST_FILE_MAX_BYTES;

/// Why a task was not submitted; nothing of it is visible then, but for [`SubmitError::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// A task of this id was submitted before; it is not touched.
    #[error("task {id} exists already")]
    Exists {
        /// The id.
        id: TaskId,
    },
    /// A task of this id was there before, and not all of it is removed yet; try again.
    #[error("an earlier task {id} is being removed")]
    BeingRemoved {
        /// The id.
        id: TaskId,
    },
    /// The disk or the agent's share of it is full.
    #[error("there is no space for task {id}")]
    NoSpace {
        /// The task.
        id: TaskId,
        /// `ENOSPC` or `EDQUOT`.
        source: io::Error,
    },
    /// The request is longer than agents accept.
    #[error("the request of task {id} has {length} bytes; {REQUEST_FILE_MAX_BYTES} are allowed")]
    TooLong {
        /// The task.
        id: TaskId,
        /// Its bytes.
        length: usize,
    },
    /// The queue cannot be written to.
    #[error("cannot publish the request of task {id}")]
    Publish {
        /// The task.
        id: TaskId,
        /// What the kernel said.
        source: io::Error,
    },
    /// The disk failed after the agent had taken the task: it runs or ran, but what becomes of it may get
    /// lost.
    #[error("whether task {id} was carried out is unknown: the disk failed while it was submitted")]
    Unknown {
        /// The task.
        id: TaskId,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What an accepted task is. It is durable in both cases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// It was made by this call.
    New,
    /// A task of this id was there before; it may have an outcome already.
    Exists,
}

impl Producer {
    /// Makes the request visible to the agent. It is gone after a power cut.
    ///
    /// # Errors
    /// Nothing is visible then.
    pub fn submit(&self, request: &Request) -> Result<(), SubmitError> {
        let id = request.id;
        let bytes = encode(request)?;
        match publish(&self.directories.requests, id, &bytes, FILE_MODE) {
            Ok(Recorded::Made) => Ok(()),
            Ok(Recorded::AlreadySo) => Err(SubmitError::Exists { id }),
            Err(source) => Err(refused(id, source)),
        }
    }

    /// Makes the requests visible to the agent; those that were accepted survive everything from then on.
    /// One sync of the directory serves all of them, and those of other threads.
    ///
    /// # Errors
    /// For each task of its own. Nothing of it is visible then, but for [`SubmitError::Unknown`].
    pub fn submit_durable(&self, requests: &[Request]) -> Vec<Result<Accepted, SubmitError>> {
        let Directories { disk, requests: directory, requests_sync, .. } = &self.directories;
        let staged: Vec<Result<Staged<'_>, SubmitError>> =
            requests.iter().map(|request| self.stage(request)).collect();
        let linked: Vec<(TaskId, Result<Accepted, SubmitError>)> = requests
            .iter()
            .zip(staged)
            .map(|(request, staged)| {
                let id = request.id;
                let linked = staged.and_then(|staged| {
                    staged.sync(disk).map_err(|e| refused(id, e))?;
                    self.check_vacant(id)?;
                    match staged.link() {
                        Ok(Recorded::Made) => Ok(Accepted::New),
                        Ok(Recorded::AlreadySo) => Ok(Accepted::Exists),
                        Err(source) => Err(refused(id, source)),
                    }
                });
                (id, linked)
            })
            .collect();
        if linked.iter().all(|(_id, linked)| linked.is_err()) {
            return linked.into_iter().map(|(_id, linked)| linked).collect();
        }
        let synced = requests_sync.sync(disk, directory);
        let take_back = |(id, linked): (TaskId, Result<Accepted, SubmitError>)| {
            let Err(error) = &synced else { return linked };
            // An error cannot be copied, its number can.
            let source = error
                .raw_os_error()
                .map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
            match linked? {
                Accepted::New => Err(self.take_back(id, source)),
                Accepted::Exists => Err(SubmitError::Publish { id, source }),
            }
        };
        linked.into_iter().map(take_back).collect()
    }

    fn stage(&self, request: &Request) -> Result<Staged<'_>, SubmitError> {
        let id = request.id;
        let bytes = encode(request)?;
        let staged = Staged::write(&self.directories.requests, id, &bytes, FILE_MODE)
            .map_err(|source| refused(id, source))?;
        staged.begin_to_sync();
        Ok(staged)
    }

    /// Refuses an id whose earlier task is not wholly gone: its outcome would become that of the new one. Who
    /// removes a task holds its lock from before the request goes until all else is gone.
    fn check_vacant(&self, id: TaskId) -> Result<(), SubmitError> {
        let Directories { requests, locks, .. } = &self.directories;
        let is_vacant = || {
            Ok(exists(requests, id)?
                || !(exists(locks, id)? || self.directories.has_outcome(id)?)
                // It may have been submitted, claimed and ended since the first look.
                || exists(requests, id)?)
        };
        match is_vacant() {
            Ok(true) => Ok(()),
            Ok(false) => Err(SubmitError::BeingRemoved { id }),
            Err(source) => Err(SubmitError::Publish { id, source }),
        }
    }

    /// Takes back a request that may not survive. Only its lock tells whether the agent has not begun.
    fn take_back(&self, id: TaskId, source: io::Error) -> SubmitError {
        let Directories { requests, locks, .. } = &self.directories;
        let is_unlinked = match unlinkat(requests, id.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(_) => false,
        };
        let is_locked = mkdirat(locks, id.as_str(), LOCK_MODE).is_ok();
        match self.directories.has_outcome(id) {
            Ok(false) if is_unlinked && is_locked => {
                // Without the request nobody can claim it any more.
                unlinkat(locks, id.as_str(), AtFlags::REMOVEDIR).ok();
                SubmitError::Publish { id, source }
            }
            Ok(_) | Err(_) => SubmitError::Unknown { id, source },
        }
    }
}

fn encode(request: &Request) -> Result<Vec<u8>, SubmitError> {
    let bytes = request.encode();
    if bytes.is_empty() || REQUEST_FILE_MAX_BYTES < bytes.len() {
        Err(SubmitError::TooLong { id: request.id, length: bytes.len() })
    } else {
        Ok(bytes)
    }
}

fn refused(id: TaskId, source: io::Error) -> SubmitError {
    if is_no_space(&source) {
        SubmitError::NoSpace { id, source }
    } else {
        SubmitError::Publish { id, source }
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
