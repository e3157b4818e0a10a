//! The queue of one agent whose outcomes are to be posted, and the hints on its results.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use ploinky_contract::TaskId;
use ploinky_queue::{Producer, ResultWatch, Strangers};

/// One agent.
pub(crate) struct Agent {
    /// Its queue.
    pub(crate) producer: Producer,
    results: ResultWatch,
    strangers: Strangers,
}

impl Agent {
    /// Opens the queue in `tasks`.
    ///
    /// # Errors
    /// When it is not there, or cannot be watched.
    pub(crate) fn open(tasks: &Path, now: Instant) -> io::Result<Self> {
        let producer = Producer::open(tasks).map_err(io::Error::other)?;
        let results = producer.watch()?;
        Ok(Self { producer, results, strangers: Strangers::new(now) })
    }

    /// What becomes readable with the next hint, or until when nobody should wait for one.
    pub(crate) fn hints(&self, now: Instant) -> Result<BorrowedFd<'_>, Instant> {
        match self.strangers.rest() {
            Some(rest) if now < rest => Err(rest),
            Some(_) | None => Ok(self.results.as_fd()),
        }
    }

    /// Reads hints once and adds the names that `is_waited_for` knows. `false`: some were lost.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub(crate) fn read_hints(
        &mut self,
        is_waited_for: impl Fn(TaskId) -> bool,
        ended: &mut Vec<TaskId>,
        now: Instant,
    ) -> io::Result<bool> {
        let before = ended.len();
        let drained = self.results.drain(&mut |id| {
            if is_waited_for(id) {
                ended.push(id);
            }
        });
        if ended.len() == before {
            self.strangers.came(now);
        }
        Ok(!drained?.overflowed)
    }
}
