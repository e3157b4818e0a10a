//! A service manager in memory, for tests: units are the files of the Quadlet directory at the last reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::{BoxFuture, pending, ready};
use ploinky_contract::limits::AGENT_WATCHDOG;

use tokio::sync::Notify;

use super::{Job, Systemd, SystemdError, UnitState};

/// The manager. A clone is the same one, so that it outlives a supervisor that is killed.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    root: PathBuf,
    inner: Arc<Mutex<Inner>>,
    /// Told when a call hangs.
    pub(crate) hung: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Unit → its text at the last reload, and its `ActiveState`.
    units: BTreeMap<String, (Option<String>, String)>,
    failing: BTreeSet<String>,
    hanging: BTreeSet<String>,
    /// Call → directory that it makes.
    blocking: BTreeMap<String, PathBuf>,
    dies_after_start: bool,
    says: String,
    history: Vec<String>,
}

impl Sim {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), inner: Arc::default(), hung: Arc::default() }
    }

    /// Lets the call fail: `reload`, `start UNIT`, `stop UNIT`, `restart UNIT`, or `start image NAME`.
    pub(crate) fn fail(&self, call: &str) {
        self.lock().failing.insert(call.to_owned());
    }

    /// Lets the call never return; it has had its effect then, as if the caller died while it waited.
    pub(crate) fn hang(&self, call: &str) {
        self.lock().hanging.insert(call.to_owned());
    }

    /// Lets the call make a directory, in the way of what comes after it.
    pub(crate) fn block(&self, call: &str, directory: &Path) {
        self.lock().blocking.insert(call.to_owned(), directory.to_owned());
    }

    /// Every unit that is started is in its automatic restart when it is looked at.
    pub(crate) fn dies_after_start(&self, dies: bool) {
        self.lock().dies_after_start = dies;
    }

    /// What every unit says of itself from now on.
    pub(crate) fn say(&self, text: &str) {
        text.clone_into(&mut self.lock().says);
    }

    /// No call fails, hangs or blocks any more.
    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        inner.failing.clear();
        inner.hanging.clear();
        inner.blocking.clear();
    }

    /// All calls that changed something, in their order.
    pub(crate) fn history(&self) -> Vec<String> {
        self.lock().history.clone()
    }

    /// Forgets the calls so far.
    pub(crate) fn forget(&self) {
        self.lock().history.clear();
    }

    /// All loaded units with their state.
    pub(crate) fn units(&self) -> Vec<(String, String)> {
        self.lock().units.iter().map(|(unit, (_, state))| (unit.clone(), state.clone())).collect()
    }

    /// Starts what its file says, as at boot.
    pub(crate) fn boot(&self) {
        let mut inner = self.lock();
        inner.units.clear();
        self.read(&mut inner);
        for (text, state) in inner.units.values_mut() {
            if text.as_ref().is_some_and(|text| text.contains("[Install]")) {
                "active".clone_into(state);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn read(&self, inner: &mut Inner) {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.root).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Some(unit) = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".container").map(str::to_owned))
            else {
                continue;
            };
            found.insert(format!("{unit}.service"), std::fs::read_to_string(path).unwrap());
        }
        inner.units.retain(|unit, (text, state)| {
            *text = found.get(unit).cloned();
            text.is_some() || state != "inactive"
        });
        for (unit, text) in found {
            inner.units.entry(unit).or_insert((Some(text), "inactive".to_owned()));
        }
    }

    fn perform(
        &self,
        call: &str,
        unit: &str,
        job: Option<Job>,
    ) -> BoxFuture<'_, Result<(), SystemdError>> {
        let mut inner = self.lock();
        inner.history.push(call.to_owned());
        if let Some(directory) = inner.blocking.get(call) {
            std::fs::create_dir_all(directory).unwrap();
        }
        let done = match job {
            None => {
                if inner.failing.contains(call) {
                    Err(SystemdError::Disconnected)
                } else {
                    self.read(&mut inner);
                    Ok(())
                }
            }
            Some(job) => inner.job(job, unit, call),
        };
        if inner.hanging.contains(call) {
            self.hung.notify_one();
            return Box::pin(pending());
        }
        Box::pin(ready(done))
    }
}

impl Inner {
    fn job(&mut self, job: Job, unit: &str, call: &str) -> Result<(), SystemdError> {
        let fails = self.failing.contains(call);
        let Some((text, state)) = self.units.get_mut(unit) else {
            return Err(SystemdError::NoSuchUnit { unit: unit.to_owned() });
        };
        let broken = text.as_ref().is_none_or(|text| {
            self.failing.iter().any(|call| {
                call.strip_prefix("start image ")
                    .is_some_and(|image| text.contains(&format!("Image={image}\n")))
            })
        });
        let (after, done) = match job {
            Job::Stop if fails => ("active", false),
            Job::Stop => ("inactive", true),
            Job::Start | Job::Restart if fails || broken => ("failed", false),
            Job::Start | Job::Restart => ("active", true),
        };
        after.clone_into(state);
        let gone = text.is_none() && after == "inactive";
        if gone {
            self.units.remove(unit);
        }
        if done { Ok(()) } else { Err(SystemdError::Job { result: "failed".to_owned() }) }
    }
}

impl Systemd for Sim {
    fn reload(&self) -> BoxFuture<'_, Result<(), SystemdError>> {
        self.perform("reload", "", None)
    }

    fn run<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        self.perform(&format!("{} {unit}", job.verb()), unit, Some(job))
    }

    fn queue<'a>(&'a self, job: Job, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        drop(self.perform(&format!("{} {unit}", job.verb()), unit, Some(job)));
        Box::pin(ready(Ok(())))
    }

    fn reset_failed<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), SystemdError>> {
        let mut inner = self.lock();
        if let Some((text, state)) = inner.units.get_mut(unit)
            && state == "failed"
        {
            "inactive".clone_into(state);
            if text.is_none() {
                inner.units.remove(unit);
            }
        }
        Box::pin(ready(Ok(())))
    }

    fn state<'a>(
        &'a self,
        unit: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnitState>, SystemdError>> {
        let inner = self.lock();
        let dies = inner.dies_after_start;
        let file = self.root.join(unit.replace(".service", ".container"));
        let on_disk = std::fs::read_to_string(file).ok();
        let state = inner.units.get(unit).map(|(text, state)| UnitState {
            need_daemon_reload: *text != on_disk,
            active_state: match state.as_str() {
                "active" if dies => "activating".to_owned(),
                state => state.to_owned(),
            },
            sub_state: if state == "active" { "running" } else { "dead" }.to_owned(),
            status_text: inner.says.clone(),
            watchdog: Some(AGENT_WATCHDOG),
            result: if state == "failed" { "exit-code" } else { "success" }.to_owned(),
            exit_status: if state == "failed" { 127 } else { 0 },
            memory_bytes: Some(4096),
            ..UnitState::default()
        });
        Box::pin(ready(Ok(state)))
    }

    fn list<'a>(
        &'a self,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, SystemdError>> {
        let (start, end) = pattern.split_once('*').unwrap();
        let units = self.units();
        let matching = units.into_iter().filter(|(n, _)| n.starts_with(start) && n.ends_with(end));
        Box::pin(ready(Ok(matching.collect())))
    }
}
