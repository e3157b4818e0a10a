//! The wish that a task shall end early, brought to the thread that has it; and what that thread does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::HANDLER_GRACE;
use ploinky_queue::{TaskError, code};
use rustix::event::{EventfdFlags, eventfd};

use crate::stage::Stage;

/// Time between SIGTERM and SIGKILL when the container ends: shorter, because the container has 10 s in all.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why a task shall end early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The server asks.
    Cancelled,
    /// Nobody reads the stream any more.
    ReaderGone,
    /// The container ends.
    Stopping,
}

impl Why {
    pub(crate) fn grace(self) -> Duration {
        match self {
            Self::Cancelled | Self::ReaderGone => HANDLER_GRACE,
            Self::Stopping => STOP_GRACE,
        }
    }

    pub(crate) fn error(self) -> TaskError {
        match self {
            Self::Cancelled => TaskError::new(code::CANCELLED, "the task was cancelled"),
            Self::ReaderGone => TaskError::new(code::CANCELLED, "nobody reads the stream any more"),
            // Nobody wished for the end of this task: as when the next start finds that it was cut off.
            Self::Stopping => TaskError::new(
                code::AGENT_CRASHED,
                "the agent was stopped while the task ran; whether it had effects is unknown",
            ),
        }
    }
}

/// One thread's ear.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// What the thread does.
    pub(crate) stage: Stage,
    bell: Bell,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    task: Option<TaskId>,
    asked: Option<Why>,
}

impl Interrupt {
    fn new() -> io::Result<Self> {
        Ok(Self { stage: Stage::default(), bell: Bell::new()?, state: Mutex::default() })
    }

    /// From now on wishes for this task are heard; before its claim, so that none is missed.
    pub(crate) fn begin(&self, id: TaskId) {
        *self.state() = State { task: Some(id), asked: None };
    }

    /// The task is over.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        if state.asked.is_some() {
            self.bell.silence();
        }
        *state = State::default();
    }

    /// Whether the task shall end early. The bell rings until the task is over.
    pub(crate) fn asked(&self) -> Option<Why> {
        self.state().asked
    }

    fn ask(&self, task: Option<TaskId>, why: Why) -> bool {
        let mut state = self.state();
        let is_meant = state.task.is_some() && (task.is_none() || task == state.task);
        if is_meant && state.asked.is_none() {
            state.asked = Some(why);
            self.bell.ring();
        }
        is_meant
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The ears of all threads.
#[derive(Debug)]
pub(crate) struct Interrupts {
    all: Vec<Arc<Interrupt>>,
    /// Threads that wait for something else than a descriptor listen here.
    waiting: Arc<Waiting>,
}

/// Where threads wait that do not wait for a descriptor.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// How many wait: waking nobody would still be a system call.
    pub(crate) threads: Mutex<usize>,
    pub(crate) changed: Condvar,
}

impl Waiting {
    pub(crate) fn threads(&self) -> MutexGuard<'_, usize> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake_one(&self) {
        if *self.threads() != 0 {
            self.changed.notify_one();
        }
    }

    pub(crate) fn wake_all(&self) {
        if *self.threads() != 0 {
            self.changed.notify_all();
        }
    }
}

impl Interrupts {
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let all =
            (0..threads).map(|_| Interrupt::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Self { all, waiting: Arc::default() })
    }

    pub(crate) fn all(&self) -> &[Arc<Interrupt>] {
        &self.all
    }

    pub(crate) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    pub(crate) fn ask(&self, task: TaskId) {
        if self.all.iter().any(|interrupt| interrupt.ask(Some(task), Why::Cancelled)) {
            self.waiting.wake_all();
        }
    }

    pub(crate) fn ask_all(&self, why: Why) {
        for interrupt in &self.all {
            interrupt.ask(None, why);
        }
        self.waiting.wake_all();
    }
}

/// A descriptor that is readable once it was rung.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn ring(&self) {
        // It fails only when it rang 2^64 times unheard.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).ok();
    }

    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        rustix::io::read(&self.0, &mut count).ok();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
