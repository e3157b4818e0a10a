//! Makes requests visible to the agent, and durable where that is promised.

use std::io;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, mkdirat, unlinkat};
use rustix::io::Errno;

use super::{FILE_MODE, LOCK_MODE, Producer};
use crate::Request;
use crate::directories::Directories;
use crate::gate::Gate;
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
    /// The disk failed when the agent may have taken the task already, or somebody else may have got the
    /// promise: it may run, but may get lost. Ask for it, or repeat it with its key.
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
        self.submit_encoded(request.id, &request.encode())
    }

    /// The same with the bytes of [`Request::encode`].
    ///
    /// # Errors
    /// Nothing is visible then.
    pub fn submit_encoded(&self, id: TaskId, bytes: &[u8]) -> Result<(), SubmitError> {
        check_length(id, bytes)?;
        match publish(&self.directories.requests, id, bytes, FILE_MODE) {
            Ok(Recorded::Made) => Ok(()),
            Ok(Recorded::AlreadySo) => Err(SubmitError::Exists { id }),
            Err(source) => Err(refused(id, source)),
        }
    }

    /// Makes the requests visible to the agent; those that were accepted survive everything from then on.
    /// One sync of the directory serves all of them, and those of other threads. A request with a `digest`
    /// has an id that may come back: what is left of an earlier task of this id is removed before.
    ///
    /// # Errors
    /// For each task of its own. Nothing of it is visible then, but for [`SubmitError::Unknown`].
    pub fn submit_durable(&self, requests: &[Request]) -> Vec<Result<Accepted, SubmitError>> {
        let disk = &self.directories.disk;
        // All are written before the first is synced, so that the disk has them at once.
        let staged: Vec<_> = requests.iter().map(|request| self.stage(request)).collect();
        let staged: Vec<_> = staged
            .into_iter()
            .map(|staged| {
                let staged = staged?;
                staged.sync(disk).map_err(|e| refused(staged.id(), e))?;
                Ok(staged)
            })
            .collect();
        let mut gate = None;
        let linked: Vec<Result<Accepted, SubmitError>> = requests
            .iter()
            .zip(staged)
            .map(|(request, staged)| {
                let staged = staged?;
                if is_keyed(request) {
                    self.make_room(request.id, &mut gate)?;
                }
                match staged.link() {
                    Ok(Recorded::Made) => Ok(Accepted::New),
                    Ok(Recorded::AlreadySo) => Ok(Accepted::Exists),
                    Err(source) => Err(refused(request.id, source)),
                }
            })
            .collect();
        drop(gate);
        let known = |(request, linked): (&Request, Result<_, SubmitError>)| {
            linked.or_else(|error| self.known_at_least(request, error))
        };
        self.sync_linked(requests, requests.iter().zip(linked).map(known).collect())
    }

    /// Takes no task, but knows those that were submitted before with the same key: what
    /// [`Producer::submit_durable`] says on a disk that is full.
    ///
    /// # Errors
    /// For each task of its own, mostly [`SubmitError::NoSpace`].
    pub fn find_durable(&self, requests: &[Request]) -> Vec<Result<Accepted, SubmitError>> {
        let find = |request: &Request| {
            let full = SubmitError::NoSpace { id: request.id, source: Errno::NOSPC.into() };
            self.known_at_least(request, full)
        };
        self.sync_linked(requests, requests.iter().map(find).collect())
    }

    /// Without space a task that is there already is as good as before.
    fn known_at_least(
        &self,
        request: &Request,
        error: SubmitError,
    ) -> Result<Accepted, SubmitError> {
        let is_full = matches!(error, SubmitError::NoSpace { .. });
        if is_full && is_keyed(request) && self.has_request(request.id).unwrap_or(false) {
            Ok(Accepted::Exists)
        } else {
            Err(error)
        }
    }

    /// Makes those of the requests durable that are visible.
    fn sync_linked(
        &self,
        requests: &[Request],
        linked: Vec<Result<Accepted, SubmitError>>,
    ) -> Vec<Result<Accepted, SubmitError>> {
        let Directories { disk, requests: directory, requests_sync, .. } = &self.directories;
        if linked.iter().all(Result::is_err) {
            return linked;
        }
        // Also for those that were there: who made them may have died before this.
        let Err(error) = requests_sync.sync(disk, directory) else { return linked };
        let take_back = |(request, linked): (&Request, Result<Accepted, SubmitError>)| {
            let accepted = linked?;
            let source = copy_of(&error);
            Err(self.take_back(request, accepted, source))
        };
        requests.iter().zip(linked).map(take_back).collect()
    }

    fn stage(&self, request: &Request) -> Result<Staged<'_>, SubmitError> {
        let id = request.id;
        let bytes = request.encode();
        check_length(id, &bytes)?;
        let staged = Staged::write(&self.directories.requests, id, &bytes, FILE_MODE)
            .map_err(|source| refused(id, source))?;
        staged.begin_to_sync();
        Ok(staged)
    }

    /// Removes what a removal left of an earlier task of this id: its outcome would become that of the new
    /// one. The gate keeps other removals away and is taken once for a batch.
    fn make_room(&self, id: TaskId, gate: &mut Option<Gate>) -> Result<(), SubmitError> {
        let failed = |source| SubmitError::Publish { id, source };
        if gate.is_none() {
            match Gate::reuse(&self.directories.tasks) {
                Ok(taken) => *gate = Some(taken),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(SubmitError::BeingRemoved { id });
                }
                Err(e) => return Err(failed(e)),
            }
        }
        match self.clear_remains(id) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SubmitError::BeingRemoved { id }),
            Err(e) => Err(failed(e)),
        }
    }

    /// Takes back a request that may not survive. Only its lock tells whether the agent has not begun.
    fn take_back(&self, request: &Request, accepted: Accepted, source: io::Error) -> SubmitError {
        let Directories { requests, locks, .. } = &self.directories;
        let id = request.id;
        // Another process may have accepted the same id meanwhile: only the agent may still end it.
        if accepted == Accepted::Exists || is_keyed(request) {
            return SubmitError::Unknown { id, source };
        }
        if mkdirat(locks, id.as_str(), LOCK_MODE).is_err() {
            return SubmitError::Unknown { id, source };
        }
        let has_run = self.directories.has_outcome(id).unwrap_or(true);
        let is_unlinked = !has_run && unlinkat(requests, id.as_str(), AtFlags::empty()).is_ok();
        // Without the request nobody claims it any more; with it, it is as if nothing had been tried.
        self.directories.unlock(id).ok();
        if is_unlinked {
            SubmitError::Publish { id, source }
        } else {
            SubmitError::Unknown { id, source }
        }
    }
}

/// Whether the id comes from a key, and so may come back.
fn is_keyed(request: &Request) -> bool {
    request.terms.digest.is_some()
}

/// An error cannot be copied, its number can.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
}

fn check_length(id: TaskId, bytes: &[u8]) -> Result<(), SubmitError> {
    if bytes.is_empty() || REQUEST_FILE_MAX_BYTES < bytes.len() {
        Err(SubmitError::TooLong { id, length: bytes.len() })
    } else {
        Ok(())
    }
}

/// Why a request could not be written, from what the kernel said.
pub(crate) fn refused(id: TaskId, source: io::Error) -> SubmitError {
    if is_no_space(&source) {
        SubmitError::NoSpace { id, source }
    } else {
        SubmitError::Publish { id, source }
    }
}

/// Whether the disk is full, or what the user may have of it.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
