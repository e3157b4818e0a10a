//! The one task that owns the desired state: changes come in one at a time, through a bounded channel.
//!
//! `config.json` decides: a deployment exists from the moment it is listed there, and no longer than that. What
//! a crash leaves on either side of that moment is finished or undone by [`Lifecycle::reconcile`], which runs
//! when the process begins, when somebody edited the file, and every minute while something is wrong.

mod change;
mod deploy;
mod error;
mod handle;
mod health;
mod reconcile;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use error::LifecycleError;
pub(crate) use handle::{Asked, Change, Handle, Order, Place};
pub(crate) use report::Reporter;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::paths::StateDir;
use ploinky_contract::{AgentId, Config, Deployment, Manifest, Service, Settings};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::accounts::Accounts;
use crate::agent_tree::{self, AgentTree};
use crate::apply::{ApplyError, Starts, apply};
use crate::config_store::ConfigStore;
use crate::lane::Lanes;
use crate::plan::{Activity, Installed, Step, Wanted, plan};
use crate::podman::Podman;
use crate::quadlet::AgentUnit;
use crate::systemd::{Job, Systemd};
use crate::uid_map::UidMap;
use crate::unit_store::UnitStore;

/// How long a problem is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How long a program of an image has to stay up before it counts as started: nobody tells when it is ready.
const TRIAL: Duration = Duration::from_secs(2);
/// How often it is looked at in that time.
const TRIAL_STEP: Duration = Duration::from_millis(100);

/// What others may know of the desired state, at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The configuration in force; `None` if there never was a valid one.
    pub(crate) config: Option<Config>,
    /// Why the file is not in force.
    pub(crate) config_error: Option<String>,
    /// Why desired and real differ.
    pub(crate) problems: BTreeMap<AgentId, String>,
}

/// Where everything is.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) state: StateDir,
    pub(crate) lanes: Lanes,
    pub(crate) installed_agents: PathBuf,
    pub(crate) accounts: Accounts,
    pub(crate) units: UnitStore,
    pub(crate) systemd: Arc<dyn Systemd>,
    pub(crate) podman: Arc<dyn Podman>,
}

/// The owner of the desired state.
pub(crate) struct Lifecycle {
    host: Host,
    store: ConfigStore,
    problems: BTreeMap<AgentId, String>,
    /// The settings of the instances that systemd knows.
    settings: Option<Settings>,
    /// Agents that may run with a code, manifest or unit that is replaced, until a restart of theirs was asked.
    stale: BTreeSet<AgentId>,
    /// What others put among the agents, and the journal was told of.
    strangers: BTreeSet<PathBuf>,
    /// Files of units may differ from what systemd read.
    reload_due: bool,
    /// Something failed that belongs to no agent alone.
    unfinished: bool,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Where a test lets this process die, and whom it tells.
    #[cfg(test)]
    dies_at: Option<(Point, Arc<Notify>)>,
}

/// The moments between two lasting effects, at which a crash is interesting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Point {
    /// The code lies beside the one in force.
    Staged,
    /// The code is in place; the unit is not.
    Placed,
    /// The unit is up; the configuration does not know yet.
    Started,
    /// The configuration knows; the old code is still there.
    Committed,
    /// The configuration does not know it any more; everything else is there.
    Unlisted,
    /// The unit is gone; the directory is not.
    UnitGone,
    /// The directory is gone; the range of uids is not free yet.
    TreeGone,
}

impl Lifecycle {
    /// The owner of what `store` says, and a handle for everybody else.
    pub(crate) fn new(host: Host, store: ConfigStore) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let (snapshots, receiver) = watch::channel(Arc::default());
        let lifecycle = Self {
            host,
            store,
            problems: BTreeMap::new(),
            settings: None,
            stale: BTreeSet::new(),
            strangers: BTreeSet::new(),
            // Nobody knows what a predecessor left.
            reload_due: true,
            unfinished: false,
            snapshots,
            #[cfg(test)]
            dies_at: None,
        };
        lifecycle.publish();
        (lifecycle, receiver)
    }

    /// Works until `stop` is notified or nobody can ask any more; a change under way is ended first.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Asked>,
        touched: Arc<Notify>,
        stop: Arc<Notify>,
    ) {
        self.reconcile().await;
        loop {
            let wrong = self.unfinished || !self.problems.is_empty();
            tokio::select! {
                biased;
                () = stop.notified() => return,
                () = touched.notified() => { self.store.look(); }
                asked = changes.recv() => match asked {
                    Some(asked) => self.carry_out(asked).await,
                    None => return,
                },
                () = tokio::time::sleep(RETRY), if wrong => self.reconcile().await,
            }
            // A change, too, may have found that somebody edited the file.
            if self.store.take_unapplied() {
                tracing::info!("{} was edited; applying it", self.store.path().display());
                self.reconcile().await;
            }
            self.publish();
        }
    }

    async fn carry_out(&mut self, asked: Asked) {
        let Asked { place, change, begun, done } = asked;
        if begun.send(()).is_err() {
            // Whoever asked was told that it took too long.
            return;
        }
        let what = change.words();
        let outcome = match change {
            Change::Deploy(order) => self.deploy(&place, order).await,
            Change::Undeploy => self.undeploy(&place).await,
            Change::Start => self.set_stopped(&place, false).await,
            Change::Stop => self.set_stopped(&place, true).await,
            Change::Restart => self.restart(&place).await,
        };
        let agent = place.id().map(String::from).unwrap_or_default();
        match &outcome {
            Ok(()) => tracing::info!(AGENT = agent, "{what} {place}: done"),
            Err(error) => tracing::warn!(AGENT = agent, "{what} {place}: {}", error.chain()),
        }
        self.publish();
        // Whoever asked may be gone; what was done stays done.
        drop(done.send(outcome));
    }

    fn publish(&self) {
        self.snapshots.send_replace(Arc::new(Snapshot {
            config: self.store.config().cloned(),
            config_error: self.store.problem().map(str::to_owned),
            problems: self.problems.clone(),
        }));
    }

    fn tree(&self, deployment: &Place) -> AgentTree {
        let Host { state, accounts, .. } = &self.host;
        AgentTree::new(state, &deployment.domain, &deployment.path, *accounts)
    }

    /// Removes everything that an agent has: first its lane, as without a directory nobody would look for it.
    async fn remove_files(&self, id: &AgentId, tree: AgentTree) -> Result<(), LifecycleError> {
        let (lanes, lane) = (self.host.lanes.clone(), id.clone());
        blocking(move || lanes.remove(&lane)).await?;
        blocking(move || tree.remove()).await
    }

    fn uid_map(&self) -> Result<UidMap, LifecycleError> {
        let Host { state, accounts, .. } = &self.host;
        let trees = agent_tree::list(state, *accounts).map_err(LifecycleError::List)?.agents;
        let has_agents = trees.iter().any(|(_, tree)| tree.dir().tasks().exists());
        UidMap::load(&state.uid_map(), has_agents).map_err(LifecycleError::UidMap)
    }

    /// What should be there of a container agent; `None` for a static one.
    fn wanted(
        &self,
        config: &Config,
        deployment: &Deployment,
        manifest: &Manifest,
        uid_first: Option<u32>,
        replaced: bool,
    ) -> Result<Option<Wanted>, LifecycleError> {
        let Service::Container(container) = &manifest.service else { return Ok(None) };
        let place = Place::of(deployment);
        let id = place.id()?;
        let uid_first = uid_first.ok_or_else(|| LifecycleError::NoRange { id: id.clone() })?;
        let runs = runs(config, deployment);
        let tree = self.tree(&place);
        let unit = AgentUnit { id: &id, deployment, container, dir: tree.dir(), uid_first, runs };
        let text = unit.text().map_err(LifecycleError::Unit)?;
        Ok(Some(Wanted { text, runs, replaced, tells_ready: container.run.is_none() }))
    }

    /// Brings units from `installed` to `wanted`, and remembers what is left to be done if that fails.
    async fn bring(
        &mut self,
        installed: &BTreeMap<AgentId, Installed>,
        mut wanted: BTreeMap<AgentId, Wanted>,
        starts: Starts,
    ) -> Vec<ApplyError> {
        for (id, wanted) in &mut wanted {
            let text = installed.get(id).and_then(|installed| installed.text.as_ref());
            if wanted.replaced || text != Some(&wanted.text) {
                self.stale.insert(id.clone());
            }
            wanted.replaced = self.stale.contains(id);
        }
        let steps = plan(installed, &wanted, self.reload_due);
        self.reload_due = steps.contains(&Step::Reload);
        let Host { units, systemd, .. } = &self.host;
        let errors = apply(steps, units, systemd.as_ref(), starts).await;
        // Without a reload nothing was started.
        if errors.iter().all(|error| error.agent().is_some()) {
            self.reload_due = false;
            self.stale.retain(|id| {
                let known = installed.contains_key(id) || wanted.contains_key(id);
                !known || errors.iter().any(|error| error.agent() == Some(id) && !error.was_tried())
            });
        }
        errors
    }

    /// Stops one agent's unit if it is not stopped, and leaves its file alone.
    async fn stop_unit(&self, id: &AgentId) -> Result<(), LifecycleError> {
        let Host { units, systemd, .. } = &self.host;
        let state = systemd.state(&id.service()).await.map_err(LifecycleError::Systemd)?;
        if state.is_none_or(|s| Activity::of(&s.active_state) == Activity::Inactive) {
            return Ok(());
        }
        let steps = vec![Step::Stop(id.clone())];
        let errors = apply(steps, units, systemd.as_ref(), Starts::Awaited).await;
        match errors.into_iter().next() {
            None => Ok(()),
            Some(error) => Err(self.explain(id, error).await),
        }
    }

    /// Brings one agent's unit from what it is to what is wanted, and waits for it.
    async fn apply_one(
        &mut self,
        id: &AgentId,
        wanted: Option<Wanted>,
    ) -> Result<(), LifecycleError> {
        let Host { units, systemd, .. } = &self.host;
        let text = units.read(id).map_err(LifecycleError::UnitStore)?;
        let state = systemd.state(&id.service()).await.map_err(LifecycleError::Systemd)?;
        let activity = state.map_or(Activity::Inactive, |s| Activity::of(&s.active_state));
        let stays = wanted.as_ref().is_none_or(|wanted| !wanted.runs || wanted.tells_ready);
        let installed = BTreeMap::from([(id.clone(), Installed { text, activity })]);
        let wanted = wanted.map(|wanted| (id.clone(), wanted)).into_iter().collect();
        let errors = self.bring(&installed, wanted, Starts::Awaited).await;
        match errors.into_iter().next() {
            None if stays => Ok(()),
            None => self.stays_up(id).await,
            Some(error) => Err(self.explain(id, error).await),
        }
    }

    /// Makes sure that a unit which does not tell when it is ready is still up after a moment.
    async fn stays_up(&self, id: &AgentId) -> Result<(), LifecycleError> {
        let unit = id.service();
        let mut restarts = None;
        let deadline = Instant::now() + TRIAL;
        while Instant::now() < deadline {
            let state = self.host.systemd.state(&unit).await.map_err(LifecycleError::Systemd)?;
            let state = state.unwrap_or_default();
            let same = *restarts.get_or_insert(state.restarts) == state.restarts;
            if state.active_state != "active" || !same {
                return Err(LifecycleError::JobFailed {
                    unit,
                    job: Job::Start,
                    reason: format!("its program ended again within {} s", TRIAL.as_secs()),
                    result: state.result,
                    exit_status: state.exit_status,
                    aftermath: "",
                });
            }
            tokio::time::sleep(TRIAL_STEP).await;
        }
        Ok(())
    }

    /// A job that failed is explained by what systemd knows of the unit.
    async fn explain(&self, id: &AgentId, error: ApplyError) -> LifecycleError {
        let ApplyError::Job { job, source, .. } = error else {
            return LifecycleError::Apply(error);
        };
        let unit = id.service();
        let state = self.host.systemd.state(&unit).await.ok().flatten().unwrap_or_default();
        LifecycleError::JobFailed {
            unit,
            job,
            reason: source.to_string(),
            result: state.result,
            exit_status: state.exit_status,
            aftermath: "",
        }
    }

    /// A point where a crash is interesting; a test can let it happen there.
    #[cfg(test)]
    async fn reached(&self, point: Point) {
        if let Some((at, died)) = &self.dies_at
            && *at == point
        {
            died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// A point where a crash is interesting.
    #[cfg(not(test))]
    #[expect(clippy::unused_async, reason = "tests stop here")]
    async fn reached(&self, _point: Point) {}
}

/// Whether a deployment should run, by itself and by its domain.
fn runs(config: &Config, deployment: &Deployment) -> bool {
    let mut domains = config.domains.iter();
    let domain = domains.any(|domain| domain.name == deployment.domain && domain.enabled);
    domain && deployment.enabled && !deployment.stopped
}

/// `/` has files, every other path has commands.
fn check_place(place: &Place, manifest: &Manifest) -> Result<(), LifecycleError> {
    let name = &manifest.name;
    match (&manifest.service, place.path.is_root()) {
        (Service::Static { .. }, true) | (Service::Container(_), false) => Ok(()),
        (Service::Static { .. }, false) => Err(LifecycleError::Refused(format!(
            "`{name}` has files to serve and no `container`, so it can be deployed at `/` only, not at `{}`",
            place.path
        ))),
        (Service::Container(_), true) => Err(LifecycleError::Refused(format!(
            "`{name}` has a `container`, so it cannot be deployed at `/`; choose a path such as `/{name}`"
        ))),
    }
}

/// Runs what blocks on a thread of its own, so that the watchdog and the status go on.
async fn blocking<T: Send + 'static, E: Into<LifecycleError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, LifecycleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_cancelled) => Err(LifecycleError::Stopping),
    }
}

/// The directory of an installed agent.
fn installed(agents: &Path, agent: &ploinky_contract::AgentName) -> PathBuf {
    agents.join(agent.as_str())
}
