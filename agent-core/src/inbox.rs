//! Tasks that wait for a thread. The thread that the kernel wakes takes the task itself: no one hands it on.
//!
//! As long as there are threads enough for all that came, nothing is read to decide who is first. As soon as
//! tasks have to wait, the heads of their requests are read once and [`Schedule`] knows the order.

mod state;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_queue::{Watch, boottime_ns};
use rustix::event::epoll;
use rustix::io::Errno;

use self::state::State;
use crate::boot_time::BootTime;
use crate::interrupt::{Bell, Interrupt, Interrupts};
use crate::lane::Lane;
use crate::lanes::{Lanes, Look};
use crate::log;
use crate::schedule::{Entry, Next, Schedule, number};

/// Tasks that are looked at before others may go on.
const LOOKS: usize = 256;
/// While tasks wait, new hints are read no more often than so.
const HINTS_EVERY: Duration = Duration::from_millis(1);

/// What an event of the kernel is about, as bits.
const SYNC_HINT: u64 = 1;
const DURABLE_HINT: u64 = 2;
const BELL: u64 = 4;

/// What waits. All threads wait in the same place; the kernel wakes one of them for each event.
#[derive(Debug)]
pub(crate) struct Inbox {
    epoll: OwnedFd,
    bell: Bell,
    sync: Option<Mutex<Watch>>,
    durable: Mutex<Watch>,
    state: Mutex<State>,
    /// Rings when somebody has to look at the directories, or at the clock.
    sweeps: Bell,
    /// Rings when a task came and somebody rests until then.
    work: Bell,
    /// Whether order has to be decided before any claim.
    has_classes: bool,
    idle: AtomicUsize,
    hints_read_ns: AtomicU64,
    is_closed: AtomicBool,
}

impl Inbox {
    /// Starts to listen for `threads` threads. What was there before comes with the first sweep.
    pub(crate) fn open(lanes: &Lanes, threads: usize) -> io::Result<Self> {
        let sync = lanes.watch_requests(Lane::Sync)?.map(Mutex::new);
        let durable = lanes.watch_requests(Lane::Durable)?.ok_or(io::ErrorKind::NotFound)?;
        let inbox = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            bell: Bell::new()?,
            sync,
            durable: Mutex::new(durable),
            state: Mutex::new(State {
                fresh: VecDeque::new(),
                schedule: Schedule::new(lanes.bounds()),
                running: vec![None; threads],
                again: Vec::new(),
                over: HashSet::new(),
                is_lossy: false,
                is_resting: false,
            }),
            sweeps: Bell::new()?,
            work: Bell::new()?,
            has_classes: !lanes.bounds().is_empty(),
            idle: AtomicUsize::new(0),
            hints_read_ns: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        };
        // Edges: each event wakes one thread, and not again while that thread has not read it yet.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let about = epoll::EventData::new_u64;
        if let Some(sync) = &inbox.sync {
            epoll::add(&inbox.epoll, &*lock(sync), about(SYNC_HINT), edge)?;
        }
        epoll::add(&inbox.epoll, &*lock(&inbox.durable), about(DURABLE_HINT), edge)?;
        epoll::add(&inbox.epoll, &inbox.bell, about(BELL), edge)?;
        Ok(inbox)
    }

    /// The next task for the thread in `slot`, which has ended what it had before; wishes for the task's end
    /// are heard from now on. `None` when the inbox is closed.
    ///
    /// # Errors
    /// The kernel does not let us wait; no later call will do better.
    pub(crate) fn next(
        &self,
        slot: usize,
        interrupt: &Interrupt,
        lanes: &Lanes,
    ) -> io::Result<Option<Next>> {
        self.end(slot);
        loop {
            if self.is_closed.load(Ordering::Acquire) {
                self.bell.ring();
                return Ok(None);
            }
            // Counted before the look: who puts something in afterwards will ring.
            self.idle.fetch_add(1, Ordering::SeqCst);
            if let Some((next, has_more)) = self.take(slot, interrupt, lanes) {
                let others = self.idle.fetch_sub(1, Ordering::SeqCst) - 1;
                if has_more && 0 < others {
                    self.bell.ring();
                }
                return Ok(Some(next));
            }
            let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 4];
            interrupt.stage.wait();
            let woken = epoll::wait(&self.epoll, &mut events, None)
                .map(|(events, _)| events.iter().fold(0, |all, event| all | event.data.u64()));
            interrupt.stage.moment();
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match woken {
                Ok(about) => {
                    if about & SYNC_HINT != 0 {
                        self.read_hints(Lane::Sync);
                    }
                    if about & DURABLE_HINT != 0 {
                        self.read_hints(Lane::Durable);
                    }
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// A task that may start, and whether there are more.
    fn take(&self, slot: usize, interrupt: &Interrupt, lanes: &Lanes) -> Option<(Next, bool)> {
        let mut state = self.state();
        let is_calm = state.schedule.is_empty() && !self.has_classes;
        if is_calm && state.fresh.len() <= self.idle.load(Ordering::SeqCst) {
            // Threads enough for all: who is first does not matter.
            let (lane, id) = state.fresh.pop_front()?;
            let next = Next { lane, id, class: 0 };
            state.schedule.begin(0);
            state.begin(slot, next);
            interrupt.begin(id);
            let has_more = !state.fresh.is_empty();
            return Some((next, has_more));
        }
        if !state.schedule.is_empty() && self.are_hints_due() {
            // Somebody more urgent may have come while all threads were busy.
            drop(state);
            self.read_hints(Lane::Sync);
            self.read_hints(Lane::Durable);
            state = self.state();
        }
        while !state.fresh.is_empty() {
            let count = state.fresh.len().min(LOOKS);
            let some: Vec<_> = state.fresh.drain(..count).collect();
            drop(state);
            // This thread counts as idle, and needs no bell.
            self.look(&some, lanes, 1);
            state = self.state();
        }
        let next = state.schedule.pop()?;
        state.begin(slot, next);
        interrupt.begin(next.id);
        if state.wants_sweep() {
            self.sweeps.ring();
        }
        Some((next, state.schedule.has_next()))
    }

    /// Lets tasks wait in their order, after a look at each. More than `awake` idle threads: one is asleep.
    fn look(&self, tasks: &[(Lane, TaskId)], lanes: &Lanes, awake: usize) {
        let looks: Vec<_> =
            tasks.iter().map(|(lane, id)| (*lane, *id, lanes.look(*lane, *id))).collect();
        let mut is_timed = false;
        let mut state = self.state();
        for (lane, id, look) in looks {
            if state.has(lane, id) {
                continue;
            }
            match look {
                Look::Waits(entry, not_before) => {
                    is_timed |= not_before.is_some();
                    state.push(lane, entry, not_before);
                }
                Look::Over => {
                    if lane == Lane::Durable {
                        state.over.insert(number(id));
                    }
                }
                Look::Gone => {}
            }
        }
        self.rouse(&mut state);
        let has_next = state.schedule.has_next();
        drop(state);
        if has_next && awake < self.idle.load(Ordering::SeqCst) {
            self.bell.ring();
        }
        if is_timed {
            self.sweeps.ring();
        }
    }

    /// Lets a task wait for its next run.
    pub(crate) fn put_off(&self, entry: Entry, not_before: BootTime) {
        // It counts as running until its thread takes the next one.
        let mut state = self.state();
        state.push(Lane::Durable, entry, Some(not_before.as_ns()));
        self.rouse(&mut state);
        drop(state);
        self.sweeps.ring();
    }

    /// A durable task got its outcome.
    pub(crate) fn is_over(&self, id: TaskId) {
        self.state().over.insert(number(id));
    }

    /// Brings a wish for the end of a task to the thread that has it, or to the task that waits.
    pub(crate) fn ask(&self, lane: Lane, id: TaskId, interrupts: &Interrupts) {
        let is_hurried = {
            let mut state = self.state();
            match lane {
                // Its request is gone already.
                Lane::Sync if state.schedule.forget(id) => return,
                Lane::Sync => false,
                // Whoever claims it sees the wish.
                Lane::Durable => state.schedule.hurry(id),
            }
        };
        if is_hurried {
            self.bell.ring();
        } else {
            interrupts.ask(id);
        }
    }

    /// Looks for tasks without hints: hints may have been lost, and there were none before the start. Tells
    /// how many were found.
    pub(crate) fn sweep(&self, lane: Lane, lanes: &Lanes) -> io::Result<usize> {
        mem::take(&mut self.state().is_lossy);
        let listed = lanes.list(lane)?;
        // What was listed and had a hint is known now.
        self.read_hints(lane);
        let mut state = self.state();
        if lane == Lane::Durable && !state.over.is_empty() {
            let there: HashSet<u128> = listed.iter().copied().map(number).collect();
            state.over.retain(|id| there.contains(id));
        }
        let fresh: HashSet<TaskId> = state.fresh.iter().map(|(_, id)| *id).collect();
        let unknown: Vec<_> = listed
            .into_iter()
            .filter(|id| {
                !state.has(lane, *id) && !fresh.contains(id) && !state.is_known_over(lane, *id)
            })
            .map(|id| (lane, id))
            .collect();
        drop(state);
        for some in unknown.chunks(LOOKS) {
            if self.is_closed.load(Ordering::Acquire) {
                break;
            }
            self.look(some, lanes, 0);
        }
        Ok(unknown.len())
    }

    /// Lets tasks start whose time has come; tells when the next one's comes.
    pub(crate) fn advance(&self) -> Option<u64> {
        let mut state = self.state();
        let next = state.schedule.advance(boottime_ns());
        if state.schedule.has_next() && 0 < self.idle.load(Ordering::SeqCst) {
            self.bell.ring();
        }
        next
    }

    /// Rings when the directories or the clock have to be looked at; who listens silences it.
    pub(crate) fn sweeps(&self) -> &Bell {
        &self.sweeps
    }

    /// Whether tasks may be in their directory that nobody knows of, and there is room for them.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.state().wants_sweep()
    }

    /// Whether there is nothing to do, so that who asks may rest; then [`Inbox::work`] rings with the next task.
    pub(crate) fn rest(&self) -> bool {
        let mut state = self.state();
        state.is_resting = state.is_quiet();
        state.is_resting
    }

    /// Rings when a rest is over; who listens silences it.
    pub(crate) fn work(&self) -> &Bell {
        &self.work
    }

    /// Ends a rest if there are tasks by now. What is not known yet comes with a hint or a look.
    fn rouse(&self, state: &mut State) {
        if state.ends_rest() {
            self.work.ring();
        }
    }

    /// Gives no more tasks; those held stay in the directory for the next runner.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.bell.ring();
        self.sweeps.ring();
    }

    /// The thread in `slot` has ended what it had.
    pub(crate) fn end(&self, slot: usize) {
        let mut state = self.state();
        let Some(Next { lane, id, class }) = state.running.get_mut(slot).and_then(mem::take) else {
            return;
        };
        state.schedule.done(class);
        if let Some(at) = state.again.iter().position(|other| *other == id) {
            state.again.swap_remove(at);
            state.over.remove(&number(id));
            state.fresh.push_back((lane, id));
        }
    }

    fn are_hints_due(&self) -> bool {
        let every = u64::try_from(HINTS_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let now = boottime_ns();
        let last = self.hints_read_ns.load(Ordering::Relaxed);
        if now.saturating_sub(last) < every {
            return false;
        }
        self.hints_read_ns.store(now, Ordering::Relaxed);
        true
    }

    fn read_hints(&self, lane: Lane) {
        let watch = match (lane, &self.sync) {
            (Lane::Sync, Some(sync)) => sync,
            (Lane::Sync, None) => return,
            (Lane::Durable, _) => &self.durable,
        };
        let mut seen = Vec::new();
        let mut is_lossy = false;
        // Held until they are noted: nobody may take them for unknown in between.
        let mut watch = lock(watch);
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
        if seen.is_empty() && !is_lossy {
            return;
        }
        let mut state = self.state();
        for id in seen {
            state.hear(lane, id);
        }
        self.rouse(&mut state);
        if is_lossy {
            state.is_lossy = true;
            // Which of them are still the same tasks is not known any more.
            state.over.clear();
        }
        if state.is_lossy {
            self.sweeps.ring();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
