//! The server's side of the lane: submit, collect, cancel, clean.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;

use ploinky_contract::limits::{RESULT_MAX_BYTES, WORKERS_MAX};
use ploinky_contract::{Floor, TaskId};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, mkdirat, mkfifoat, openat, unlinkat};
use rustix::io::Errno;

use super::claims::{Seen, look_for};
use super::directories::SyncDirectories;
use super::janitor::SyncJanitor;
use super::spares::Spares;
use crate::directories::{Directories, exists, space_of, unless_absent};
use crate::lock::runner_is_alive_in;
use crate::producer::{FILE_MODE, refused, remove_result};
use crate::publish::{Recorded, publish_open};
use crate::read_result::{BadResult, read_if};
use crate::watch::ResultWatch;
use crate::{Cancel, OpenError, Outcome, Producer, Request, SubmitError};

/// Bytes of a request that the lane takes; longer ones go through the disk, memory is shared by all agents.
pub const SYNC_REQUEST_MAX_BYTES: usize = 256 * 1024;
/// Of `responses/<n>`: the agent makes records and removes only its own. The kernel adds the set-group-id bit
/// of the parent, which a service under `RestrictSUIDSGID=` may not name.
const RESPONSES_MODE: Mode = Mode::from_raw_mode(0o1770);
const RESPONSES_MODE_WHOLE: Mode = Mode::from_raw_mode(0o3770);
/// Of a pipe: the agent writes.
const STREAM_MODE: Mode = Mode::from_raw_mode(0o620);

/// The handle of one worker on the lane of one agent. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct SyncProducer {
    pub(crate) directories: SyncDirectories,
    /// `responses/<instance>`.
    responses: OwnedFd,
    pub(super) spares: Spares,
    pub(super) janitor: Mutex<SyncJanitor>,
}

impl SyncProducer {
    /// Opens the lane at `lane` without following links, and makes the directory of the records for worker
    /// `instance`, which is 1 to 64.
    ///
    /// # Errors
    /// Names the directory that cannot be opened or made.
    pub fn open(lane: &Path, instance: u16) -> Result<Self, OpenError> {
        let (directories, opened) = SyncDirectories::open(lane)?;
        let name = format!("responses/{instance}");
        let responses =
            own_responses(&directories, instance).map_err(|source| opened.error(&name, source))?;
        let (spares, janitor) = (Spares::default(), Mutex::default());
        Ok(Self { directories, responses, spares, janitor })
    }

    /// Device and inode of the directory that was opened; no other one has them as long as this value lives.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn place(&self) -> io::Result<(u64, u64)> {
        self.directories.place()
    }

    /// Makes the request visible to the agent.
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
        if bytes.is_empty() || SYNC_REQUEST_MAX_BYTES < bytes.len() {
            return Err(SubmitError::TooLong { id, length: bytes.len() });
        }
        let requests = &self.directories.requests;
        if let Some(spare) = self.spares.take() {
            let old = spare.old();
            let made = spare.become_request(requests, id, bytes);
            if made.is_err() {
                // Its bytes are nobody's. Before the record, as always.
                unlinkat(requests, old.as_str(), AtFlags::empty()).ok();
            }
            // What cannot be removed is a stray, and the janitor's.
            remove_result(&self.responses, old).ok();
            if let Ok(file) = made {
                self.spares.add(id, file, bytes.len());
                return Ok(());
            }
        }
        match publish_open(requests, id, bytes, FILE_MODE) {
            Ok((Recorded::Made, file)) => {
                if let Some(file) = file {
                    self.spares.add(id, file, bytes.len());
                }
                Ok(())
            }
            Ok((Recorded::AlreadySo, _)) => Err(SubmitError::Exists { id }),
            Err(source) => Err(refused(id, source)),
        }
    }

    /// Whether the lane has enough memory to take tasks.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn has_room(&self) -> io::Result<bool> {
        Ok(!space_of(&self.directories.requests)?.is_below(Floor::LANE))
    }

    /// The outcome of a task that this worker submitted, or `None` if it has none yet. The files stay; call
    /// [`SyncProducer::clean_collected`].
    ///
    /// # Errors
    /// What stands at the name is no result. It is removed then, the request before it; only with
    /// [`BadResult::Trouble`] everything stays.
    pub fn collect(&self, id: TaskId) -> Result<Option<Outcome>, BadResult> {
        self.collect_if(id, &mut |_bytes| true)
    }

    /// The same; `admit` gets the bytes of the record before memory is taken for it, and may refuse.
    ///
    /// # Errors
    /// Those of [`SyncProducer::collect`], and [`BadResult::PutOff`] if `admit` refused; everything stays then.
    pub fn collect_if(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        let mut admit = |bytes| {
            self.spares.record_found(id, bytes);
            admit(bytes)
        };
        let found = match read_if(&self.responses, id, RESULT_MAX_BYTES, &mut admit) {
            Ok(Some(bytes)) => Outcome::decode(id, &bytes).map(Some).map_err(BadResult::Record),
            Ok(None) => Ok(None),
            Err(e) => Err(e),
        };
        if found.as_ref().is_err_and(BadResult::is_fault_of_agent) {
            // What cannot be removed is a stray, and the janitor's.
            self.clean(id).ok();
        }
        found
    }

    /// Ends a task that nobody waits for: takes its request away before the agent opens it, or asks the agent
    /// to end it. Call [`SyncProducer::clean`] when it ended, at the latest some seconds after
    /// [`Cancel::Asked`]; no record has to be made in the place of the agent's. [`Cancel::NeverStarted`] is also
    /// said of a task whose runner died in this moment: it will not run again, and no record comes.
    ///
    /// # Errors
    /// When the request cannot be removed, or the wish cannot be made. The task may still run; its deadline
    /// ends it.
    pub fn cancel(&self, id: TaskId) -> io::Result<Cancel> {
        let seen = self.directories.withdraw(id)?;
        // In this order: a task leaves its slot after it has a record. And before the agent is asked, or a quick
        // one would seem to have finished by itself.
        if exists(&self.responses, id)? {
            return Ok(Cancel::Finished);
        }
        self.directories.ask_if(seen, id)
    }

    /// Removes everything of a task, the request first: without it the task can never run again, wherever this
    /// process dies in between.
    ///
    /// # Errors
    /// When something of the task cannot be removed.
    pub fn clean(&self, id: TaskId) -> io::Result<()> {
        let SyncDirectories { requests, urgent, streams, .. } = &self.directories;
        self.spares.forget(id);
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
        remove_result(&self.responses, id)?;
        unless_absent(unlinkat(urgent, id.as_str(), AtFlags::empty()))?;
        unless_absent(unlinkat(streams, id.as_str(), AtFlags::empty()))
    }

    /// Ends a task without a stream that ended by itself and whose record was collected: with half the calls of
    /// [`SyncProducer::clean`], in the same order, or with none, if its file is of use for the next task. Call
    /// [`SyncProducer::flush`] when no task is to be expected soon.
    ///
    /// # Errors
    /// When the request or the record cannot be removed.
    pub fn clean_collected(&self, id: TaskId) -> io::Result<()> {
        if self.spares.keep(id) { Ok(()) } else { self.remove_collected(id) }
    }

    /// Removes what was kept of tasks that are over.
    ///
    /// # Errors
    /// The first one; the others are removed all the same.
    pub fn flush(&self) -> io::Result<()> {
        let mut all = Ok(());
        while let Some(spare) = self.spares.take() {
            all = all.and(self.remove_collected(spare.old()));
        }
        all
    }

    fn remove_collected(&self, id: TaskId) -> io::Result<()> {
        unless_absent(unlinkat(&self.directories.requests, id.as_str(), AtFlags::empty()))?;
        remove_result(&self.responses, id).map(|_was_there| ())
    }

    /// Makes the pipe of a task that streams, before it is submitted, and gives the end that is read: without
    /// waiting, and never at its end, because it is open for writing, too. Closing it tells the agent that
    /// nobody reads any more.
    ///
    /// # Errors
    /// When there is something at its name, or no room.
    pub fn make_stream(&self, id: TaskId) -> io::Result<OwnedFd> {
        let streams = &self.directories.streams;
        mkfifoat(streams, id.as_str(), STREAM_MODE)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(streams, id.as_str(), flags, Mode::empty()).map_err(|e| {
            unlinkat(streams, id.as_str(), AtFlags::empty()).ok();
            e.into()
        })
    }

    /// Removes the name of a pipe; who has it open keeps it.
    ///
    /// # Errors
    /// When the kernel refuses; that it is not there is none.
    pub fn remove_stream(&self, id: TaskId) -> io::Result<()> {
        unless_absent(unlinkat(&self.directories.streams, id.as_str(), AtFlags::empty()))
    }

    /// Whether an agent serves this lane.
    pub fn runner_is_alive(&self) -> bool {
        runner_is_alive_in(&self.directories.locks)
    }

    /// A watch of its own on the records for this worker, and on no others.
    ///
    /// # Errors
    /// When the kernel gives no more watches (`fs.inotify.max_user_instances`).
    pub fn watch(&self) -> io::Result<ResultWatch> {
        ResultWatch::on(&[&self.responses])
    }

    /// The same watch also on the results of the durable queue of the agent: one instance for both.
    ///
    /// # Errors
    /// When the kernel gives no more watches.
    pub fn watch_with(&self, durable: &Producer) -> io::Result<ResultWatch> {
        let Directories { responses, errors, .. } = &durable.directories;
        ResultWatch::on(&[responses, errors, &self.responses])
    }
}

impl Drop for SyncProducer {
    fn drop(&mut self) {
        // What stays is the janitor's.
        self.flush().ok();
    }
}

impl SyncDirectories {
    /// Takes the request away; asks the agent to end the task if it may have been quicker.
    pub(crate) fn cancel(&self, id: TaskId) -> io::Result<Cancel> {
        let seen = self.withdraw(id)?;
        self.ask_if(seen, id)
    }

    /// Takes the request away and tells whether the agent may have been quicker.
    fn withdraw(&self, id: TaskId) -> io::Result<Seen> {
        unless_absent(unlinkat(&self.requests, id.as_str(), AtFlags::empty()))?;
        // In this order: the agent writes the slot before it opens the request.
        Ok(look_for(&self.locks, id))
    }

    /// Asks the agent to end a task that it may have.
    fn ask_if(&self, seen: Seen, id: TaskId) -> io::Result<Cancel> {
        if seen == Seen::Absent {
            return Ok(Cancel::NeverStarted);
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.urgent, id.as_str(), flags, FILE_MODE) {
            Ok(_) | Err(Errno::EXIST) => Ok(Cancel::Asked),
            Err(e) => Err(e.into()),
        }
    }
}

fn own_responses(directories: &SyncDirectories, instance: u16) -> io::Result<OwnedFd> {
    if !(1..=WORKERS_MAX).contains(&instance) {
        return Err(Errno::INVAL.into());
    }
    match mkdirat(&directories.responses, instance.to_string(), RESPONSES_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let own = directories.responses_of(instance)?;
    // The umask may have taken the agent's permission away.
    if Mode::from_raw_mode(fstat(&own)?.st_mode).contains(RESPONSES_MODE) {
        return Ok(own);
    }
    fchmod(&own, RESPONSES_MODE_WHOLE)?;
    Ok(own)
}

#[cfg(test)]
mod tests;
