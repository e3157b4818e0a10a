//! The service manager, as far as agents need it.

mod bus;
#[cfg(test)]
pub(crate) mod sim;

pub(crate) use bus::SystemdBus;

use std::time::Duration;

use futures_util::future::BoxFuture;

/// A verb of `org.freedesktop.systemd1.Manager`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Job {
    Start,
    Stop,
    Restart,
}

/// What systemd knows of a unit. `None`: not known, or not counted on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct UnitState {
    /// `ActiveState`.
    pub(crate) active_state: String,
    /// `SubState`.
    pub(crate) sub_state: String,
    /// `NeedDaemonReload`: its file is not the one that was read.
    pub(crate) need_daemon_reload: bool,
    /// `NRestarts`.
    pub(crate) restarts: u32,
    /// `ActiveEnterTimestamp`, microseconds since 1970.
    pub(crate) active_since_usec: Option<u64>,
    /// `StatusText`: what the service says of itself.
    pub(crate) status_text: String,
    /// `WatchdogUSec`; `None` if nothing watches.
    pub(crate) watchdog: Option<Duration>,
    /// `WatchdogTimestamp`: the last sign of life, microseconds since 1970.
    pub(crate) last_alive_usec: Option<u64>,
    /// Time since then.
    pub(crate) silence: Option<Duration>,
    /// `Result`.
    pub(crate) result: String,
    /// `ExecMainStatus`: exit status or signal of the last main process.
    pub(crate) exit_status: i32,
    /// `MemoryCurrent`, bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// `CPUUsageNSec`.
    pub(crate) cpu_nsec: Option<u64>,
    /// `TasksCurrent`.
    pub(crate) tasks: Option<u64>,
}

/// What systemd did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdError {
    /// The call failed.
    #[error("systemd refused `{call}`")]
    Call { call: String, source: zbus::Error },
    /// No answer in time.
    #[error("systemd did not answer `{call}` within {} s", .limit.as_secs())]
    Late { call: String, limit: Duration },
    /// There is no such unit: for an agent, Quadlet did not make one of its file.
    #[error("there is no unit {unit}; `journalctl -t quadlet-generator` may tell why")]
    NoSuchUnit { unit: String },
    /// The job ended otherwise than wanted.
    #[error("the job ended with `{result}`")]
    Job { result: String },
    /// The bus is gone.
    #[error("the connection to the bus ended")]
    Disconnected,
}

impl Job {
    /// The word for people.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// The calls. Every one has a limit of its own.
pub(crate) trait Systemd: Send + Sync {
    /// Lets systemd run its generators and read all units anew; at most once per
    /// [`RELOAD_INTERVAL`](ploinky_contract::limits::RELOAD_INTERVAL).
    fn reload(&self) -> BoxFuture<'_, Result<(), SystemdError>>;

    /// Runs a job and waits for its end.
    fn run<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>>;

    /// Queues a job and does not wait.
    fn queue<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>>;

    /// Forgets that the unit failed.
    fn reset_failed<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>>;

    /// The state of one unit; `None` if there is no such unit.
    fn state<'a>(&'a self, unit: &'a str)
    -> BoxFuture<'a, Result<Option<UnitState>, SystemdError>>;

    /// Names of the loaded units that match, and their `ActiveState`.
    fn list<'a>(
        &'a self,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, SystemdError>>;
}
