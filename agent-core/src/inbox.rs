//! Tasks that wait for a thread. The thread that the kernel wakes takes the task itself: no one hands it on.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ploinky_contract::TaskId;
use ploinky_contract::limits::INBOX_SWEEP;
use ploinky_queue::{Consumer, Watch};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::interrupt::Bell;
use crate::log;

/// Ids held in memory; what is beyond stays in the directory until the next sweep.
const HELD_MAX: usize = 8192;

/// What an event of the kernel is about, as bits.
const HINT: u64 = 1;
const BELL: u64 = 2;
const SWEEP: u64 = 4;

/// What waits. All threads wait in the same place; the kernel wakes one of them for each event.
#[derive(Debug)]
pub(crate) struct Inbox {
    epoll: OwnedFd,
    bell: Bell,
    timer: OwnedFd,
    watch: Mutex<Watch>,
    held: Mutex<VecDeque<TaskId>>,
    idle: AtomicUsize,
    is_closed: AtomicBool,
}

impl Inbox {
    /// Starts to listen. What was there before comes by [`Inbox::sweep`].
    pub(crate) fn open(consumer: &Consumer) -> io::Result<Self> {
        let inbox = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            bell: Bell::new()?,
            timer: timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
            )?,
            watch: Mutex::new(consumer.watch_requests()?),
            held: Mutex::default(),
            idle: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        };
        let every = Timespec {
            tv_sec: i64::try_from(INBOX_SWEEP.as_secs()).unwrap_or(1),
            tv_nsec: INBOX_SWEEP.subsec_nanos().into(),
        };
        let every = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&inbox.timer, TimerfdTimerFlags::empty(), &every)?;
        // Edges: each event wakes one thread, and not again while that thread has not read it yet.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&inbox.epoll, &*lock(&inbox.watch), epoll::EventData::new_u64(HINT), edge)?;
        epoll::add(&inbox.epoll, &inbox.bell, epoll::EventData::new_u64(BELL), edge)?;
        epoll::add(&inbox.epoll, &inbox.timer, epoll::EventData::new_u64(SWEEP), edge)?;
        Ok(inbox)
    }

    /// The next task, or `None` when the inbox is closed.
    ///
    /// # Errors
    /// The kernel does not let us wait; no later call will do better.
    pub(crate) fn next(&self, consumer: &Consumer) -> io::Result<Option<TaskId>> {
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                self.bell.ring();
                return Ok(None);
            }
            // Counted before the look: who puts something in afterwards will ring.
            self.idle.fetch_add(1, Ordering::SeqCst);
            if let Some((id, has_more)) = self.pop() {
                let others = self.idle.fetch_sub(1, Ordering::SeqCst) - 1;
                if has_more && 0 < others {
                    self.bell.ring();
                }
                return Ok(Some(id));
            }
            let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 4];
            let woken = epoll::wait(&self.epoll, &mut events, None)
                .map(|(events, _)| events.iter().fold(0, |all, event| all | event.data.u64()));
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match woken {
                Ok(about) => {
                    if about & HINT != 0 {
                        self.read_hints(consumer);
                    }
                    if about & SWEEP != 0 {
                        let mut expirations = [0; 8];
                        // A timer that is not read does not start again.
                        rustix::io::read(&self.timer, &mut expirations).ok();
                        self.sweep(consumer);
                    }
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Lists the directory: hints may have been lost, and there were none before the start.
    pub(crate) fn sweep(&self, consumer: &Consumer) {
        let held: HashSet<TaskId> = lock(&self.held).iter().copied().collect();
        match consumer.waiting(&|id| held.contains(&id)) {
            Ok(waiting) => self.hold(waiting),
            Err(e) => log::event(&format!("cannot list the tasks that wait: {e}")),
        }
    }

    /// Gives no more tasks; those held stay in the directory for the next runner.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn read_hints(&self, consumer: &Consumer) {
        let mut seen = Vec::new();
        let mut is_lossy = false;
        {
            let mut watch = lock(&self.watch);
            loop {
                match watch.drain(&mut |id| seen.push(id)) {
                    Ok(drained) => {
                        is_lossy |= drained.overflowed;
                        if !drained.more {
                            break;
                        }
                    }
                    Err(e) => {
                        log::event(&format!("cannot read the hints on tasks: {e}"));
                        break;
                    }
                }
            }
        }
        self.hold(seen);
        if is_lossy {
            self.sweep(consumer);
        }
    }

    fn hold(&self, ids: Vec<TaskId>) {
        let mut held = lock(&self.held);
        let room = HELD_MAX.saturating_sub(held.len());
        held.extend(ids.into_iter().take(room));
    }

    /// The oldest one, and whether there are more.
    fn pop(&self) -> Option<(TaskId, bool)> {
        let mut held = lock(&self.held);
        let id = held.pop_front()?;
        Some((id, !held.is_empty()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
