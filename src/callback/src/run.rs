//! The loop: hints, looks, errands, reports, and the end when there is nothing to do.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ploinky_contract::paths::StateDir;
use ploinky_contract::{AgentId, TaskId, chain};
use ploinky_queue::{CallbackBox, Watch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use sd_notify::NotifyState;

use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::desk::Desk;
use crate::messenger::{Messengers, Report, THREADS};
use crate::post::post;
use crate::retry::{Next, TRIES_MAX, Verdict, next};

/// Outcomes that are held in memory; the others wait in the directory.
const HELD_MAX: usize = 10_000;
/// How long hints are trusted before everything is looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// Shortest time between two such looks: an agent can make hints get lost without end.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// How long a callback may wait for a task that is not there: its acceptance takes some milliseconds.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Why nothing is posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot open {}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error("cannot start the messengers")]
    Messengers(#[source] io::Error),
    #[error("cannot wait")]
    Wait(#[source] io::Error),
}

/// What ended a wait.
struct Woken {
    /// The signal to stop has come.
    stop: bool,
    /// Agents with hints on results.
    agents: Vec<AgentId>,
}

struct Loop {
    state: StateDir,
    there: CallbackBox,
    arrivals: Watch,
    desk: Desk,
    agents: HashMap<AgentId, Agent>,
    /// Callbacks of tasks that were not there, and since when.
    unknown: HashMap<TaskId, Instant>,
    messengers: Messengers,
    away: usize,
    /// Hints were lost, and everything is to be looked at.
    is_blind: bool,
}

/// Posts what is to be posted, until there was nothing for a while or a signal comes.
pub(crate) fn run(arguments: &Arguments) -> Result<(), RunError> {
    let Arguments { state, idle } = arguments;
    let state = StateDir::new(state);
    let path = state.callbacks();
    let open = |source| RunError::Open { path: path.clone(), source };
    let there = CallbackBox::open(&path).map_err(open)?;
    let arrivals = there.watch().map_err(open)?;
    let stop = stop_signal().map_err(RunError::Signals)?;
    let post_from = state.clone();
    let messengers =
        Messengers::start(move |errand| post(&post_from, errand)).map_err(RunError::Messengers)?;
    let mut all = Loop {
        state,
        there,
        arrivals,
        desk: Desk::default(),
        agents: HashMap::new(),
        unknown: HashMap::new(),
        messengers,
        away: 0,
        is_blind: true,
    };
    // Without a service manager there is nobody to tell.
    sd_notify::notify(&[NotifyState::Ready]).ok();
    all.turn(&stop, *idle)
}

impl Loop {
    fn turn(&mut self, stop: &OwnedFd, idle: Duration) -> Result<(), RunError> {
        let mut busy = Instant::now();
        let mut swept: Option<Instant> = None;
        // Whether there may be more to send than before; to find out takes a look at everything on the desk.
        let mut is_news = true;
        let mut due = busy;
        loop {
            let now = Instant::now();
            let pause = if self.is_blind { SWEEP_PAUSE } else { SWEEP };
            if swept.is_none_or(|swept| pause <= now.saturating_duration_since(swept)) {
                self.sweep(now);
                swept = Some(now);
                is_news = true;
            }
            if is_news || due <= now {
                for errand in self.desk.take_due(now, THREADS.saturating_sub(self.away)) {
                    self.away += 1;
                    self.messengers.send(errand);
                }
                due = self.desk.next_due(now).unwrap_or(now + SWEEP).min(now + SWEEP);
            }
            if !self.desk.is_empty() || !self.unknown.is_empty() {
                busy = now;
            }
            if idle <= now.saturating_duration_since(busy) {
                tracing::info!("nothing to post");
                return Ok(());
            }
            let mut until = if self.desk.is_empty() { due.min(busy + idle) } else { due };
            if self.is_blind {
                until = until.min(now + SWEEP_PAUSE);
            }
            let Woken { stop, agents } = self.wait(stop, now, until)?;
            if stop {
                return Ok(());
            }
            let is_hint = self.take_hints(&agents);
            is_news = self.take_reports() || is_hint;
        }
    }

    /// Waits for any event until a time; hints of agents that rest are none.
    fn wait(&self, stop: &OwnedFd, now: Instant, mut until: Instant) -> Result<Woken, RunError> {
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds =
            vec![watch(stop.as_fd()), watch(self.arrivals.as_fd()), watch(self.messengers.as_fd())];
        let mut agents = Vec::new();
        for (id, agent) in &self.agents {
            match agent.hints(now) {
                Ok(hints) => {
                    fds.push(watch(hints));
                    agents.push(id);
                }
                Err(rest) => until = until.min(rest),
            }
        }
        let limit = until.saturating_duration_since(now);
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(RunError::Wait(e.into())),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let stop = ready.next().unwrap_or_default();
        let agents =
            ready.skip(2).zip(agents).filter(|(ready, _)| *ready).map(|(_, id)| id.clone());
        Ok(Woken { stop, agents: agents.collect() })
    }

    /// Reads the hints on new callbacks, and those of these agents; whether they brought something.
    fn take_hints(&mut self, agents: &[AgentId]) -> bool {
        let now = Instant::now();
        let (mut arrived, mut ended, mut lost) = (Vec::new(), Vec::new(), false);
        drain(&mut self.arrivals, &mut arrived, &mut lost);
        let desk = &self.desk;
        for id in agents {
            let Some(agent) = self.agents.get_mut(id) else { continue };
            let read = agent.read_hints(|id| desk.waits_for(id), &mut ended, now);
            lost |= !read.unwrap_or_else(|error| {
                tracing::error!(AGENT = %id, "cannot read hints: {error}");
                false
            });
        }
        self.is_blind |= lost;
        let is_news = !arrived.is_empty() || !ended.is_empty();
        for id in arrived {
            self.look(id, now);
        }
        for id in ended {
            // A hint may come for a file that is no outcome; the messenger looks itself.
            self.desk.ended(id, now);
        }
        is_news
    }

    /// Learns how tries ended; whether one did.
    fn take_reports(&mut self) -> bool {
        let mut is_news = false;
        for Report { id, tries, verdict } in self.messengers.reports() {
            is_news = true;
            self.away = self.away.saturating_sub(1);
            let mut chance = [0; 4];
            // Without chance the wait is the shortest.
            getrandom::fill(&mut chance).ok();
            let chance = f64::from(u32::from_ne_bytes(chance)) / f64::from(u32::MAX);
            match (&verdict, next(&verdict, tries, chance)) {
                (Verdict::Taken, _) => tracing::info!(TASK_ID = %id, "posted at try {tries}"),
                (Verdict::Refused(why), _) => tracing::warn!(TASK_ID = %id, "not posted: {why}"),
                (Verdict::Later { why, .. }, Next::Forget) => {
                    tracing::error!(TASK_ID = %id, "given up after {TRIES_MAX} tries: {why}");
                }
                (Verdict::Later { why, .. }, Next::Wait(wait)) => {
                    tracing::warn!(TASK_ID = %id, "try {tries} failed, next in {} s: {why}", wait.as_secs());
                    self.desk.put_off(id, Instant::now() + wait);
                    continue;
                }
            }
            self.forget(id);
        }
        is_news
    }

    /// Looks at everything: hints may get lost.
    fn sweep(&mut self, now: Instant) {
        self.is_blind = false;
        let ids = self.there.ids(HELD_MAX).unwrap_or_else(|e| {
            tracing::error!("cannot list what is to be posted: {e}");
            Vec::new()
        });
        for id in ids {
            self.look(id, now);
        }
        self.unknown.retain(|id, _| self.there.has(*id).unwrap_or(true));
        let used: std::collections::HashSet<AgentId> = self.desk.agents().cloned().collect();
        self.agents.retain(|agent, _| used.contains(agent));
    }

    /// Finds out where a task stands whose outcome is to be posted.
    fn look(&mut self, id: TaskId, now: Instant) {
        let callback = match self.there.get(id) {
            Ok(Some(callback)) => callback,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(TASK_ID = %id, "cannot read a callback: {}", chain(&error));
                if error.is_fault_of_agent() {
                    self.forget(id);
                }
                return;
            }
        };
        let Ok(agent) = AgentId::new(&callback.domain, &callback.path) else {
            return self.forget(id);
        };
        if !self.agents.contains_key(&agent) {
            let tasks = self.state.agent(&callback.domain, &callback.path).tasks();
            match Agent::open(&tasks, now) {
                Ok(opened) => drop(self.agents.insert(agent.clone(), opened)),
                Err(_) if !tasks.exists() => {
                    tracing::warn!(TASK_ID = %id, AGENT = %agent, "not posted: the agent is gone");
                    return self.forget(id);
                }
                Err(e) => return tracing::error!(AGENT = %agent, "cannot open its queue: {e}"),
            }
        }
        let Some(opened) = self.agents.get(&agent) else { return };
        match opened.producer.inspect(id) {
            Ok(Some(inspected)) => {
                self.unknown.remove(&id);
                self.desk.add(callback, agent);
                if inspected.state.is_final() {
                    self.desk.ended(id, now);
                }
            }
            // It is about to be accepted, never was, or was removed.
            Ok(None) => {
                let since = *self.unknown.entry(id).or_insert(now);
                if self.desk.knows(id) || UNKNOWN <= now.saturating_duration_since(since) {
                    tracing::warn!(TASK_ID = %id, AGENT = %agent, "not posted: the task is gone");
                    self.forget(id);
                }
            }
            Err(error) => {
                tracing::error!(TASK_ID = %id, "cannot look at a task: {}", chain(&error));
            }
        }
    }

    fn forget(&mut self, id: TaskId) {
        self.desk.forget(id);
        self.unknown.remove(&id);
        if let Err(error) = self.there.remove(id) {
            tracing::error!(TASK_ID = %id, "cannot remove a callback: {error}");
        }
    }
}

fn drain(watch: &mut Watch, ids: &mut Vec<TaskId>, lost: &mut bool) {
    loop {
        match watch.drain(&mut |id| ids.push(id)) {
            Ok(drained) => {
                *lost |= drained.overflowed;
                if !drained.more {
                    return;
                }
            }
            Err(error) => {
                tracing::error!("cannot read hints: {error}");
                *lost = true;
                return;
            }
        }
    }
}

/// Readable when SIGTERM or SIGINT has come.
fn stop_signal() -> io::Result<OwnedFd> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read.into())
}

#[cfg(test)]
mod tests;
