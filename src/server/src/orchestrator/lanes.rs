//! The two ways of a call to its agent: through memory if that is there, else through the disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_queue::{
    BadResult, Cancel, Outcome, Producer, Request, ResultWatch, SYNC_REQUEST_MAX_BYTES,
    SubmitError, SyncProducer, TaskError,
};

/// How long an answer to "is there room" or "is it served" is good for.
const IS_KNOWN: Duration = Duration::from_secs(1);

/// A way of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    /// The durable queue, without its syncs.
    Disk,
    /// The same for a call with files, which lie on the disk whatever way it goes.
    Files,
    /// The queue of calls that are waited for.
    Memory,
    /// The same for a call whose handler writes into a pipe.
    Stream,
}

impl Lane {
    /// Whether the queue is the one in memory.
    pub(super) fn is_in_memory(self) -> bool {
        matches!(self, Self::Memory | Self::Stream)
    }
}

/// The queues of one agent.
#[derive(Debug)]
pub(crate) struct Lanes {
    disk: Arc<Producer>,
    memory: Option<SyncProducer>,
    disk_has_room: Recent,
    memory_is_open: Recent,
}

/// Device and inode of both queues: whether they are the ones that are open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Places {
    /// Of `.tasks`.
    pub(crate) disk: (u64, u64),
    /// Of the queue in memory, if there is one.
    pub(crate) memory: Option<(u64, u64)>,
}

impl Lanes {
    /// Both queues, or only the one on the disk.
    pub(crate) fn new(disk: Arc<Producer>, memory: Option<SyncProducer>) -> Self {
        Self { disk, memory, disk_has_room: Recent::default(), memory_is_open: Recent::default() }
    }

    /// The queue on the disk.
    pub(crate) fn disk(&self) -> &Arc<Producer> {
        &self.disk
    }

    /// The queue in memory.
    pub(crate) fn memory(&self) -> Option<&SyncProducer> {
        self.memory.as_ref()
    }

    /// Where they are.
    ///
    /// # Errors
    /// When a file system does not tell.
    pub(crate) fn places(&self) -> io::Result<Places> {
        let memory = self.memory.as_ref().map(SyncProducer::place).transpose()?;
        Ok(Places { disk: self.disk.place()?, memory })
    }

    /// One watch on the results of both.
    ///
    /// # Errors
    /// When the kernel gives no more watches.
    pub(crate) fn watch(&self) -> io::Result<ResultWatch> {
        match &self.memory {
            Some(memory) => memory.watch_with(&self.disk),
            None => self.disk.watch(),
        }
    }

    /// Where a request of `length` bytes goes; `None` if there is no room.
    pub(super) fn choose(&self, length: usize, now_ns: u64) -> Option<Lane> {
        if let Some(memory) = &self.memory
            && length <= SYNC_REQUEST_MAX_BYTES
            // An agent from before it had the lane serves only the disk.
            && self.memory_is_open.get(now_ns, || {
                memory.has_room().unwrap_or(false) && memory.runner_is_alive()
            })
        {
            return Some(Lane::Memory);
        }
        self.has_room_on_disk(now_ns).then_some(Lane::Disk)
    }

    /// Whether the disk has room for a request.
    pub(super) fn has_room_on_disk(&self, now_ns: u64) -> bool {
        // A file system that does not tell is tried out by the task itself.
        self.disk_has_room.get(now_ns, || self.disk.has_room().unwrap_or(true))
    }

    /// Makes the request visible; `bytes` are its encoding.
    pub(super) fn submit(
        &self,
        lane: Lane,
        request: &Request,
        bytes: &[u8],
    ) -> Result<(), SubmitError> {
        match self.at(lane) {
            At::Disk(disk) => disk.submit_encoded(request.id, bytes),
            At::Memory(memory) => {
                let submitted = memory.submit_encoded(request.id, bytes);
                if submitted.is_err() {
                    // The next ones need not try.
                    self.memory_is_open.set(request.seq, false);
                }
                submitted
            }
        }
    }

    pub(super) fn collect_if(
        &self,
        lane: Lane,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        match self.at(lane) {
            At::Disk(disk) => disk.collect_if(id, admit),
            At::Memory(memory) => memory.collect_if(id, admit),
        }
    }

    pub(super) fn cancel(&self, lane: Lane, id: TaskId, why: &TaskError) -> io::Result<Cancel> {
        match self.at(lane) {
            At::Disk(disk) => disk.cancel(id, why),
            At::Memory(memory) => memory.cancel(id),
        }
    }

    /// Ends a task that its agent does not end. In memory nobody but who waits needs a record.
    pub(super) fn give_up(&self, lane: Lane, id: TaskId, why: &TaskError) -> io::Result<()> {
        match self.at(lane) {
            At::Disk(disk) => disk.give_up(id, why),
            At::Memory(_) => Ok(()),
        }
    }

    /// Removes the files of a task. `is_collected`: its record was, and nobody asked to end it; then nothing
    /// else is left of it.
    pub(super) fn clean(&self, lane: Lane, id: TaskId, is_collected: bool) -> io::Result<()> {
        // A record is not all that is left of a task with files or a pipe.
        let is_all = is_collected && matches!(lane, Lane::Disk | Lane::Memory);
        match (self.at(lane), is_all) {
            (At::Disk(disk), true) => disk.clean_collected(id),
            (At::Disk(disk), false) => disk.clean(id),
            (At::Memory(memory), true) => memory.clean_collected(id),
            (At::Memory(memory), false) => memory.clean(id),
        }
    }

    /// Nobody waits: removes what was kept for the next calls.
    pub(super) fn rest(&self) -> io::Result<()> {
        self.memory.as_ref().map_or(Ok(()), SyncProducer::flush)
    }

    /// Whether the agent serves this way.
    pub(super) fn runner_is_alive(&self, lane: Lane) -> bool {
        match self.at(lane) {
            At::Disk(disk) => disk.runner_is_alive(),
            At::Memory(memory) => memory.runner_is_alive(),
        }
    }

    fn at(&self, lane: Lane) -> At<'_> {
        match (&self.memory, lane) {
            (Some(memory), Lane::Memory | Lane::Stream) => At::Memory(memory),
            (_, Lane::Disk | Lane::Files) | (None, Lane::Memory | Lane::Stream) => {
                At::Disk(&self.disk)
            }
        }
    }
}

enum At<'a> {
    Disk(&'a Producer),
    Memory(&'a SyncProducer),
}

/// An answer that is asked for anew when it is old.
#[derive(Debug, Default)]
struct Recent(Mutex<Option<(u64, bool)>>);

impl Recent {
    fn get(&self, now_ns: u64, ask: impl FnOnce() -> bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked_ns, answer)) = *known
            && u128::from(now_ns.saturating_sub(asked_ns)) < IS_KNOWN.as_nanos()
        {
            return answer;
        }
        let answer = ask();
        *known = Some((now_ns, answer));
        answer
    }

    fn set(&self, now_ns: u64, answer: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now_ns, answer));
    }
}
