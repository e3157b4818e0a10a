//! Reads how a task ended, as a stranger's file.

use std::io;

use ploinky_contract::TaskId;
use ploinky_contract::limits::RESULT_MAX_BYTES;
use rustix::fs::{AtFlags, RenameFlags, mkdirat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{FILE_MODE, LOCK_MODE, Producer, remove_result};
use crate::directories::{Directories, exists, unless_absent};
use crate::outcome::RecordPlace;
use crate::publish::{Recorded, publish_synced, replace};
use crate::read_result::{BadResult, read_if};
use crate::{Outcome, TaskError, code};

impl Producer {
    /// The outcome of a task, or `None` if it has none yet. The files stay; call [`Producer::clean`].
    ///
    /// # Errors
    /// What stands at the name is no result. It is removed then, the request before it, so that the task can
    /// not run again; only with [`BadResult::Trouble`] everything stays.
    pub fn collect(&self, id: TaskId) -> Result<Option<Outcome>, BadResult> {
        self.collect_if(id, &mut |_bytes| true)
    }

    /// The same; `admit` gets the bytes of the record before memory is taken for it, and may refuse.
    ///
    /// # Errors
    /// Those of [`Producer::collect`], and [`BadResult::PutOff`] if `admit` refused; everything stays then.
    pub fn collect_if(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        let found = self.look(id, admit);
        if found.as_ref().is_err_and(BadResult::is_fault_of_agent) {
            // What cannot be removed is a stray, and the janitor's.
            self.clean(id).ok();
        }
        found.map(|found| found.map(|(outcome, _place)| outcome))
    }

    /// The outcome of a task that was accepted for good, durable before it is given, or `None` if it has none
    /// yet. It is the same for ever, as long as the task is not removed: what is no result becomes the
    /// outcome `AGENT_BAD_RESULT`.
    ///
    /// # Errors
    /// [`BadResult::Trouble`]: it cannot be read, or not be made durable, at present. Everything stays.
    pub fn collect_durable(&self, id: TaskId) -> Result<Option<Outcome>, BadResult> {
        self.collect_durable_if(id, &mut |_bytes| true)
    }

    /// The same; `admit` gets the bytes of the record before memory is taken for it, and may refuse.
    ///
    /// # Errors
    /// Those of [`Producer::collect_durable`], and [`BadResult::PutOff`] if `admit` refused.
    pub fn collect_durable_if(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        let trouble = |source| BadResult::Trouble { source };
        let outcome = match self.look(id, admit) {
            Ok(None) => return Ok(None),
            Ok(Some((outcome, RecordPlace::Responses))) => outcome,
            // A program of the first protocol wrote it. Copied to the one name that decides, it cannot be
            // contradicted any more.
            Ok(Some((outcome, RecordPlace::Errors))) => {
                self.known.forget(id);
                match self.adopt(id, &outcome.encode(id)).map_err(trouble)? {
                    Some(first) => first,
                    None => outcome,
                }
            }
            Err(bad) if bad.is_fault_of_agent() => {
                self.known.forget(id);
                let why = ploinky_contract::chain(&bad);
                self.replace_bad(id, &why).map_err(trouble)?
            }
            Err(e) => return Err(e),
        };
        self.make_durable(&[id]).map_err(trouble)?;
        Ok(Some(outcome))
    }

    fn look(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<(Outcome, RecordPlace)>, BadResult> {
        let Directories { responses, errors, .. } = &self.directories;
        let (bytes, place) = match read_if(responses, id, RESULT_MAX_BYTES, admit)? {
            Some(bytes) => (bytes, RecordPlace::Responses),
            None => match read_if(errors, id, RESULT_MAX_BYTES, admit)? {
                Some(bytes) => (bytes, RecordPlace::Errors),
                None => return Ok(None),
            },
        };
        let outcome = Outcome::decode(id, &bytes).map_err(BadResult::Record)?;
        Ok(Some((outcome, place)))
    }

    /// Publishes what stands in `errors` under the name that decides, or gives what is published there.
    fn adopt(&self, id: TaskId, bytes: &[u8]) -> io::Result<Option<Outcome>> {
        let Directories { disk, responses, .. } = &self.directories;
        match publish_synced(disk, responses, id, bytes, FILE_MODE)? {
            Recorded::Made => Ok(None),
            Recorded::AlreadySo => match self.look(id, &mut |_bytes| true) {
                Ok(Some((outcome, _place))) => Ok(Some(outcome)),
                Ok(None) => Ok(None),
                Err(e) => Err(io::Error::other(e)),
            },
        }
    }

    /// Puts `AGENT_BAD_RESULT` in the place of what is no result, at once, so that there is no time without
    /// an outcome in which the task could run again.
    fn replace_bad(&self, id: TaskId, why: &str) -> io::Result<Outcome> {
        let Directories { disk, responses, errors, locks, .. } = &self.directories;
        // Held until the task is removed; if the agent has it, it ends the task itself.
        match mkdirat(locks, id.as_str(), LOCK_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let error = TaskError::new(code::AGENT_BAD_RESULT, why);
        let staged = format!("{id}.bad");
        replace(responses, &staged, &error.encode(id), FILE_MODE, Some(disk))?;
        if exists(responses, id)? {
            // Swapped, as a directory is not replaced by a file.
            renameat_with(responses, &staged, responses, id.as_str(), RenameFlags::EXCHANGE)?;
            remove_any(responses, &staged)?;
        } else {
            match renameat_with(responses, &staged, responses, id.as_str(), RenameFlags::NOREPLACE)
            {
                Ok(()) => {}
                Err(e) => {
                    unlinkat(responses, &staged, AtFlags::empty()).ok();
                    return Err(e.into());
                }
            }
        }
        remove_result(errors, id)?;
        Ok(Outcome::Failed(error))
    }
}

fn remove_any(directory: &std::os::fd::OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            // A directory with something in it is the agent's own litter.
            Err(Errno::NOTEMPTY) => Ok(()),
            other => unless_absent(other),
        },
        other => unless_absent(other),
    }
}
