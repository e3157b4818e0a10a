//! Persistent workers: processes that take tasks as lines. The thread that has the task talks to the worker
//! itself; the keeper only looks after the processes.

mod connection;
mod keeper;
mod line;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::Worker;
use ploinky_queue::code;
use rustix::process::Signal;

use crate::boot_time::BootTime;
use crate::interrupt::{Bell, Interrupt, Waiting, Why};
use crate::program::Program;
use crate::run::Ending;
pub(crate) use crate::worker::connection::{Answer, Connection};
use crate::worker::keeper::Keeper;

/// Longest wait for a free worker without a look at the clock of deadlines, which runs on in suspend.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Workers of one agent.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Where threads wait for a free worker, or for a wish to end their task.
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct State {
    /// Free ones; the last one used is taken first, its memory is warm.
    free: Vec<Connection>,
    /// Processes that run.
    live: usize,
    /// Why none runs, if they cannot.
    trouble: Option<String>,
}

/// One worker process, shared by the thread that talks to it and the keeper that reaps it.
#[derive(Debug)]
pub(crate) struct Process {
    program: Mutex<Option<Program>>,
    /// It was ended on purpose; its successor need not wait.
    is_ours: AtomicBool,
}

impl Process {
    fn new(program: Program) -> Self {
        Self { program: Mutex::new(Some(program)), is_ours: AtomicBool::new(false) }
    }

    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.program().is_none()
    }

    /// Ends the process on purpose, unless it is reaped already.
    fn end(&self, signal: Signal) {
        self.is_ours.store(true, Ordering::Release);
        self.signal(signal);
    }

    fn signal(&self, signal: Signal) {
        if let Some(program) = &*self.program() {
            program.signal(signal);
        }
    }
}

impl Pool {
    pub(crate) fn new(waiting: Arc<Waiting>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), waiting })
    }

    /// Runs the processes until `stop` rings, on the calling thread.
    ///
    /// # Errors
    /// The kernel does not let us wait; the processes are ended.
    pub(crate) fn keep(&self, worker: &Worker, stop: &Bell) -> io::Result<()> {
        Keeper::new(self, worker).run(stop)
    }

    /// A free worker, as soon as there is one.
    ///
    /// # Errors
    /// The task is to fail so: it was cancelled, its time is over, or no worker can run.
    pub(crate) fn take(
        &self,
        deadline: BootTime,
        interrupt: &Interrupt,
    ) -> Result<Connection, Ending> {
        if let Some(connection) = self.state().free.pop() {
            return Ok(connection);
        }
        let mut threads = self.waiting.threads();
        *threads += 1;
        loop {
            if let Some(taken) = self.try_take(deadline, interrupt) {
                *threads -= 1;
                return taken;
            }
            let limit = deadline.left().min(WAIT_MAX);
            let waited = self.waiting.changed.wait_timeout(threads, limit);
            threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// `None`: wait on.
    fn try_take(
        &self,
        deadline: BootTime,
        interrupt: &Interrupt,
    ) -> Option<Result<Connection, Ending>> {
        if let Some(why) = interrupt.asked() {
            return Some(Err(Ending::Asked(why)));
        }
        let mut state = self.state();
        if let Some(connection) = state.free.pop() {
            return Some(Ok(connection));
        }
        if let (0, Some(trouble)) = (state.live, &state.trouble) {
            let message = format!("no worker process runs: {trouble}");
            return Some(Err(Ending::failed(code::AGENT_CRASHED, message)));
        }
        let message = "no worker process was free in time";
        deadline.is_past().then(|| Err(Ending::failed(code::DEADLINE, message)))
    }

    /// Gives a worker back that may take another task.
    pub(crate) fn give_back(&self, connection: Connection) {
        self.add(connection, 0);
    }

    fn add(&self, connection: Connection, started: usize) {
        {
            let mut state = self.state();
            state.live += started;
            if started != 0 {
                state.trouble = None;
            }
            if !connection.process.is_over() {
                state.free.push(connection);
            }
        }
        self.waiting.wake_one();
    }

    /// The process is reaped.
    fn forget(&self, process: &Arc<Process>, trouble: Option<String>) {
        let mut state = self.state();
        state.live = state.live.saturating_sub(1);
        state.free.retain(|connection| !Arc::ptr_eq(&connection.process, process));
        state.trouble = trouble;
        drop(state);
        self.waiting.wake_all();
    }

    /// No process could be started.
    fn report(&self, trouble: String) {
        self.state().trouble = Some(trouble);
        self.waiting.wake_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Ends a worker for a task that is over, with as much patience as the reason leaves; the keeper starts
    /// another one.
    pub(crate) fn retire(self, patience: Option<Why>) {
        if let Some(why) = patience {
            self.process.end(Signal::TERM);
            if self.wait_for_end(BootTime::after(why.grace())) {
                return;
            }
        }
        self.process.end(Signal::KILL);
    }

    /// Gives up a worker that ended, or closed its pipes, by itself: if that was soon after its start, the
    /// next one has to wait.
    pub(crate) fn bury(self) {
        self.process.signal(Signal::KILL);
    }
}
