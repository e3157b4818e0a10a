//! How a task becomes that of this process, and what it is then.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::{CommandName, TaskId};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

use super::{Consumer, RESULT_MODE};
use crate::directories::{DIRECTORY, Directories, exists};
use crate::lock::try_lock;
use crate::note::{Note, read_note};
use crate::read_result::{BadResult, read};
use crate::request::{REQUEST_FILE_MAX_BYTES, TaskHead};
use crate::{RecordError, Request, TaskError, boottime_ns, code};

/// Locks of tasks.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o770);

/// A task that belongs to this process until it has an outcome. Dropped without one it stays locked, and the
/// next runner reports it as crashed.
#[derive(Debug)]
pub struct Claim {
    head: TaskHead,
    deadline_boot_ns: u64,
    attempt: u32,
    bytes: Vec<u8>,
    _lock: OwnedFd,
}

/// What became of the wish to claim a task.
#[derive(Debug)]
pub enum Claimed<C = Claim> {
    /// It is ours.
    Ours(C),
    /// It is not.
    Not(NotClaimed),
}

/// Why a task was not claimed.
#[derive(Debug)]
pub enum NotClaimed {
    /// Somebody has it, or it is over.
    Taken,
    /// Its time was over, or it belongs to another boot; it has an error record now.
    Stale,
    /// Its last run failed, and the next one may not begin yet.
    NotYet {
        /// When it may, in nanoseconds of `CLOCK_BOOTTIME`.
        not_before_boot_ns: u64,
    },
    /// The file is no request; it has the error record `INVALID_PARAMS` now.
    Unreadable(RecordError),
}

impl Consumer {
    /// Claims a task, if it is there, nobody has it, and it may still run.
    ///
    /// # Errors
    /// When the queue cannot be read or written. The task is not ours then.
    pub fn claim(&self, id: TaskId) -> io::Result<Claimed> {
        match mkdirat(&self.directories.locks, id.as_str(), LOCK_MODE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Claimed::Not(NotClaimed::Taken)),
            Err(e) => return Err(e.into()),
        }
        let claimed = self.claim_locked(id);
        if claimed.is_err() {
            // It has not started, so that it may be tried again.
            self.unlock(id).ok();
        }
        claimed
    }

    fn claim_locked(&self, id: TaskId) -> io::Result<Claimed> {
        let Directories { requests, locks, .. } = &self.directories;
        let lock = match openat(locks, id.as_str(), DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(lock) => lock,
            // The server cleaned the task in this moment.
            Err(Errno::NOENT) => return Ok(Claimed::Not(NotClaimed::Taken)),
            Err(e) => return Err(e.into()),
        };
        // The server may have removed the lock before it was held, and somebody else have made it anew.
        if !try_lock(&lock)? || !is_at(&lock, locks, id)? {
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        // The outcome before the request: the server removes them in the other order, so a task that was
        // listed long ago cannot be taken for a new one.
        if self.directories.has_outcome(id)? {
            self.unlock(id)?;
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        let decoded = match read(requests, id, REQUEST_FILE_MAX_BYTES) {
            Ok(Some(bytes)) => TaskHead::decode(&bytes).map(|head| (head, bytes)),
            Ok(None) => {
                self.unlock(id)?;
                return Ok(Claimed::Not(NotClaimed::Taken));
            }
            Err(BadResult::Record(e)) => Err(e),
            Err(e) => return Err(io::Error::other(e)),
        };
        let (head, bytes) = match decoded {
            Ok((head, bytes)) if head.id == id => (head, bytes),
            other => {
                let why = other.err().unwrap_or(RecordError::Field { field: "id" });
                let said = TaskError::new(code::INVALID_PARAMS, format!("the request: {why}"));
                self.directories.record_synced(id, &said.encode(id), RESULT_MODE)?;
                self.unlock(id)?;
                return Ok(Claimed::Not(NotClaimed::Unreadable(why)));
            }
        };
        let note = match read_note(locks, id) {
            Ok(note) => note.filter(|_| head.terms.is_retried()),
            // A note that cannot be read is none: the task is rather run once more than never.
            Err(e) if e.is_fault_of_agent() => None,
            Err(e) => return Err(io::Error::other(e)),
        };
        let now_ns = boottime_ns();
        let deadline_boot_ns = head.deadline_on(&self.boot_id);
        let attempt = note.as_ref().map_or(0, |note| note.attempt).saturating_add(1);
        let claim = Claim {
            deadline_boot_ns: deadline_boot_ns.unwrap_or(0),
            attempt,
            bytes,
            _lock: lock,
            head,
        };
        let not_before_boot_ns = note.as_ref().map_or(0, |note| note.not_before_on(&self.boot_id));
        let stale = if deadline_boot_ns.is_none() {
            TaskError::new(code::CANCELLED, "the host was started anew before the task ran")
        } else if claim.head.terms.is_async() && exists(&self.directories.urgent, id)? {
            // Nobody heard the wish: it came between two runs.
            cancelled()
        } else if claim.deadline_boot_ns <= now_ns {
            late(note)
        } else if u32::from(claim.head.terms.attempts) < attempt {
            // Its last run failed, and whoever wrote that down could not record the end.
            note.map_or_else(|| late(None), |note| note.error)
        } else if now_ns < not_before_boot_ns {
            self.unlock(id)?;
            return Ok(Claimed::Not(NotClaimed::NotYet { not_before_boot_ns }));
        } else {
            self.prepare(&claim)?;
            return Ok(Claimed::Ours(claim));
        };
        self.fail(&claim, &stale)?;
        Ok(Claimed::Not(NotClaimed::Stale))
    }

    /// What has to be so before a run begins.
    fn prepare(&self, claim: &Claim) -> io::Result<()> {
        let Directories { disk, requests, requests_sync, locks, locks_sync, .. } =
            &self.directories;
        let terms = &claim.head.terms;
        let is_first = claim.attempt <= 1;
        if !is_first {
            self.remove_output(claim.id())?;
        }
        if !terms.is_async() || (terms.is_retried() && is_first) {
            return Ok(());
        }
        // After a power cut the request has to be there, or a repeat with the same key would run it again.
        if !disk.keeps_order() {
            requests_sync.sync(disk, requests)?;
        }
        // So has the lock of a task that is run once, and the note of the runs that were.
        locks_sync.sync(disk, locks)
    }
}

impl Claim {
    /// The task.
    pub fn id(&self) -> TaskId {
        self.head.id
    }

    /// The request without its parameters.
    pub fn head(&self) -> &TaskHead {
        &self.head
    }

    /// Which run this is, from 1 on.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether no other run follows if this one fails.
    pub fn is_last(&self) -> bool {
        !self.head.terms.is_retried() || u32::from(self.head.terms.attempts) <= self.attempt
    }

    /// When this run is over at the latest if it begins at `now_ns`, both in nanoseconds of
    /// `CLOCK_BOOTTIME`.
    pub fn run_deadline(&self, now_ns: u64) -> u64 {
        let run = self.head.terms.run_ns.map_or(u64::MAX, |span| now_ns.saturating_add(span));
        run.min(self.deadline_boot_ns)
    }

    /// What to do.
    pub fn command(&self) -> &CommandName {
        &self.head.command
    }

    /// When the task is over at the latest, in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn deadline_boot_ns(&self) -> u64 {
        self.deadline_boot_ns
    }

    /// The bytes of the request file: one JSON object.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole request.
    ///
    /// # Errors
    /// When a field that does not decide about the claim breaks a rule.
    pub fn request(&self) -> Result<Request, RecordError> {
        Request::decode(&self.bytes)
    }
}

/// Whether the directory that is open is still the one at the name.
fn is_at(lock: &OwnedFd, locks: &OwnedFd, id: TaskId) -> io::Result<bool> {
    let open = fstat(lock)?;
    match statat(locks, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((open.st_dev, open.st_ino) == (named.st_dev, named.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn cancelled() -> TaskError {
    TaskError::new(code::CANCELLED, "the task was cancelled")
}

fn late(note: Option<Note>) -> TaskError {
    let Some(Note { attempt, error: TaskError { message, code, details }, .. }) = note else {
        return TaskError::new(code::DEADLINE, "the time of the task was over before it could run");
    };
    let message = format!("the time of the task was over after run {attempt}: {code}: {message}");
    TaskError { details, ..TaskError::new(code::DEADLINE, message) }
}
