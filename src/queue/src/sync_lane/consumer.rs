//! The agent's side of the lane: claim, complete or fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ploinky_contract::TaskId;
use ploinky_contract::limits::{RESULT_MAX_BYTES, WORKERS_MAX};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::claim::SyncClaim;
use super::claims::{Claims, SLOTS};
use super::directories::SyncDirectories;
use super::looked::Looked;
use crate::consumer::{RESULT_MODE, ids_in, too_large};
use crate::directories::exists;
use crate::publish::publish;
use crate::read_result::READ;
use crate::request::{REQUEST_FILE_MAX_BYTES, RequestHead};
use crate::watch::Watch;
use crate::{
    Claimed, NotClaimed, OpenError, Outcome, RecordError, Recorded, RunnerLock, TaskError,
    boottime_ns, code,
};

/// Bytes of a request that are read at once; nearly none has more.
const READ_BYTES: usize = 4096;
/// Bytes that are read of what follows.
const REST_MAX_BYTES: u64 = (REQUEST_FILE_MAX_BYTES - READ_BYTES) as u64;

/// The agent's handle of its lane. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct SyncConsumer {
    pub(super) directories: SyncDirectories,
    pub(super) claims: Claims,
    boot_id: String,
    /// What the threads of this process have: one entry per slot.
    held: Mutex<Vec<Option<Held>>>,
    looked: Mutex<Looked>,
    /// Directories of the workers that were answered so far.
    responses: RwLock<BTreeMap<u16, Arc<OwnedFd>>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    id: TaskId,
    /// Until then the slot stays the task's; later it could not be run again.
    until_ns: u64,
}

impl SyncConsumer {
    /// Opens the lane at `lane` without following links. `boot_id` is that of [`crate::boot_id`].
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub fn open(lane: &Path, boot_id: String) -> Result<Self, OpenError> {
        let (directories, opened) = SyncDirectories::open(lane)?;
        let claims = Claims::open(&directories.locks)
            .map_err(|source| opened.error("locks/claims", source))?;
        Ok(Self {
            directories,
            claims,
            boot_id,
            held: Mutex::new(vec![None; SLOTS]),
            looked: Mutex::default(),
            responses: RwLock::default(),
        })
    }

    /// Becomes the runner of this lane; `None` if there is one already. Call [`SyncConsumer::recover`] before
    /// the first claim.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn become_runner(&self) -> io::Result<Option<RunnerLock>> {
        RunnerLock::take(&self.directories.locks)
    }

    /// Tasks that wait, in the order of their submission; those that cannot be read come last. Tasks for which
    /// `skip` holds are not looked at.
    ///
    /// # Errors
    /// When the inbox cannot be listed.
    pub fn waiting(&self, skip: &dyn Fn(TaskId) -> bool) -> io::Result<Vec<TaskId>> {
        let mut waiting = Vec::new();
        for id in ids_in(&self.directories.requests, usize::MAX)? {
            if skip(id) || self.holds(id) {
                continue;
            }
            let Some(bytes) = self.read(id)? else { continue };
            match RequestHead::decode(&bytes, &self.boot_id) {
                Ok(head) if self.has_outcome(id, head.instance)? => {}
                Ok(head) => waiting.push((head.seq, id)),
                Err(_) => waiting.push((u64::MAX, id)),
            }
        }
        waiting.sort_unstable();
        Ok(waiting.into_iter().map(|(_seq, id)| id).collect())
    }

    /// Tasks that shall end early.
    ///
    /// # Errors
    /// When the wishes cannot be listed.
    pub fn urgent(&self) -> io::Result<Vec<TaskId>> {
        ids_in(&self.directories.urgent, usize::MAX)
    }

    /// Claims a task, if it is there, no other thread has it, and it may still run. `slot` belongs to the
    /// calling thread: 0 to 127.
    ///
    /// # Errors
    /// When the lane cannot be read or written, or the slot holds a task that has no outcome and may still
    /// run. The task is not ours then and has not been run.
    pub fn claim(&self, slot: usize, id: TaskId) -> io::Result<Claimed<SyncClaim>> {
        if !self.hold(slot, id)? {
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        let claimed = self.claim_held(slot, id);
        if let Ok(Claimed::Ours(claim)) = &claimed {
            self.set(slot, Some(Held { id, until_ns: claim.deadline_boot_ns }));
        } else {
            self.set(slot, None);
        }
        claimed
    }

    fn claim_held(&self, slot: usize, id: TaskId) -> io::Result<Claimed<SyncClaim>> {
        // First of all: what the next runner finds here it does not run.
        self.claims.put(slot, id)?;
        let looked = self.looked().take(id);
        let (bytes, decoded) = match looked {
            Some((head, bytes)) => (bytes, Ok(head)),
            None => match self.read(id)? {
                Some(bytes) => {
                    let decoded = RequestHead::decode(&bytes, &self.boot_id);
                    (bytes, decoded)
                }
                None => return Ok(Claimed::Not(NotClaimed::Taken)),
            },
        };
        let instance = match &decoded {
            Ok(head) => Some(head.instance),
            // Who waits is told, if that can be read.
            Err(_) => instance_in(&bytes),
        };
        if let Some(instance) = instance
            && self.has_ended(id, instance)?
        {
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        let head = match decoded {
            Ok(head) if head.id == id => head,
            other => {
                let why = other.err().unwrap_or(RecordError::Field { field: "id" });
                if let Some(instance) = instance {
                    let said = TaskError::new(code::INVALID_PARAMS, format!("the request: {why}"));
                    self.publish(instance, id, &said.encode(id))?;
                }
                return Ok(Claimed::Not(NotClaimed::Unreadable(why)));
            }
        };
        let RequestHead {
            id: _,
            command,
            seq: _,
            deadline_boot_ns,
            is_of_boot,
            is_stream,
            instance,
        } = head;
        let stale = if !is_of_boot {
            TaskError::new(code::CANCELLED, "the host was started anew before the task ran")
        } else if deadline_boot_ns <= boottime_ns() {
            TaskError::new(code::DEADLINE, "the time of the task was over before it could run")
        } else {
            let claim =
                SyncClaim { slot, id, command, deadline_boot_ns, instance, is_stream, bytes };
            return Ok(Claimed::Ours(claim));
        };
        self.publish(instance, id, &stale.encode(id))?;
        Ok(Claimed::Not(NotClaimed::Stale))
    }

    /// Publishes the value of a claimed task and frees its slot; a value that is too long becomes the error
    /// `RESULT_TOO_LARGE`.
    ///
    /// # Errors
    /// The task is still claimed and has no outcome; try again.
    pub fn complete(&self, claim: &SyncClaim, response: &RawValue) -> io::Result<Recorded> {
        self.end(claim, Outcome::encode_response(claim.id, response))
    }

    /// Publishes why a claimed task has no value, and frees its slot.
    ///
    /// # Errors
    /// The task is still claimed and has no outcome; try again.
    pub fn fail(&self, claim: &SyncClaim, why: &TaskError) -> io::Result<Recorded> {
        self.end(claim, why.encode(claim.id))
    }

    pub(super) fn end(&self, claim: &SyncClaim, mut bytes: Vec<u8>) -> io::Result<Recorded> {
        if RESULT_MAX_BYTES < bytes.len() {
            bytes = too_large(bytes.len()).encode(claim.id);
        }
        let recorded = self.publish(claim.instance, claim.id, &bytes)?;
        self.release(claim);
        Ok(recorded)
    }

    /// Opens the pipe of a claimed task that streams, without waiting; `None` if nobody reads it (any more).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_stream(&self, id: TaskId) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.directories.streams, id.as_str(), flags, Mode::empty()) {
            Ok(pipe) => Ok(Some(pipe)),
            Err(Errno::NOENT | Errno::NXIO) => Ok(None),
            Err(e) => Err(e.into()),
        }
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

    /// A private copy of the request; `None` if it is not there.
    pub(super) fn read(&self, id: TaskId) -> io::Result<Option<Vec<u8>>> {
        let file = match openat(&self.directories.requests, id.as_str(), READ, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // The directory is the server's: what it makes appears whole, and what is not read whole at once is long.
        let mut start = [0; READ_BYTES];
        let read = retry_on_intr(|| rustix::io::read(&file, &mut start))?;
        let mut bytes = start.get(..read).unwrap_or_default().to_vec();
        if read == READ_BYTES {
            File::from(file).take(REST_MAX_BYTES).read_to_end(&mut bytes)?;
        }
        Ok(Some(bytes))
    }

    /// Whether the task is over: it has a record, or its request is not there. In this order: the server removes
    /// them in the other one, so a task that was listed long ago cannot be taken for a new one; and a request
    /// file that gets a new name does so before the record of its old task goes.
    pub(super) fn has_ended(&self, id: TaskId, instance: u16) -> io::Result<bool> {
        Ok(self.has_outcome(id, instance)? || !exists(&self.directories.requests, id)?)
    }

    /// Requests that were read and not claimed yet.
    pub(super) fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether the task has a record.
    pub(super) fn has_outcome(&self, id: TaskId, instance: u16) -> io::Result<bool> {
        exists(&*self.responses_of(instance)?, id)
    }

    /// Makes the record of a task, unless it has one.
    pub(super) fn publish(&self, instance: u16, id: TaskId, bytes: &[u8]) -> io::Result<Recorded> {
        let published = publish(&*self.responses_of(instance)?, id, bytes, RESULT_MODE);
        if published.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // The directory was removed; perhaps there is a new one at the next try.
            let mut known = self.responses.write().unwrap_or_else(PoisonError::into_inner);
            known.remove(&instance);
        }
        published
    }

    fn responses_of(&self, instance: u16) -> io::Result<Arc<OwnedFd>> {
        let known = self.responses.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(responses) = known.get(&instance) {
            return Ok(Arc::clone(responses));
        }
        drop(known);
        if !(1..=WORKERS_MAX).contains(&instance) {
            return Err(Errno::INVAL.into());
        }
        let responses = Arc::new(self.directories.responses_of(instance)?);
        let mut known = self.responses.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(instance, Arc::clone(&responses));
        Ok(responses)
    }

    fn holds(&self, id: TaskId) -> bool {
        self.held().iter().flatten().any(|held| held.id == id)
    }

    /// Reserves the slot for the task; `false` if a thread has the task.
    fn hold(&self, slot: usize, id: TaskId) -> io::Result<bool> {
        let mut held = self.held();
        if held.iter().flatten().any(|held| held.id == id) {
            return Ok(false);
        }
        let Some(entry) = held.get_mut(slot) else { return Err(Errno::INVAL.into()) };
        if entry.is_some_and(|held| boottime_ns() < held.until_ns) {
            return Err(io::Error::other("the slot holds a task without an outcome"));
        }
        *entry = Some(Held { id, until_ns: u64::MAX });
        Ok(true)
    }

    fn release(&self, claim: &SyncClaim) {
        let mut held = self.held();
        if let Some(entry) = held.get_mut(claim.slot)
            && entry.is_some_and(|held| held.id == claim.id)
        {
            *entry = None;
        }
    }

    fn set(&self, slot: usize, what: Option<Held>) {
        if let Some(entry) = self.held().get_mut(slot) {
            *entry = what;
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Option<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who waits, of a request that cannot be read otherwise.
pub(super) fn instance_in(bytes: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    struct Envelope {
        submitter: Instance,
    }
    #[derive(Deserialize)]
    struct Instance {
        instance: u16,
    }
    let Envelope { submitter: Instance { instance } } = serde_json::from_slice(bytes).ok()?;
    Some(instance)
}
