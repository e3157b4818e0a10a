//! Brings the whole host to what the configuration says, whatever was interrupted or edited.

use std::collections::{BTreeMap, BTreeSet};

use ploinky_contract::{AgentId, Config, Deployment, Service, Settings, chain};

use super::{Lifecycle, LifecycleError, Place, blocking, check_place, runs};
use crate::agent_tree::{self, Listing};
use crate::apply::Starts;
use crate::plan::{Activity, Installed, Wanted};
use crate::state_file;

/// Units of agents.
const PATTERN: &str = "ploinky-agent-*.service";

/// What is right about one deployment.
struct Ensured {
    /// What its unit should be; `None` for a static agent.
    wanted: Option<Wanted>,
    /// The fingerprint of code that was put in place just now.
    release: Option<String>,
}

impl Lifecycle {
    /// Settles what was interrupted, deploys what is missing, removes what is not listed, starts what should
    /// run. Errors become problems of their deployments; nothing waits for a start.
    pub(super) async fn reconcile(&mut self) {
        let _: bool = self.store.take_unapplied();
        let Some(config) = self.store.config().cloned() else { return };
        self.unfinished = false;
        for file in [self.host.state.config(), self.host.state.uid_map()] {
            if let Err(error) = state_file::sweep(&file) {
                tracing::warn!("cannot remove what is left beside {}: {error}", file.display());
            }
        }
        let mut problems = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        let mut releases = BTreeMap::new();
        let mut listed = BTreeSet::new();
        let mut silent = BTreeSet::new();
        for deployment in &config.deployments {
            let Ok(id) = deployment.id() else { continue };
            listed.insert(id.clone());
            if !runs(&config, deployment) {
                silent.insert(id.clone());
            }
            match self.ensure(&config, &id, deployment).await {
                Ok(ensured) => {
                    wanted.extend(ensured.wanted.map(|wanted| (id.clone(), wanted)));
                    if let Some(release) = ensured.release {
                        releases.insert(Place::of(deployment), release);
                    }
                }
                Err(error) => drop(problems.insert(id, error.chain())),
            }
        }
        self.record(&releases).await;
        match self.installed().await {
            Ok(mut installed) => {
                // Of what has a problem nothing is known that would justify a change, unless it should not run.
                installed.retain(|id, found| {
                    if problems.contains_key(id) && silent.contains(id) {
                        wanted.extend(found.stopped().map(|stopped| (id.clone(), stopped)));
                        return true;
                    }
                    !problems.contains_key(id)
                });
                if self.reload_due {
                    self.find_stale(&installed).await;
                }
                let errors = self.bring(&installed, wanted, Starts::Queued).await;
                for failed in errors {
                    self.unfinished |= failed.agent().is_none();
                    let text = chain(&failed);
                    if let Some(id) = failed.agent() {
                        problems.insert(id.clone(), text);
                    } else {
                        tracing::error!("{text}");
                    }
                }
                self.remove_unlisted(&listed, &mut problems).await;
            }
            Err(error) => {
                tracing::error!("cannot compare units: {}", error.chain());
                self.unfinished = true;
            }
        }
        self.tell_settings(&config.settings).await;
        for (id, text) in &problems {
            if self.problems.get(id) != Some(text) {
                tracing::error!(AGENT = %id, "{text}");
            }
        }
        self.problems = problems;
        self.publish();
    }

    /// Makes sure that the code of a deployment is there and whole.
    async fn ensure(
        &mut self,
        config: &Config,
        id: &AgentId,
        deployment: &Deployment,
    ) -> Result<Ensured, LifecycleError> {
        let place = Place::of(deployment);
        let tree = self.tree(&place);
        let (settled, release) = (tree.clone(), deployment.release.clone());
        if blocking(move || settled.settle(release.as_deref())).await? {
            self.stale.insert(id.clone());
        }
        let found = tree.manifest().map_err(LifecycleError::Tree)?;
        let (manifest, uid_first, release) = match found {
            Some(manifest) if manifest.name == deployment.agent => {
                let uid_first = match &manifest.service {
                    Service::Static { .. } => None,
                    Service::Container(_) => self.uid_map()?.range(id),
                };
                (manifest, uid_first, None)
            }
            Some(_) | None if deployment.repository.is_some() => {
                return Err(LifecycleError::Refused(format!(
                    "the code of `{}` is not on this host; deploy it again with `ploinkyctl deploy {} {} DIRECTORY`",
                    deployment.agent, deployment.domain, deployment.path
                )));
            }
            found => {
                let order = self.installed_order(&deployment.agent);
                let prepared = self.prepare(&place, id, &tree, order).await;
                let placed = prepared.and_then(|prepared| {
                    let from = deployment.release.as_deref();
                    tree.place(&prepared.manifest, prepared.uid_first, from, &prepared.release)
                        .map_err(LifecycleError::Tree)?;
                    Ok(prepared)
                });
                let prepared = match placed {
                    Ok(prepared) => prepared,
                    Err(error) => {
                        let old = found.is_some().then_some(deployment);
                        self.discard(id, &tree, old).await;
                        return Err(error);
                    }
                };
                self.stale.insert(id.clone());
                tracing::info!(AGENT = %id, "deployed the installed agent `{}` at {place}", deployment.agent);
                (prepared.manifest, prepared.uid_first, Some(prepared.release))
            }
        };
        check_place(&place, &manifest)?;
        let wanted = self.wanted(config, deployment, &manifest, uid_first, false)?;
        if let Some(uid_first) = uid_first {
            blocking(move || tree.repair(&manifest, uid_first)).await?;
        }
        Ok(Ensured { wanted, release })
    }

    /// Writes the fingerprints of code that was put in place, which settles it.
    async fn record(&mut self, releases: &BTreeMap<Place, String>) {
        if releases.is_empty() {
            return;
        }
        let changed = self.store.change(|config| {
            for deployment in &mut config.deployments {
                if let Some(release) = releases.get(&Place::of(deployment)) {
                    deployment.release = Some(release.clone());
                }
            }
        });
        if let Err(error) = changed {
            tracing::error!("{}", chain(&error));
            self.unfinished = true;
            return;
        }
        for (place, release) in releases {
            let (tree, release) = (self.tree(place), release.clone());
            if let Err(error) = blocking(move || tree.settle(Some(&release))).await {
                tracing::warn!("{}", error.chain());
                self.unfinished = true;
            }
        }
    }

    /// Lets systemd run its generators when number or port of the instances changed. Instances that run are
    /// left alone: whoever changed the port decides when.
    async fn tell_settings(&mut self, new: &Settings) {
        let old = self.settings.replace(new.clone());
        let same = |old: &Settings| (old.port, old.workers_count) == (new.port, new.workers_count);
        if old.as_ref().is_none_or(same) {
            return;
        }
        match self.host.systemd.reload().await {
            Ok(()) => tracing::info!(
                "port or number of instances changed; it counts after `systemctl restart ploinky.target`"
            ),
            Err(error) => {
                tracing::error!("{}", chain(&error));
                self.settings = old;
                self.unfinished = true;
            }
        }
    }

    /// Finds the units that run with another text than that of their files. Only before a reload can systemd
    /// tell.
    async fn find_stale(&mut self, installed: &BTreeMap<AgentId, Installed>) {
        for (id, Installed { activity, .. }) in installed {
            if *activity != Activity::Active {
                continue;
            }
            match self.host.systemd.state(&id.service()).await {
                Ok(Some(state)) if state.need_daemon_reload => drop(self.stale.insert(id.clone())),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(AGENT = %id, "cannot tell whether its unit is current: {}", chain(&error));
                }
            }
        }
    }

    /// All units of agents, by their files and by what systemd runs.
    async fn installed(&self) -> Result<BTreeMap<AgentId, Installed>, LifecycleError> {
        let texts = self.host.units.list().map_err(LifecycleError::UnitStore)?;
        let loaded = self.host.systemd.list(PATTERN).await.map_err(LifecycleError::Systemd)?;
        let mut installed: BTreeMap<AgentId, Installed> = texts
            .into_iter()
            .map(|(id, text)| (id, Installed { text: Some(text), ..Installed::default() }))
            .collect();
        for (unit, active_state) in loaded {
            let id = unit
                .strip_prefix("ploinky-agent-")
                .and_then(|rest| rest.strip_suffix(".service"))
                .and_then(|id| id.parse::<AgentId>().ok());
            if let Some(id) = id {
                installed.entry(id).or_default().activity = Activity::of(&active_state);
            }
        }
        Ok(installed)
    }

    /// Removes directories and ranges of agents that are not listed. Their units are gone, or are a problem.
    async fn remove_unlisted(
        &mut self,
        listed: &BTreeSet<AgentId>,
        problems: &mut BTreeMap<AgentId, String>,
    ) {
        let trees = match agent_tree::list(&self.host.state, self.host.accounts) {
            Ok(Listing { agents, strangers }) => {
                let strangers = BTreeSet::from_iter(strangers);
                for path in strangers.difference(&self.strangers) {
                    tracing::warn!("{} belongs to no agent; left alone", path.display());
                }
                self.strangers = strangers;
                agents
            }
            Err(error) => {
                tracing::error!("cannot list the agents: {error}");
                self.unfinished = true;
                return;
            }
        };
        for (id, tree) in trees {
            if listed.contains(&id) || problems.contains_key(&id) {
                continue;
            }
            tracing::info!(AGENT = %id, "removing {}, which is not deployed", tree.dir().root().display());
            if let Err(error) = self.remove_files(&id, tree).await {
                problems.insert(id, error.chain());
            }
        }
        // A map that cannot be read is a problem of each deployment with a container already.
        let Ok(mut map) = self.uid_map() else { return };
        let free: Vec<AgentId> = map
            .agents()
            .filter(|id| !listed.contains(id) && !problems.contains_key(id))
            .cloned()
            .collect();
        for id in free {
            if let Err(error) = map.free(&id) {
                problems.insert(id, chain(&error));
            }
        }
    }
}
