//! Signs of life for systemd's watchdog, given only as long as the agent is well.
//!
//! Nothing here waits: the main thread, which waits for signals anyway, is told when to come back.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use ploinky_contract::limits::{AGENT_HEARTBEAT, AGENT_HEARTBEATS, LIVENESS_FAILURES};
use ploinky_contract::{Condition, chain};
use ploinky_queue::RunnerLock;
use rustix::process::Signal;
use sd_notify::NotifyState;

use crate::boot_time::BootTime;
use crate::health::{HealthError, PROBE_TIMEOUT, ended, late};
use crate::log;
use crate::program::{Program, start_probe};

/// Shortest time between two signs, whatever `WATCHDOG_USEC` says.
const SHORTEST: Duration = Duration::from_millis(50);

/// Why the agent gives no sign of life, or ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwell {
    #[error("the queue in {0} was removed or replaced while it was served")]
    Lost(String),
    #[error("cannot look at the lock of the queue in {queue}")]
    Lock { queue: String, source: std::io::Error },
    #[error("{threads} of {of} threads that serve tasks hang")]
    Hangs { threads: usize, of: usize },
    #[error("the liveness command failed {LIVENESS_FAILURES} times in a row")]
    Liveness(#[source] HealthError),
}

impl Unwell {
    /// Whether a new start is the remedy and this process still able to end in order. Otherwise it may pass,
    /// or the process is not: systemd decides, when no sign has come for long enough.
    fn is_final(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Liveness(_) => true,
            Self::Lock { .. } | Self::Hangs { .. } => false,
        }
    }
}

/// The signs, and the liveness command that is run beside them.
#[derive(Debug)]
pub(crate) struct Heartbeat<'a> {
    every: Duration,
    next: BootTime,
    liveness: Option<&'a [String]>,
    probe: Option<(Program, BootTime)>,
    failures: u32,
    /// What is said when all is well.
    well: Condition,
    /// What was said last.
    said: Condition,
}

impl<'a> Heartbeat<'a> {
    /// Tells the service manager that the agent serves, and what became of the life before, if it left
    /// `last_words`. The first sign comes after a time, as readiness is one.
    pub(crate) fn begin(
        doing: &str,
        last_words: Option<String>,
        liveness: Option<&'a [String]>,
    ) -> Self {
        let well = Condition::Healthy(match last_words {
            Some(words) => format!("{doing}; started anew because {words}"),
            None => doing.to_owned(),
        });
        tell(&[NotifyState::Ready, NotifyState::Status(&well.to_string())]);
        let every = every(sd_notify::watchdog_enabled());
        let (next, said) = (BootTime::after(every), well.clone());
        Self { every, next, liveness, probe: None, failures: 0, well, said }
    }

    /// When [`Self::go_on`] has something to do, unless [`Self::probe`] is readable before.
    pub(crate) fn due(&self) -> BootTime {
        self.probe.as_ref().map_or(self.next, |(_, end)| self.next.min(*end))
    }

    /// Readable when the liveness command that runs has ended.
    pub(crate) fn probe(&self) -> Option<BorrowedFd<'_>> {
        self.probe.as_ref().map(|(program, _)| program.as_fd())
    }

    /// Does what is due. `attest` says whether what systemd shall believe is true.
    ///
    /// # Errors
    /// The agent has to end: a new start is the remedy. systemd was told why.
    pub(crate) fn go_on(
        &mut self,
        attest: &mut dyn FnMut() -> Result<(), Unwell>,
    ) -> Result<(), Unwell> {
        self.hear_probe().inspect_err(|unwell| self.complain(unwell))?;
        if !self.next.is_past() {
            return Ok(());
        }
        self.next = BootTime::after(self.every);
        match attest() {
            Ok(()) if self.failures == 0 => {
                let well = self.well.clone();
                self.say(well, &[NotifyState::Watchdog]);
            }
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(unwell) => {
                self.complain(&unwell);
                if unwell.is_final() {
                    return Err(unwell);
                }
            }
        }
        if let (Some(words), None) = (self.liveness, &self.probe) {
            match start_probe(words) {
                Ok(program) => {
                    let end = BootTime::after(PROBE_TIMEOUT.min(self.every));
                    self.probe = Some((program, end));
                }
                Err(e) => self
                    .count(Err(HealthError::Start(e)))
                    .inspect_err(|unwell| self.complain(unwell))?,
            }
        }
        Ok(())
    }

    /// Whether the liveness command has ended, or has had its time.
    fn hear_probe(&mut self) -> Result<(), Unwell> {
        let (Some(words), Some((program, end))) = (self.liveness, &mut self.probe) else {
            return Ok(());
        };
        let outcome = match program.reap() {
            Some(status) => ended(words, status),
            None if end.is_past() => {
                program.signal(Signal::KILL);
                Err(late(words, PROBE_TIMEOUT.min(self.every)))
            }
            None => return Ok(()),
        };
        self.probe = None;
        self.count(outcome)
    }

    fn count(&mut self, outcome: Result<(), HealthError>) -> Result<(), Unwell> {
        let Err(error) = outcome else {
            if self.failures != 0 {
                log::event("the liveness command succeeds again");
                self.failures = 0;
                let well = self.well.clone();
                self.say(well, &[]);
            }
            return Ok(());
        };
        self.failures += 1;
        if self.failures == LIVENESS_FAILURES {
            return Err(Unwell::Liveness(error));
        }
        let reason = format!("{} ({} of {LIVENESS_FAILURES})", chain(&error), self.failures);
        self.say(Condition::Unhealthy(reason.clone()), &[]);
        log::event(&reason);
        Ok(())
    }

    /// Tells why the agent is not well; whoever hears it first is systemd, as writing to the journal may hang.
    fn complain(&mut self, unwell: &Unwell) {
        let condition = Condition::Unhealthy(chain(unwell));
        let is_new = condition != self.said;
        self.say(condition, &[]);
        // What ends the agent is told by whoever ends it.
        if is_new && !unwell.is_final() {
            log::event(&format!("{}; no sign of life goes to systemd", chain(unwell)));
        }
    }

    /// Sends `states`, and the condition unless it was sent before.
    fn say(&mut self, condition: Condition, states: &[NotifyState<'_>]) {
        if condition == self.said {
            tell(states);
            return;
        }
        let text = condition.to_string();
        tell(&[states, &[NotifyState::Status(&text)]].concat());
        self.said = condition;
    }
}

/// Whether the queues at these places are still those whose runner this is.
pub(crate) fn attest_locks(locks: &[(&RunnerLock, &Path)]) -> Result<(), Unwell> {
    for (lock, queue) in locks {
        let name = || queue.display().to_string();
        match lock.is_in_place(queue) {
            Ok(true) => {}
            Ok(false) => return Err(Unwell::Lost(name())),
            Err(source) => return Err(Unwell::Lock { queue: name(), source }),
        }
    }
    Ok(())
}

/// Time between two signs: three in the time after which systemd ends the agent, which is that of the unit unless
/// the environment says otherwise.
fn every(watchdog: Option<Duration>) -> Duration {
    match watchdog {
        Some(limit) => (limit / AGENT_HEARTBEATS).max(SHORTEST),
        None => AGENT_HEARTBEAT,
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if states.is_empty() {
        return;
    }
    if let Err(e) = sd_notify::notify(states) {
        log::event(&format!("cannot tell the service manager: {e}"));
    }
}
