//! Removes tasks. The request goes first: without it the task can never run again, wherever this process dies.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, statat, unlinkat};
use rustix::io::Errno;

use super::Producer;
use crate::directories::{Directories, exists, unless_absent};
use crate::gate::Gate;
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
        if self.directories.has_outcome(id)? {
            self.remove_all(&[id]).map(|removed| removed == 1)
        } else {
            Ok(!exists(&self.directories.requests, id)?)
        }
    }

    /// The same for many tasks with one sync; those without an outcome are left alone. Gives how many were
    /// removed.
    ///
    /// # Errors
    /// The first one; the others are removed all the same.
    pub fn remove_all(&self, ids: &[TaskId]) -> io::Result<usize> {
        let Directories { disk, requests, requests_sync, tasks, .. } = &self.directories;
        let _gate = Gate::remove(tasks)?;
        let mut unlinked = Vec::new();
        let mut all = Ok(());
        for id in ids {
            match self.remove_request(*id) {
                Ok(true) => unlinked.push(*id),
                Ok(false) => {}
                Err(e) => all = all.and(Err(e)),
            }
        }
        if !unlinked.is_empty() {
            // Before the outcomes go: after a power cut in between the tasks would be there without one, and
            // run.
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

    /// Removes the request of a task that has an outcome; `false` if it has none.
    fn remove_request(&self, id: TaskId) -> io::Result<bool> {
        if !self.directories.has_outcome(id)? {
            return Ok(false);
        }
        // An ended task needs them no more, and a new one of this id must not take them for its own.
        self.remove_files(id)?;
        unless_absent(unlinkat(&self.directories.requests, id.as_str(), AtFlags::empty()))?;
        Ok(true)
    }

    /// Removes all but the request; the outcome after what could start a run without it.
    fn clear(&self, id: TaskId) -> io::Result<()> {
        let Directories { urgent, responses, errors, .. } = &self.directories;
        self.known.forget(id);
        self.remove_output(id)?;
        self.remove_files(id)?;
        self.remove_notes(id)?;
        unless_absent(unlinkat(urgent, id.as_str(), AtFlags::empty()))?;
        remove_result(responses, id)?;
        remove_result(errors, id)?;
        self.directories.unlock(id).map(|_is_gone| ())
    }

    fn remove_notes(&self, id: TaskId) -> io::Result<()> {
        for name in [note_name(id), progress_name(id)] {
            match unlinkat(&self.directories.locks, &name, AtFlags::empty()) {
                // A directory there is the agent's own litter.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Removes what is left of an earlier task of this id, durably, before a new one gets it. The caller holds
    /// the gate. `false` if a runner has the lock still. A task that is there is left alone. Its `files` are
    /// those of the new task already.
    pub(super) fn clear_remains(&self, id: TaskId) -> io::Result<bool> {
        let Directories { disk, requests, urgent, responses, errors, locks, .. } =
            &self.directories;
        let Directories { requests_sync, responses_sync, locks_sync, .. } = &self.directories;
        if exists(requests, id)? {
            return Ok(true);
        }
        let has_remains = exists(locks, id)?
            || self.directories.has_outcome(id)?
            || exists(urgent, id)?
            || self.has_notes(id)?;
        if !has_remains && disk.keeps_order() {
            return Ok(true);
        }
        // Who removed the request may have died before this.
        requests_sync.sync(disk, requests)?;
        if !self.directories.unlock(id)? {
            return Ok(false);
        }
        self.known.forget(id);
        self.remove_notes(id)?;
        unless_absent(unlinkat(urgent, id.as_str(), AtFlags::empty()))?;
        self.remove_output(id)?;
        remove_result(responses, id)?;
        remove_result(errors, id)?;
        responses_sync.sync(disk, responses)?;
        disk.sync_directory(errors)?;
        disk.sync_directory(urgent)?;
        locks_sync.sync(disk, locks)?;
        // Litter of the agent that cannot be removed would still be an outcome.
        Ok(!self.directories.has_outcome(id)?)
    }

    fn has_notes(&self, id: TaskId) -> io::Result<bool> {
        for name in [note_name(id), progress_name(id)] {
            match statat(&self.directories.locks, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(false)
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
