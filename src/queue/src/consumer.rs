//! The agent's side of its queue: claim, complete or fail, recover.

mod recovery;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_contract::{CommandName, TaskId};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use serde_json::value::RawValue;

pub use self::recovery::Recovered;
use crate::directories::{DIRECTORY, Directories, OpenError, exists, unless_absent};
use crate::lock::{PROBES_END, RUNNER, lock_within, try_lock};
use crate::publish::{Recorded, publish};
use crate::read_result::{BadResult, read};
use crate::request::{REQUEST_FILE_MAX_BYTES, RequestHead};
use crate::watch::Watch;
use crate::{Outcome, RecordError, Request, TaskError, boottime_ns, code};

/// Results: the server is nobody special to the agent's files.
pub(crate) const RESULT_MODE: Mode = Mode::from_raw_mode(0o644);
/// Locks of tasks.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o770);
/// The runner's lock: the server has to open it.
const RUNNER_MODE: Mode = Mode::from_raw_mode(0o755);

/// The agent's handle of its queue. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct Consumer {
    directories: Directories,
    boot_id: String,
}

/// The sign that the queue is served, held until drop or death.
#[derive(Debug)]
pub struct RunnerLock {
    _directory: OwnedFd,
}

/// A task that belongs to this process until it has an outcome. Dropped without one it stays locked, and the
/// next runner reports it as crashed.
#[derive(Debug)]
pub struct Claim {
    id: TaskId,
    command: CommandName,
    deadline_boot_ns: u64,
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
    /// The file is no request; it has the error record `INVALID_PARAMS` now.
    Unreadable(RecordError),
}

impl Consumer {
    /// Opens the queue at `tasks` without following links. `boot_id` is that of [`crate::boot_id`].
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub fn open(tasks: &Path, boot_id: String) -> Result<Self, OpenError> {
        Directories::open(tasks).map(|directories| Self { directories, boot_id })
    }

    /// Becomes the runner of this queue; `None` if there is one already.
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
            if skip(id)
                || exists(&self.directories.locks, id)?
                || self.directories.has_outcome(id)?
            {
                continue;
            }
            match read(&self.directories.requests, id, REQUEST_FILE_MAX_BYTES) {
                Ok(Some(bytes)) => {
                    let head = RequestHead::decode(&bytes, &self.boot_id);
                    waiting.push((head.map_or(u64::MAX, |head| head.seq), id));
                }
                Err(BadResult::Record(_)) => waiting.push((u64::MAX, id)),
                Ok(None) | Err(_) => {}
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
        if !try_lock(&lock)? {
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        // The outcome before the request: the server removes them in the other order, so a task that was
        // listed long ago cannot be taken for a new one.
        if self.directories.has_outcome(id)? {
            self.unlock(id)?;
            return Ok(Claimed::Not(NotClaimed::Taken));
        }
        let decoded = match read(requests, id, REQUEST_FILE_MAX_BYTES) {
            Ok(Some(bytes)) => RequestHead::decode(&bytes, &self.boot_id).map(|head| (head, bytes)),
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
                publish(&self.directories.errors, id, &said.encode(id), RESULT_MODE)?;
                self.unlock(id)?;
                return Ok(Claimed::Not(NotClaimed::Unreadable(why)));
            }
        };
        let RequestHead { id: _, command, seq: _, deadline_boot_ns, is_of_boot, instance: _ } =
            head;
        let claim = Claim { id, command, deadline_boot_ns, bytes, _lock: lock };
        let stale = if !is_of_boot {
            TaskError::new(code::CANCELLED, "the host was started anew before the task ran")
        } else if deadline_boot_ns <= boottime_ns() {
            TaskError::new(code::DEADLINE, "the time of the task was over before it could run")
        } else {
            return Ok(Claimed::Ours(claim));
        };
        self.fail(&claim, &stale)?;
        Ok(Claimed::Not(NotClaimed::Stale))
    }

    /// Publishes the value of a claimed task and releases it; a value that is too long becomes the error
    /// `RESULT_TOO_LARGE`.
    ///
    /// # Errors
    /// The task is still locked and has no outcome; try again.
    pub fn complete(&self, claim: &Claim, response: &RawValue) -> io::Result<Recorded> {
        let bytes = Outcome::encode_response(claim.id, response);
        if RESULT_MAX_BYTES < bytes.len() {
            return self.fail(claim, &too_large(bytes.len()));
        }
        let recorded = publish(&self.directories.responses, claim.id, &bytes, RESULT_MODE)?;
        self.unlock(claim.id)?;
        Ok(recorded)
    }

    /// Publishes why a claimed task has no value, and releases it.
    ///
    /// # Errors
    /// The task is still locked and has no outcome; try again.
    pub fn fail(&self, claim: &Claim, why: &TaskError) -> io::Result<Recorded> {
        let mut bytes = why.encode(claim.id);
        if RESULT_MAX_BYTES < bytes.len() {
            bytes = too_large(bytes.len()).encode(claim.id);
        }
        let recorded = if exists(&self.directories.responses, claim.id)? {
            Recorded::AlreadySo
        } else {
            publish(&self.directories.errors, claim.id, &bytes, RESULT_MODE)?
        };
        self.unlock(claim.id)?;
        Ok(recorded)
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

    fn unlock(&self, id: TaskId) -> io::Result<()> {
        match unlinkat(&self.directories.locks, id.as_str(), AtFlags::REMOVEDIR) {
            // The server made this lock to cancel the task, and removes it when it cleans.
            Err(Errno::PERM | Errno::NOTEMPTY) => Ok(()),
            other => unless_absent(other),
        }
    }
}

impl RunnerLock {
    /// Takes the lock in `locks`; `None` if somebody has it.
    pub(crate) fn take(locks: &OwnedFd) -> io::Result<Option<Self>> {
        match mkdirat(locks, RUNNER, RUNNER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let directory = openat(locks, RUNNER, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        Ok(lock_within(&directory, PROBES_END)?.then_some(Self { _directory: directory }))
    }
}

impl Claim {
    /// The task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// What to do.
    pub fn command(&self) -> &CommandName {
        &self.command
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

pub(crate) fn too_large(length: usize) -> TaskError {
    TaskError::new(
        code::RESULT_TOO_LARGE,
        format!("the result has {length} bytes; {RESULT_MAX_BYTES} are allowed"),
    )
}

/// The names in a directory that are task ids, at most `limit` of them.
pub(crate) fn ids_in(directory: &OwnedFd, limit: usize) -> io::Result<Vec<TaskId>> {
    let mut ids = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if let Ok(id) = TaskId::from_bytes(entry.file_name().to_bytes()) {
            if limit <= ids.len() {
                break;
            }
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::scratch::{Scratch, id, raw, request};

    #[test]
    fn a_task_is_claimed_once() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let _claim = queue.claim(id);
        let other = queue.another_consumer();
        assert!(matches!(other.claim(id).unwrap(), Claimed::Not(NotClaimed::Taken)));
        assert_eq!(other.waiting(&|_| false).unwrap(), []);
    }

    #[test]
    fn of_many_runners_racing_each_task_is_run_by_one() {
        let queue = Scratch::new();
        let ids: Vec<TaskId> = (0..200).map(|number| queue.submit(number)).collect();
        let runs = Mutex::new(BTreeMap::<TaskId, u32>::new());
        std::thread::scope(|scope| {
            for start in [0, 50, 100, 150] {
                let (queue, ids, runs) = (&queue, &ids, &runs);
                scope.spawn(move || {
                    let consumer = queue.another_consumer();
                    for index in 0..ids.len() {
                        let id = ids[(start + index) % ids.len()];
                        if let Claimed::Ours(claim) = consumer.claim(id).unwrap() {
                            *runs.lock().unwrap().entry(id).or_default() += 1;
                            consumer.complete(&claim, &raw("1")).unwrap();
                        }
                    }
                });
            }
        });
        let expected: BTreeMap<TaskId, u32> = ids.iter().map(|id| (*id, 1)).collect();
        assert_eq!(runs.into_inner().unwrap(), expected);
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }

    #[test]
    fn tasks_of_another_boot_or_past_their_time_are_not_run() {
        let queue = Scratch::new();
        let mut old = request(1);
        old.boot_id = "f".repeat(32);
        queue.producer.submit(&old).unwrap();
        let mut late = request(2);
        late.deadline_boot_ns = boottime_ns();
        queue.producer.submit(&late).unwrap();
        for id in [old.id, late.id] {
            assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(NotClaimed::Stale)));
        }
        assert!(queue.outcome(old.id).unwrap().starts_with("CANCELLED: "));
        assert!(queue.outcome(late.id).unwrap().starts_with("DEADLINE: "));
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_request_is_not_run() {
        let queue = Scratch::new();
        for (number, text) in [(1, ""), (2, "{}"), (3, "{\"v\":1")] {
            let path = queue.path("requests", id(number).as_str());
            std::fs::File::create(path)
                .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
                .unwrap();
        }
        let moved = queue.path("requests", id(5).as_str());
        queue.submit(4);
        std::fs::copy(queue.path("requests", id(4).as_str()), moved).unwrap();
        let listed = queue.consumer.waiting(&|_| false).unwrap();
        assert_eq!(listed, [4, 5, 1, 2, 3].map(id));
        for number in [1, 2, 3, 5] {
            let claimed = queue.consumer.claim(id(number)).unwrap();
            assert!(matches!(claimed, Claimed::Not(NotClaimed::Unreadable(_))), "{claimed:?}");
            // Who waits is told.
            assert!(queue.outcome(id(number)).unwrap().starts_with("INVALID_PARAMS: the request"));
        }
        assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), [id(4)]);
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }

    #[test]
    fn a_listing_from_before_the_end_starts_nothing() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let listed = queue.consumer.waiting(&|_| false).unwrap();
        queue.consumer.complete(&queue.claim(id), &raw("1")).unwrap();
        for id in &listed {
            assert!(matches!(queue.consumer.claim(*id).unwrap(), Claimed::Not(NotClaimed::Taken)));
        }
        queue.producer.clean(id).unwrap();
        assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(NotClaimed::Taken)));
        assert_eq!((listed, queue.names("locks")), (vec![id], Vec::new()));
    }

    #[test]
    fn waiting_tasks_come_in_the_order_of_submission() {
        let queue = Scratch::new();
        let numbers = [9_u8, 3, 7, 1, 8];
        let expected: Vec<TaskId> = numbers.iter().map(|number| queue.submit(*number)).collect();
        assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), expected);
        assert_eq!(queue.consumer.waiting(&|known| known != id(7)).unwrap(), [id(7)]);
    }

    #[test]
    fn a_value_that_is_too_long_becomes_an_error() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let claim = queue.claim(id);
        let value = raw(&format!("\"{}\"", "x".repeat(RESULT_MAX_BYTES)));
        queue.consumer.complete(&claim, &value).unwrap();
        assert!(queue.outcome(id).unwrap().starts_with("RESULT_TOO_LARGE: "));
    }
}
