//! systemd over D-Bus.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use ploinky_contract::limits::{RELOAD_INTERVAL, START_TIMEOUT, STOP_TIMEOUT};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::{Job, Systemd, SystemdError, UnitState};

/// Time for an ordinary call; systemd answers in milliseconds unless it reloads.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Time for a reload: all generators run, and jobs of others may be before it.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);
/// Time for a job: a little more than a restart has by the unit's own settings, so that systemd's word comes
/// first.
const JOB_LIMIT: Duration =
    Duration::from_secs(START_TIMEOUT.as_secs() + STOP_TIMEOUT.as_secs() + 15);
/// systemd's mark for a number that it does not count on this host.
const UNSET: u64 = u64::MAX;

/// A unit as `ListUnitsByPatterns` tells it.
type ListedUnit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<ListedUnit>>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// The client. Clones of the connection are cheap; there is one.
#[derive(Debug)]
pub(crate) struct SystemdBus {
    connection: Connection,
    manager: ManagerProxy<'static>,
    last_reload: Mutex<Option<Instant>>,
}

impl SystemdBus {
    /// A client on `connection`, subscribed to the signals of the manager.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub(crate) async fn new(connection: &Connection) -> Result<Self, SystemdError> {
        let manager = within("connect", CALL_LIMIT, ManagerProxy::new(connection)).await?;
        match within("Subscribe", CALL_LIMIT, manager.subscribe()).await {
            Ok(()) => {}
            Err(error) if is_named(&error, "org.freedesktop.systemd1.AlreadySubscribed") => {}
            Err(error) => return Err(error),
        }
        Ok(Self { connection: connection.clone(), manager, last_reload: Mutex::new(None) })
    }

    async fn begin(&self, job: Job, unit: &str) -> Result<OwnedObjectPath, SystemdError> {
        let call = format!("{} {unit}", job.verb());
        let begun = match job {
            Job::Start => within(&call, CALL_LIMIT, self.manager.start_unit(unit, "replace")).await,
            Job::Stop => within(&call, CALL_LIMIT, self.manager.stop_unit(unit, "replace")).await,
            Job::Restart => {
                within(&call, CALL_LIMIT, self.manager.restart_unit(unit, "replace")).await
            }
        };
        begun.map_err(|error| {
            if is_named(&error, "org.freedesktop.systemd1.NoSuchUnit") {
                SystemdError::NoSuchUnit { unit: unit.to_owned() }
            } else {
                error
            }
        })
    }

    async fn run_job(&self, job: Job, unit: &str) -> Result<(), SystemdError> {
        // Before the call: the signal may come before its reply.
        let mut removed =
            within("JobRemoved", CALL_LIMIT, self.manager.receive_job_removed()).await?;
        let path = self.begin(job, unit).await?;
        let ended = async {
            while let Some(signal) = removed.next().await {
                match signal.args() {
                    Ok(args) if args.job == path => return Ok(args.result),
                    Ok(_) | Err(_) => {}
                }
            }
            Err(SystemdError::Disconnected)
        };
        let late =
            || SystemdError::Late { call: format!("{} {unit}", job.verb()), limit: JOB_LIMIT };
        match timeout(JOB_LIMIT, ended).await.map_err(|_elapsed| late())?? {
            result if result == "done" => Ok(()),
            result => Err(SystemdError::Job { result }),
        }
    }

    async fn read_state(&self, unit: &str) -> Result<Option<UnitState>, SystemdError> {
        let path = within(unit, CALL_LIMIT, self.manager.load_unit(unit)).await?;
        let properties = async {
            zbus::fdo::PropertiesProxy::builder(&self.connection)
                .destination("org.freedesktop.systemd1")
                .path(path)
                .build()
                .await
        };
        let properties = within(unit, CALL_LIMIT, properties).await?;
        let all = async |interface: &'static str| {
            let interface = InterfaceName::from_static_str_unchecked(interface);
            within(unit, CALL_LIMIT, async { Ok(properties.get_all(interface).await?) }).await
        };
        let generic = all("org.freedesktop.systemd1.Unit").await?;
        if text(&generic, "LoadState") != "loaded" {
            return Ok(None);
        }
        let service = all("org.freedesktop.systemd1.Service").await?;
        Ok(Some(UnitState {
            active_state: text(&generic, "ActiveState"),
            sub_state: text(&generic, "SubState"),
            need_daemon_reload: value(&generic, "NeedDaemonReload").unwrap_or_default(),
            restarts: value(&service, "NRestarts").unwrap_or_default(),
            active_since_usec: value(&generic, "ActiveEnterTimestamp").filter(|usec| *usec != 0),
            status_text: text(&service, "StatusText"),
            watchdog: value(&service, "WatchdogUSec")
                .filter(|usec| *usec != 0 && *usec != UNSET)
                .map(Duration::from_micros),
            last_alive_usec: value(&service, "WatchdogTimestamp").filter(|usec| *usec != 0),
            silence: value(&service, "WatchdogTimestampMonotonic")
                .filter(|usec| *usec != 0)
                .and_then(|usec| monotonic()?.checked_sub(Duration::from_micros(usec))),
            result: text(&service, "Result"),
            exit_status: value(&service, "ExecMainStatus").unwrap_or_default(),
            memory_bytes: value(&service, "MemoryCurrent").filter(|bytes| *bytes != UNSET),
            cpu_nsec: value(&service, "CPUUsageNSec").filter(|nsec| *nsec != UNSET),
            tasks: value(&service, "TasksCurrent").filter(|tasks| *tasks != UNSET),
        }))
    }
}

impl Systemd for SystemdBus {
    fn reload(&self) -> BoxFuture<'_, Result<(), SystemdError>> {
        Box::pin(async {
            let mut last = self.last_reload.lock().await;
            if let Some(last) = *last {
                tokio::time::sleep_until(last + RELOAD_INTERVAL).await;
            }
            let reloaded = within("Reload", RELOAD_LIMIT, self.manager.reload()).await;
            *last = Some(Instant::now());
            reloaded
        })
    }

    fn run<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        Box::pin(self.run_job(job, unit))
    }

    fn queue<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        Box::pin(async move { self.begin(job, unit).await.map(drop) })
    }

    fn reset_failed<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        Box::pin(async move {
            within("ResetFailedUnit", CALL_LIMIT, self.manager.reset_failed_unit(unit)).await
        })
    }

    fn state<'a>(
        &'a self,
        unit: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnitState>, SystemdError>> {
        Box::pin(self.read_state(unit))
    }

    fn list<'a>(
        &'a self,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, SystemdError>> {
        Box::pin(async move {
            let patterns = [pattern];
            let listed = self.manager.list_units_by_patterns(&[], &patterns);
            let units = within("ListUnitsByPatterns", CALL_LIMIT, listed).await?;
            Ok(units.into_iter().map(|(name, _, _, active, ..)| (name, active)).collect())
        })
    }
}

async fn within<T>(
    call: &str,
    limit: Duration,
    future: impl Future<Output = zbus::Result<T>>,
) -> Result<T, SystemdError> {
    match timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(SystemdError::Call { call: call.to_owned(), source }),
        Err(_elapsed) => Err(SystemdError::Late { call: call.to_owned(), limit }),
    }
}

/// The clock of systemd's timestamps that no one sets.
fn monotonic() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).ok()
}

fn is_named(error: &SystemdError, name: &str) -> bool {
    matches!(error, SystemdError::Call { source: zbus::Error::MethodError(found, ..), .. } if *found == name)
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    let found = properties.get(name).and_then(|value| <&str>::try_from(value).ok());
    found.unwrap_or_default().to_owned()
}

fn value<'p, T: TryFrom<&'p OwnedVariant>>(
    properties: &'p HashMap<String, OwnedVariant>,
    name: &str,
) -> Option<T> {
    properties.get(name).and_then(|value| T::try_from(value).ok())
}
