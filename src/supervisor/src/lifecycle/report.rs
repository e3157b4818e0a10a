//! Desired state and what systemd and Podman know, put together for whoever asks.
//!
//! Numbers come from systemd: Quadlet runs a container in the cgroup of its unit, so that `MemoryCurrent` and
//! its siblings count it, at no cost and also when Podman does not answer. Podman's own statistics enter the
//! cgroup twice per question and know nothing more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join};
use futures_util::stream::{self, StreamExt as _};
use ploinky_contract::{
    Command, CommandName, Condition, Config, Container, Deployment, Manifest, Service,
};
use ploinky_control::{AgentStatus, CommandTerms, HostStatus};
use tokio::sync::watch;

use super::health::Health;
use super::{Host, LifecycleError, Place, Snapshot, runs};
use crate::agent_tree::AgentTree;
use crate::podman::ContainerState;
use crate::systemd::UnitState;
use crate::uid_map::UidMap;

/// Agents that are asked about at once: more would only queue up in Podman.
const AT_ONCE: usize = 8;

/// Answers questions; decides and changes nothing, and waits for no change.
#[derive(Clone)]
pub(crate) struct Reporter {
    host: Host,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Reporter {
    /// Answers from what the owner of the desired state publishes.
    pub(crate) fn new(host: Host, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { host, snapshots }
    }

    /// The text of the configuration in force.
    ///
    /// # Errors
    /// When there never was a valid one.
    pub(crate) fn config(&self) -> Result<String, LifecycleError> {
        Ok(self.in_force(&self.snapshot())?.to_json())
    }

    /// What is wanted at a place, in a few words; nothing if nothing is.
    pub(crate) fn desired(&self, place: &Place) -> String {
        let snapshot = self.snapshot();
        let config = snapshot.config.as_ref();
        let Some(deployment) = config.and_then(|c| c.deployment(&place.domain, &place.path)) else {
            return String::new();
        };
        let release = deployment.release.as_deref().unwrap_or("?");
        let stopped = if deployment.stopped { ", stopped" } else { "" };
        format!("{} {release}{stopped}", deployment.agent)
    }

    /// Everything about one deployment.
    ///
    /// # Errors
    /// When there is none at this place.
    pub(crate) async fn agent(&self, place: &Place) -> Result<AgentStatus, LifecycleError> {
        let snapshot = self.snapshot();
        let config = self.in_force(&snapshot)?;
        let deployment = config
            .deployment(&place.domain, &place.path)
            .ok_or_else(|| LifecycleError::NotFound(place.to_string()))?;
        Ok(self.describe(&snapshot, config, deployment, true).await)
    }

    /// The host and all deployments in brief.
    pub(crate) async fn host(&self) -> HostStatus {
        let snapshot = self.snapshot();
        let (instances, sockets) =
            join(self.instances("ploinky@*.service"), self.instances("ploinky@*.socket")).await;
        let empty = Config::default();
        let config = snapshot.config.as_ref().unwrap_or(&empty);
        let described: Vec<BoxFuture<'_, AgentStatus>> = config
            .deployments
            .iter()
            .map(|deployment| self.describe(&snapshot, config, deployment, false).boxed())
            .collect();
        let agents = stream::iter(described).buffered(AT_ONCE).collect().await;
        HostStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_error: snapshot.config_error.clone(),
            port: config.settings.port,
            instances,
            sockets,
            agents,
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    #[expect(clippy::unused_self, reason = "the snapshot is the reporter's")]
    fn in_force<'s>(&self, snapshot: &'s Snapshot) -> Result<&'s Config, LifecycleError> {
        let problem = snapshot.config_error.clone().unwrap_or_default();
        let broken = || crate::config_store::ConfigStoreError::Broken { problem };
        snapshot.config.as_ref().ok_or_else(|| LifecycleError::Config(broken()))
    }

    /// Numbers of the instances whose unit is active.
    async fn instances(&self, pattern: &str) -> Vec<u32> {
        let listed = self.host.systemd.list(pattern).await.unwrap_or_default();
        let active = listed.into_iter().filter(|(_, state)| state == "active");
        let mut numbers: Vec<u32> =
            active.filter_map(|(name, _)| name.split(['@', '.']).nth(1)?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn describe(
        &self,
        snapshot: &Snapshot,
        config: &Config,
        deployment: &Deployment,
        in_full: bool,
    ) -> AgentStatus {
        let Deployment { domain, path, agent, release, enabled, stopped, .. } = deployment;
        let mut status = AgentStatus {
            domain: domain.to_string(),
            path: path.to_string(),
            agent: agent.to_string(),
            kind: if path.is_root() { "static" } else { "container" }.to_owned(),
            enabled: *enabled,
            stopped: *stopped,
            release: release.clone(),
            ..AgentStatus::default()
        };
        let Ok(id) = deployment.id() else { return status };
        status.id = id.to_string();
        status.problem = snapshot.problems.get(&id).cloned();
        let tree = AgentTree::new(&self.host.state, domain, path, self.host.accounts);
        match tree.manifest() {
            Ok(Some(Manifest { service: Service::Container(container), .. })) => {
                status.image = Some(container.image.to_string());
                if in_full {
                    status.commands =
                        Some(container.commands.keys().map(ToString::to_string).collect());
                    status.command_terms = Some(terms(&container));
                }
            }
            Ok(Some(Manifest { service: Service::Static { .. }, .. })) => return status,
            Ok(None) | Err(_) => {}
        }
        if path.is_root() {
            return status;
        }
        // Broken or lost, the map is a problem that is told where it matters.
        let map = UidMap::load(&self.host.state.uid_map(), false).ok();
        status.uid_first = map.and_then(|map| map.range(&id));
        let (unit, container) = (id.service(), id.container());
        let asked = join(self.host.systemd.state(&unit), self.host.podman.container(&container));
        let (known, found) = asked.await;
        match known {
            Ok(Some(state)) => fill_unit(&mut status, state, runs(config, deployment)),
            Ok(None) => status.active_state = Some("inactive".to_owned()),
            Err(error) => drop(status.problem.get_or_insert(error.to_string())),
        }
        match found {
            Ok(Some(state)) => fill_container(&mut status, state),
            Ok(None) => {}
            Err(error) => tracing::debug!(AGENT = %id, "{error}"),
        }
        status.unit = Some(unit);
        status.container = Some(container);
        status
    }
}

/// The rules of each command as they hold, whether it or the agent has them.
fn terms(container: &Container) -> Vec<CommandTerms> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let terms = |(name, command): (&CommandName, &Command)| {
        let retry = container.retry_of(command);
        CommandTerms {
            name: name.to_string(),
            timeout_ms: ms(container.timeout_of(command)),
            attempts: retry.map(|retry| retry.attempts),
            backoff_ms: retry.map(|retry| ms(retry.backoff)),
            max_backoff_ms: retry.map(|retry| ms(retry.backoff_max)),
        }
    };
    container.commands.iter().map(terms).collect()
}

fn fill_unit(status: &mut AgentStatus, state: UnitState, should_run: bool) {
    let health = Health::of(&state);
    let UnitState {
        active_state,
        sub_state,
        need_daemon_reload: _,
        restarts,
        active_since_usec,
        status_text,
        watchdog: _,
        last_alive_usec,
        silence: _,
        result,
        exit_status,
        memory_bytes,
        cpu_nsec,
        tasks,
    } = state;
    if should_run && active_state != "active" {
        status.problem.get_or_insert_with(|| {
            let why = match health.as_ref().and_then(Health::reason) {
                Some(reason) => reason.to_owned(),
                None => format!("result `{result}`, exit status {exit_status}"),
            };
            format!("should run, but its unit is {active_state} ({sub_state}): {why}")
        });
    } else if let Some(reason) = health.as_ref().and_then(Health::reason) {
        status.problem.get_or_insert_with(|| {
            format!(
                "it is not well: {reason}; its log may tell more: `ploinkyctl agent logs {}`",
                status.id
            )
        });
    }
    status.health = health.map(|health| health.word().to_owned());
    status.status_text =
        Some(Condition::read(&status_text).to_string()).filter(|text| !text.is_empty());
    status.last_alive_usec = last_alive_usec;
    status.active_state = Some(active_state);
    status.sub_state = Some(sub_state);
    status.restarts = Some(restarts);
    status.active_since_usec = active_since_usec;
    status.result = Some(result);
    status.memory_bytes = memory_bytes;
    status.cpu_nsec = cpu_nsec;
    status.pids = tasks;
}

fn fill_container(status: &mut AgentStatus, state: ContainerState) {
    let ContainerState { id, status: container_state, pid, image_id } = state;
    status.container_id = id;
    status.container_state = container_state;
    status.pid = pid;
    status.image_id = image_id;
}
