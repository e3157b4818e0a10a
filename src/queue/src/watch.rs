//! Hints from the kernel that names appeared. A hint may be lost; the directories are the truth.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ploinky_contract::TaskId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::publish::{fd_path, fd_path_buffer};

/// Bytes read at once: 1,000 names of tasks.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that one event takes at most: the head and a name of 255 bytes with its end.
const EVENT_MAX_BYTES: usize = 16 + 256;

/// Tells which tasks got a file. Has an inotify instance of its own.
pub struct Watch {
    inotify: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
}

/// The watch of a server on the results of one agent.
pub type ResultWatch = Watch;

/// How one reading of hints went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drained {
    /// Hints were lost: look for everything that is waited for.
    pub overflowed: bool,
    /// There may be more hints already: read again before waiting.
    pub more: bool,
}

impl Watch {
    /// Watches the directories.
    pub(crate) fn on(directories: &[&OwnedFd]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        for directory in directories {
            let mut path = fd_path_buffer();
            let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            inotify::add_watch(&inotify, fd_path(directory, &mut path)?, what)?;
        }
        Ok(Self { inotify, buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES].into_boxed_slice() })
    }

    /// Reads hints once, without waiting, and names the tasks in the order of the kernel. Names that are no
    /// task ids are left out.
    ///
    /// # Errors
    /// When the kernel refuses to read; "nothing there" is no error.
    pub fn drain(&mut self, on: &mut dyn FnMut(TaskId)) -> io::Result<Drained> {
        let Self { inotify, buffer } = self;
        let mut drained = Drained::default();
        let mut used = 0;
        let room = buffer.len();
        let mut events = Reader::new(inotify.as_fd(), buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    drained.overflowed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
                    // The kernel fills names up to a multiple of the head's size.
                    used += 16 + (name.len() + 1).next_multiple_of(16);
                    if let Ok(id) = TaskId::from_bytes(name) {
                        on(id);
                    }
                }
                Err(Errno::AGAIN) => return Ok(drained),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if events.is_buffer_empty() {
                drained.more = room < used + 2 * EVENT_MAX_BYTES;
                return Ok(drained);
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inotify, buffer: _ } = self;
        f.debug_struct("Watch").field("inotify", inotify).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::TaskError;
    use crate::scratch::{Scratch, id, raw};

    fn drain(watch: &mut Watch) -> (Vec<TaskId>, Drained) {
        let mut seen = Vec::new();
        let drained = watch.drain(&mut |id| seen.push(id)).unwrap();
        (seen, drained)
    }

    #[test]
    fn names_that_are_no_tasks_are_not_told() {
        let queue = Scratch::new();
        let mut watch = queue.producer.watch().unwrap();
        for name in [".tmp-x", "x", &"A".repeat(32), &"0".repeat(33), &"ä".repeat(100)] {
            File::create(queue.path("responses", name)).unwrap();
        }
        assert_eq!(drain(&mut watch), (vec![], Drained::default()));
    }

    #[test]
    fn requests_and_both_kinds_of_results_are_told_in_order() {
        let queue = Scratch::new();
        let mut results = queue.producer.watch().unwrap();
        let mut requests = queue.consumer.watch_requests().unwrap();
        let ids: Vec<TaskId> = (0..3).map(|number| queue.submit(number)).collect();
        assert_eq!(drain(&mut requests), (ids.clone(), Drained::default()));
        queue.consumer.complete(&queue.claim(id(2)), &raw("1")).unwrap();
        queue.consumer.fail(&queue.claim(id(0)), &TaskError::new("X", "y")).unwrap();
        assert_eq!(drain(&mut results), (vec![id(2), id(0)], Drained::default()));
        assert_eq!(drain(&mut results), (vec![], Drained::default()));
    }

    #[test]
    fn a_full_buffer_says_that_there_is_more() {
        let queue = Scratch::new();
        let mut watch = queue.producer.watch().unwrap();
        for number in 0..2000 {
            File::create(queue.path("responses", &format!("{number:032x}"))).unwrap();
        }
        let (mut all, mut readings) = (0, 0);
        loop {
            let (seen, drained) = drain(&mut watch);
            all += seen.len();
            readings += 1;
            if !drained.more {
                break;
            }
        }
        assert_eq!((all, readings), (2000, 2));
    }

    #[test]
    fn lost_hints_are_reported() {
        let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: u32 = limit.trim().parse().unwrap();
        if 100_000 < limit {
            eprintln!("skipped: the kernel queues {limit} events");
            return;
        }
        let queue = Scratch::new();
        let mut watch = queue.producer.watch().unwrap();
        for number in 0..=limit {
            File::create(queue.path("errors", &format!("{number:032x}"))).unwrap();
        }
        let mut overflowed = false;
        loop {
            let (_, drained) = drain(&mut watch);
            overflowed |= drained.overflowed;
            if !drained.more {
                break;
            }
        }
        assert!(overflowed);
        File::create(queue.path("errors", id(7).as_str())).unwrap();
        assert_eq!(drain(&mut watch), (vec![id(7)], Drained::default()));
    }
}
