//! What a runner leaves when it dies, and what the next one makes of it.

use std::io;

use ploinky_contract::TaskId;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::claim::cancelled;
use super::{Consumer, RESULT_MODE, ids_in};
use crate::directories::{DIRECTORY, Directories, exists};
use crate::lock::try_lock;
use crate::request::{TaskHead, read_head};
use crate::{TaskError, code};

/// What a new runner found of the one before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Tasks that have the outcome `AGENT_CRASHED` now, or wait for another run after it.
    pub crashed: usize,
    /// Locks of tasks that were over.
    pub released: usize,
    /// Tasks whose outcome could not be published: recover again before any work.
    pub left: usize,
}

impl Consumer {
    /// Ends what a runner left when it died. Only the runner may call this, before it claims.
    ///
    /// # Errors
    /// When the locks cannot be listed.
    pub fn recover(&self) -> io::Result<Recovered> {
        let mut recovered = Recovered::default();
        for id in ids_in(&self.directories.locks, usize::MAX)? {
            match self.recover_task(id) {
                Ok(Some(true)) => recovered.crashed += 1,
                Ok(Some(false)) => recovered.released += 1,
                Ok(None) => {}
                Err(_) => recovered.left += 1,
            }
        }
        Ok(recovered)
    }

    /// `None`: somebody lives who holds it. `true`: it got an outcome just now.
    fn recover_task(&self, id: TaskId) -> io::Result<Option<bool>> {
        let Directories { requests, locks, .. } = &self.directories;
        let lock = match openat(locks, id.as_str(), DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(lock) => lock,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if !try_lock(&lock)? {
            return Ok(None);
        }
        let Directories { disk, responses, responses_sync, .. } = &self.directories;
        let has_outcome = self.directories.has_outcome(id)?;
        let is_lost = !has_outcome && exists(requests, id)?;
        if has_outcome {
            // Who published it may have died before it was durable; without the lock nothing else would tell
            // that the task ran.
            responses_sync.sync(disk, responses)?;
        } else if is_lost {
            // The server takes a lock to cancel a task that does not run.
            let is_servers = fstat(&lock)?.st_uid != geteuid().as_raw();
            if is_servers || exists(&self.directories.urgent, id)? {
                let bytes = cancelled().encode(id);
                self.directories.record_synced(id, &bytes, RESULT_MODE)?;
            } else {
                self.end_run(id)?;
            }
        }
        self.unlock(id)?;
        Ok(Some(is_lost))
    }

    /// Writes down that the run failed in which the agent died, and the end of the task if it was the last.
    fn end_run(&self, id: TaskId) -> io::Result<()> {
        let crashed = TaskError::new(
            code::AGENT_CRASHED,
            "the agent ended while the task ran; whether it had effects is unknown",
        );
        let head = match read_head(&self.directories.requests, id) {
            Ok(Some((head, _about))) => Some(head),
            Ok(None) => return Ok(()),
            Err(e) if e.is_fault_of_agent() => None,
            Err(e) => return Err(io::Error::other(e)),
        };
        if let Some(TaskHead { terms, .. }) = head.filter(|head| head.terms.is_retried()) {
            let failed = match self.note(id) {
                Ok(note) => note.map_or(0, |note| note.attempt),
                Err(e) if e.is_fault_of_agent() => 0,
                Err(e) => return Err(io::Error::other(e)),
            };
            let attempt = failed.saturating_add(1);
            if attempt < u32::from(terms.attempts) {
                let wait = terms.backoff(attempt, spread(id, attempt));
                return self.note_failure(id, attempt, crashed, wait);
            }
        }
        self.directories.record_synced(id, &crashed.encode(id), RESULT_MODE).map(|_recorded| ())
    }
}

/// A number that differs from task to task and from run to run: ids are random.
fn spread(id: TaskId, attempt: u32) -> u64 {
    let digits = id.as_str().get(..16).unwrap_or_default();
    let drawn = u64::from_str_radix(digits, 16).unwrap_or(0);
    drawn.rotate_left(attempt.wrapping_mul(13) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Claimed;
    use crate::NotClaimed;
    use crate::lock::RUNNER;
    use crate::scratch::{Scratch, raw};

    #[test]
    fn a_task_whose_runner_died_has_crashed() {
        let queue = Scratch::new();
        let [lost, done, gone] = [1, 2, 3].map(|number| queue.submit(number));
        drop(queue.claim(lost));
        let claim = queue.claim(done);
        queue.producer.give_up(done, &TaskError::new(code::DEADLINE, "late")).unwrap();
        drop(claim);
        drop(queue.claim(gone));
        queue.producer.clean(gone).ok();
        std::fs::create_dir_all(queue.path("locks", gone.as_str())).unwrap();
        std::fs::create_dir(queue.path("locks", RUNNER)).unwrap();
        std::fs::create_dir(queue.path("locks", "junk")).unwrap();
        let held = queue.submit(4);
        let claim = queue.claim(held);
        let recovered = queue.another_consumer().recover().unwrap();
        assert_eq!(recovered, Recovered { crashed: 1, released: 2, left: 0 });
        assert!(queue.outcome(lost).unwrap().starts_with("AGENT_CRASHED: "));
        assert_eq!(queue.outcome(done).as_deref(), Some("DEADLINE: late"));
        assert_eq!(queue.names("locks"), [RUNNER, held.as_str(), "junk"]);
        assert!(matches!(queue.consumer.claim(lost).unwrap(), Claimed::Not(NotClaimed::Taken)));
        queue.consumer.complete(&claim, &raw("1")).unwrap();
    }
}
