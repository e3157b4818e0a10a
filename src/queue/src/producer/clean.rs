//! Removes tasks. The request goes first: without it the task can never run again, wherever this process dies.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, mkdirat, unlinkat};
use rustix::io::Errno;

use super::{LOCK_MODE, Producer};
use crate::directories::{Directories, exists, unless_absent};
use crate::note::note_name;
use crate::progress::progress_name;

impl Producer {
    /// Removes everything of a task whose promise has ended.
    ///
    /// # Errors
    /// When something of the task cannot be removed; what the agent did to its own lock is no error.
    pub fn clean(&self, id: TaskId) -> io::Result<()> {
        let Directories { requests, .. } = &self.directories;
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
        self.clear(id)
    }

    /// Removes a task that ended by itself and was collected: nobody made a marker, and the agent removes its
    /// lock itself. Half the calls of [`Producer::clean`], in the same order.
    ///
    /// # Errors
    /// When the request or the record cannot be removed.
    pub fn clean_collected(&self, id: TaskId) -> io::Result<()> {
        let Directories { requests, responses, errors, .. } = &self.directories;
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
        if !remove_result(responses, id)? {
            remove_result(errors, id)?;
        }
        Ok(())
    }

    /// Removes everything of a task that was accepted for good and has an outcome. Its id is free afterwards.
    /// `false` if it has none yet: cancel it before. A task that is not there is removed.
    ///
    /// # Errors
    /// When something of the task cannot be removed, or its end not be made durable; call it again.
    pub fn remove(&self, id: TaskId) -> io::Result<bool> {
        let Directories { disk, requests, requests_sync, .. } = &self.directories;
        if !self.directories.has_outcome(id)? {
            return Ok(!exists(requests, id)?);
        }
        self.remove_now(id, &|| requests_sync.sync(disk, requests))?;
        Ok(true)
    }

    /// The same for many tasks with one sync; those without an outcome are left alone. Gives how many were
    /// removed.
    ///
    /// # Errors
    /// The first one; the others are removed all the same.
    pub fn remove_all(&self, ids: &[TaskId]) -> io::Result<usize> {
        let Directories { disk, requests, requests_sync, .. } = &self.directories;
        let mut unlinked = Vec::new();
        let mut all = Ok(());
        for id in ids {
            match self.directories.has_outcome(*id).and_then(|has| {
                if has {
                    self.remove_request(*id)?;
                }
                Ok(has)
            }) {
                Ok(true) => unlinked.push(*id),
                Ok(false) => {}
                Err(e) => all = all.and(Err(e)),
            }
        }
        if !unlinked.is_empty() {
            requests_sync.sync(disk, requests)?;
        }
        let mut removed = 0;
        for id in unlinked {
            match self.clear(id) {
                Ok(()) => removed += 1,
                Err(e) => all = all.and(Err(e)),
            }
        }
        all.map(|()| removed)
    }

    fn remove_now(&self, id: TaskId, sync: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        self.remove_request(id)?;
        // Before the outcome goes: after a power cut in between the task would be there without one, and run.
        sync()?;
        self.clear(id)
    }

    /// Takes the lock, so that no new task gets this id before all of this one is gone, and then the request.
    fn remove_request(&self, id: TaskId) -> io::Result<()> {
        let Directories { requests, locks, .. } = &self.directories;
        match mkdirat(locks, id.as_str(), LOCK_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))
    }

    /// Removes all but the request; the lock goes last.
    fn clear(&self, id: TaskId) -> io::Result<()> {
        let Directories { urgent, responses, errors, locks, .. } = &self.directories;
        self.known.forget(id);
        remove_result(responses, id)?;
        remove_result(errors, id)?;
        unless_absent(unlinkat(urgent, id.as_str(), AtFlags::empty()))?;
        for name in [note_name(id), progress_name(id)] {
            match unlinkat(locks, &name, AtFlags::empty()) {
                // A directory there is the agent's own litter.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.remove_output(id)?;
        self.remove_files(id)?;
        match unlinkat(locks, id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Removes what stands at the name of a result, and tells whether something did.
pub(crate) fn remove_result(directory: &OwnedFd, id: TaskId) -> io::Result<bool> {
    match unlinkat(directory, id.as_str(), AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => match unlinkat(directory, id.as_str(), AtFlags::REMOVEDIR) {
            // A directory with something in it is the agent's own litter.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(true),
            Err(e) => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}
