//! From the start to the end: lock, recover, get ready, serve, drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use ploinky_contract::{Condition, Container, chain, exit};
use ploinky_queue::{OpenError, Recovered, RunnerLock, boot_id};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use sd_notify::NotifyState;

use crate::arguments::Arguments;
use crate::boot_time::{BootTime, wait};
use crate::health::{HealthError, wait_until_ready};
use crate::heartbeat::{Heartbeat, Unwell, attest_locks};
use crate::inbox::Inbox;
use crate::interrupt::{Bell, Interrupts, Why};
use crate::lanes::Lanes;
use crate::log;
use crate::manifest_file::{self, ManifestFileError};
use crate::program::StartError;
use crate::runner::Runner;
use crate::stage::Seen;
use crate::stop::Stop;
use crate::sweeper;
use crate::wishes::Wishes;
use crate::worker::Pool;

/// How long running tasks may go on after SIGTERM.
pub(crate) const DRAIN: Duration = Duration::from_secs(6);
/// How long what was told to end then may take; more than its grace.
const DRAIN_ENDED: Duration = Duration::from_millis(1500);
/// From SIGTERM to SIGKILL, `StopTimeout=` of the unit. Tasks and then workers are waited for in it.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const _: () = assert!(DRAIN.as_millis() + 2 * DRAIN_ENDED.as_millis() < STOP_TIMEOUT.as_millis());
/// How long recovery is tried again; then the service manager starts all anew.
pub(crate) const RECOVER: Duration = Duration::from_secs(60);
/// The same for calls: their memory is shared by all agents, and without it they come through the disk.
const RECOVER_CALLS: Duration = Duration::from_secs(2);
const RECOVER_RETRY: Duration = Duration::from_millis(500);

/// Why the queue is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot tell what to serve")]
    Manifest(#[source] ManifestFileError),
    #[error("cannot enter the code directory {}", .path.display())]
    Code { path: PathBuf, source: io::Error },
    #[error("cannot tell the boot")]
    BootId(#[source] io::Error),
    #[error("cannot open the queue")]
    Open(#[source] OpenError),
    #[error("cannot take the lock of the queue")]
    Lock(#[source] io::Error),
    #[error("another agent-core serves this queue")]
    Taken,
    #[error("cannot list what the last runner left")]
    Recover(#[source] io::Error),
    #[error("cannot record the end of {left} tasks that the last runner left")]
    Left { left: usize },
    #[error("cannot set up {what}")]
    SetUp { what: &'static str, source: io::Error },
    #[error("the program of the image does not run")]
    Start(#[source] StartError),
    #[error("the agent did not become ready")]
    NotReady(#[source] HealthError),
    #[error(transparent)]
    Unwell(Unwell),
    #[error("cannot {what}")]
    GoOn { what: &'static str, source: io::Error },
}

impl ServeError {
    pub(crate) fn exit_code(&self) -> u8 {
        if let Self::Manifest(
            ManifestFileError::Refused { .. } | ManifestFileError::Static { .. },
        ) = self
        {
            exit::CONFIG
        } else {
            exit::REFUSED
        }
    }
}

/// Serves the queue until SIGTERM or SIGINT, or until a thread cannot go on.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), ServeError> {
    let Arguments { tasks, sync, manifest, code, .. } = arguments;
    let set_up = |what| move |source| ServeError::SetUp { what, source };
    let stop = Arc::new(Stop::listen().map_err(set_up("signals"))?);
    let container = manifest_file::read(manifest).map_err(ServeError::Manifest)?;
    // The server reads results as a stranger; the umask of an image must not hide them.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let boot_id = boot_id().map_err(ServeError::BootId)?;
    let mut lanes = Lanes::open(tasks, sync, &container, boot_id).map_err(ServeError::Open)?;
    // Looked at later, from elsewhere.
    let places = [std::path::absolute(tasks), std::path::absolute(sync)];
    std::env::set_current_dir(code)
        .map_err(|source| ServeError::Code { path: code.clone(), source })?;
    let mut locks: Vec<RunnerLock> =
        lanes.become_runner().map_err(ServeError::Lock)?.ok_or(ServeError::Taken)?;
    if !recover(&|| lanes.recover(), RECOVER, &stop)? {
        return Ok(());
    }
    match recover(&|| lanes.recover_calls(), RECOVER_CALLS, &stop) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(e) => {
            lanes.leave_memory(&e);
            locks.truncate(1);
        }
    }
    let lanes = Arc::new(lanes);
    if let Some(words) = &container.health.readiness
        && !wait_until_ready(words, &stop).map_err(ServeError::NotReady)?
    {
        return Ok(());
    }
    let threads = Threads::start(&lanes, &container, code.display().to_string(), &stop)
        .map_err(set_up("the threads"))?;
    log::event(&format!("serving {} with {} at once", tasks.display(), container.concurrency));
    let doing = match container.commands.len() {
        1 => "serving 1 command".to_owned(),
        commands => format!("serving {commands} commands"),
    };
    let last_words = locks.first().and_then(RunnerLock::take_left);
    let heartbeat = Heartbeat::begin(&doing, last_words, container.health.liveness.as_deref());
    let places = places.into_iter().collect::<io::Result<Vec<PathBuf>>>();
    let places = places.map_err(set_up("the places of the queues"))?;
    let held: Vec<_> = locks.iter().zip(places.iter().map(PathBuf::as_path)).collect();
    let waited = threads.watch(heartbeat, &held, &stop);
    sd_notify::notify(&[NotifyState::Stopping]).ok();
    // What looks alive and does not serve would never be started anew.
    let broken = threads.broken.try_recv().map_or(waited, Err);
    threads.drain();
    if let (Err(error), Some(lock)) = (&broken, locks.first()) {
        leave_last_words(lock, error);
    }
    broken?;
    log::event("stopped");
    Ok(())
}

/// Tells the next start why this life ends.
pub(crate) fn leave_last_words(lock: &RunnerLock, why: &ServeError) {
    // As the status tells it: in one line that is not too long.
    if let Err(e) = lock.leave(&Condition::Healthy(chain(why)).to_string()) {
        log::event(&format!("cannot leave a note on the end: {e}"));
    }
}

/// Everything that works while the main thread waits for a signal.
struct Threads {
    inbox: Arc<Inbox>,
    interrupts: Arc<Interrupts>,
    ending: Arc<Bell>,
    /// Closed when the runners have ended, and when the keeper has.
    runners: Receiver<()>,
    keeper: Receiver<()>,
    /// Why threads ended that should not have.
    broken: Receiver<ServeError>,
}

/// How a thread that cannot go on ends the process.
#[derive(Clone)]
struct Alarm {
    broken: Sender<ServeError>,
    stop: Arc<Stop>,
}

impl Alarm {
    fn check(&self, what: &'static str, done: io::Result<()>) {
        if let Err(source) = done {
            // Nobody listens any more when the process ends already.
            self.broken.send(ServeError::GoOn { what, source }).ok();
            self.stop.ask();
        }
    }
}

impl Threads {
    fn start(
        lanes: &Arc<Lanes>,
        container: &Container,
        code_path: String,
        stop: &Arc<Stop>,
    ) -> io::Result<Self> {
        let (breaks, broken) = channel();
        let alarm = Alarm { broken: breaks, stop: Arc::clone(stop) };
        let interrupts = Arc::new(Interrupts::new(container.concurrency.into())?);
        let inbox = Arc::new(Inbox::open(lanes, container.concurrency.into())?);
        let ending = Arc::new(Bell::new()?);
        let mut wishes = Wishes::open(lanes)?;
        let (keeper_ends, keeper) = channel();
        let pool = container.worker.clone().map(|worker| {
            let pool = Pool::new(interrupts.waiting());
            let (keeps, ending) = (Arc::clone(&pool), Arc::clone(&ending));
            let alarm = alarm.clone();
            let work = move || alarm.check("watch the workers", keeps.keep(&worker, &ending));
            spawn("keeper", keeper_ends, work).map(|()| pool)
        });
        let pool = pool.transpose()?;
        {
            let (lanes, inbox) = (Arc::clone(lanes), Arc::clone(&inbox));
            let (interrupts, ending) = (Arc::clone(&interrupts), Arc::clone(&ending));
            let (nobody, alarm) = (channel().0, alarm.clone());
            spawn("wishes", nobody, move || {
                let done = wishes.bring(&lanes, &inbox, &interrupts, &ending);
                alarm.check("wait for wishes to end tasks", done);
            })?;
        }
        // Before any thread takes one: the order among those that wait already.
        sweeper::sweep(&inbox, lanes);
        {
            let (lanes, inbox) = (Arc::clone(lanes), Arc::clone(&inbox));
            let (ending, nobody, alarm) = (Arc::clone(&ending), channel().0, alarm.clone());
            spawn("sweeper", nobody, move || {
                alarm.check("wait for the next sweep", sweeper::run(&inbox, &lanes, &ending));
            })?;
        }
        let runner = Arc::new(Runner::new(
            Arc::clone(lanes),
            Arc::clone(&inbox),
            container,
            pool,
            code_path,
        ));
        let (runner_ends, runners) = channel();
        for (slot, interrupt) in interrupts.all().iter().enumerate() {
            let (runner, interrupt) = (Arc::clone(&runner), Arc::clone(interrupt));
            let alarm = alarm.clone();
            let work = move || alarm.check("wait for tasks", runner.run(slot, &interrupt));
            spawn(&format!("runner-{slot}"), runner_ends.clone(), work)?;
        }
        Ok(Self { inbox, interrupts, ending, runners, keeper, broken })
    }

    /// Gives signs of life until a signal comes, or the agent is not well for good.
    fn watch(
        &self,
        mut heartbeat: Heartbeat<'_>,
        locks: &[(&RunnerLock, &Path)],
        stop: &Stop,
    ) -> Result<(), ServeError> {
        let mut seen = vec![Seen::default(); self.interrupts.all().len()];
        let mut attest = || {
            attest_locks(locks)?;
            self.attest_runners(&mut seen)
        };
        loop {
            let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
            fds.extend(heartbeat.probe().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            wait(&mut fds, Some(heartbeat.due())).map_err(|e| ServeError::SetUp {
                what: "the wait for a signal",
                source: e.into(),
            })?;
            if fds.first().is_some_and(|stop| !stop.revents().is_empty()) {
                return Ok(());
            }
            drop(fds);
            heartbeat.go_on(&mut attest).map_err(ServeError::Unwell)?;
        }
    }

    /// Whether all threads that serve have come on, or wait for what may last.
    fn attest_runners(&self, seen: &mut [Seen]) -> Result<(), Unwell> {
        let now = BootTime::now();
        let mut hanging = 0;
        for (interrupt, seen) in self.interrupts.all().iter().zip(seen.iter_mut()) {
            match interrupt.stage.look(*seen, now) {
                Some(new) => *seen = new,
                None => hanging += 1,
            }
        }
        if hanging == 0 { Ok(()) } else { Err(Unwell::Hangs { threads: hanging, of: seen.len() }) }
    }

    /// Lets running tasks end, ends those that do not, and then the workers. What even so does not end is
    /// left to the end of the process, and to recovery.
    fn drain(self) {
        let Self { inbox, interrupts, ending, runners, keeper, broken: _ } = self;
        inbox.close();
        if !has_closed(&runners, DRAIN) {
            log::event("ending the tasks that still run");
            interrupts.ask_all(Why::Stopping);
            if !has_closed(&runners, DRAIN_ENDED) {
                log::event("some tasks did not end");
            }
        }
        ending.ring();
        has_closed(&keeper, DRAIN_ENDED);
    }
}

/// Ends what the last runner left; `false` if a signal came first.
pub(crate) fn recover(
    recover: &dyn Fn() -> io::Result<Recovered>,
    limit: Duration,
    stop: &Stop,
) -> Result<bool, ServeError> {
    let end = BootTime::after(limit);
    loop {
        let Recovered { crashed, released: _, left } = recover().map_err(ServeError::Recover)?;
        if 0 < crashed {
            log::event(&format!("{crashed} tasks of the last runner are recorded as crashed"));
        }
        if left == 0 {
            return Ok(true);
        }
        if end.is_past() {
            return Err(ServeError::Left { left });
        }
        if stop.wait(Some(BootTime::after(RECOVER_RETRY))).unwrap_or(true) {
            return Ok(false);
        }
    }
}

/// Whether all senders were dropped in time.
fn has_closed(ends: &Receiver<()>, limit: Duration) -> bool {
    matches!(ends.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
}

/// Starts a thread that holds `ends` as long as it works.
fn spawn(name: &str, ends: Sender<()>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        work();
        drop(ends);
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
