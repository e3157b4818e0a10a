//! A deployment: staged and checked first, then put in force step by step, and undone whole if a step fails.

use ploinky_contract::{AgentId, AgentName, Config, Deployment, DomainEntry, Manifest, Service};

use super::{Lifecycle, LifecycleError, Order, Place, Point, blocking, check_place, installed};
use crate::agent_tree::{AgentTree, Source};

/// Code that is ready to be put in force.
pub(super) struct Prepared {
    pub(super) manifest: Manifest,
    /// First uid of the range, of an agent with a container.
    pub(super) uid_first: Option<u32>,
    /// Fingerprint of the code.
    pub(super) release: String,
}

impl Lifecycle {
    /// Deploys an agent, or a new release of one. It is listed in the configuration when it runs.
    ///
    /// # Errors
    /// When something is refused or fails; what was there before is there again, and runs if it ran.
    pub(super) async fn deploy(
        &mut self,
        place: &Place,
        order: Order,
    ) -> Result<(), LifecycleError> {
        let config = self.store.fresh().map_err(LifecycleError::Config)?.clone();
        let id = place.id()?;
        let old = config.deployment(&place.domain, &place.path).cloned();
        let repository = match &order.source {
            Source::Installed(_) => None,
            // The contract's word for code that lives with the deployment only.
            Source::Archive(_) => "local".parse::<AgentName>().ok(),
        };
        let tree = self.tree(place);
        // Staging would take away what an earlier deployment left to be undone.
        let (settled, release) = (tree.clone(), old.as_ref().and_then(|old| old.release.clone()));
        if blocking(move || settled.settle(release.as_deref())).await? {
            self.stale.insert(id.clone());
            self.unfinished = true;
        }
        let prepared = match self.prepare(place, &id, &tree, order).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.discard(&id, &tree, old.as_ref()).await;
                return Err(error);
            }
        };
        self.reached(Point::Staged).await;
        let new = Deployment {
            domain: place.domain.clone(),
            path: place.path.clone(),
            agent: prepared.manifest.name.clone(),
            repository,
            release: Some(prepared.release.clone()),
            enabled: old.as_ref().is_none_or(|old| old.enabled),
            stopped: old.as_ref().is_some_and(|old| old.stopped),
        };
        let done = self.put_in_force(&config, &id, &tree, &new, &prepared, old.as_ref()).await;
        if let Err(error) = done {
            return Err(self.roll_back(&id, &tree, &config, old.as_ref(), error).await);
        }
        self.problems.remove(&id);
        self.reached(Point::Committed).await;
        let release = prepared.release;
        if let Err(error) = blocking(move || tree.settle(Some(&release))).await {
            // The old code is still there; the next reconciliation tries again.
            tracing::warn!(AGENT = %id, "{}", error.chain());
            self.unfinished = true;
        }
        Ok(())
    }

    /// Stages the code of `order` and checks everything that can be checked before something is changed.
    pub(super) async fn prepare(
        &self,
        place: &Place,
        id: &AgentId,
        tree: &AgentTree,
        order: Order,
    ) -> Result<Prepared, LifecycleError> {
        let Order { source, name } = order;
        let expected = match &source {
            Source::Installed(path) if !path.is_dir() => {
                return Err(LifecycleError::NoSuchAgent(name));
            }
            Source::Installed(_) => Some(name.clone()),
            Source::Archive(_) => None,
        };
        let staged = tree.clone();
        let manifest = blocking(move || {
            staged.stage(source)?;
            staged.staged_manifest(Some(&name))
        })
        .await?;
        check_place(place, &manifest)?;
        if let Some(expected) = expected
            && expected != manifest.name
        {
            let text = format!(
                "the installed agent `{expected}` calls itself `{}` in its manifest.json",
                manifest.name
            );
            return Err(LifecycleError::Refused(text));
        }
        let uid_first = match &manifest.service {
            Service::Static { .. } => None,
            Service::Container(container) => {
                let image = self.host.podman.image(&container.image).await;
                if image.map_err(LifecycleError::Podman)?.is_none() {
                    return Err(LifecycleError::ImageMissing(container.image.clone()));
                }
                Some(self.uid_map()?.allot(id).map_err(LifecycleError::UidMap)?)
            }
        };
        let sealed = tree.clone();
        let release = blocking(move || sealed.seal(uid_first)).await?;
        Ok(Prepared { manifest, uid_first, release })
    }

    async fn put_in_force(
        &mut self,
        config: &Config,
        id: &AgentId,
        tree: &AgentTree,
        new: &Deployment,
        prepared: &Prepared,
        old: Option<&Deployment>,
    ) -> Result<(), LifecycleError> {
        let Prepared { manifest, uid_first, release } = prepared;
        let mut trial = config.clone();
        list(&mut trial, new.clone());
        trial.check().map_err(LifecycleError::ConfigRule)?;
        let wanted = self.wanted(&trial, new, manifest, *uid_first, true)?;
        let from = old.and_then(|old| old.release.as_deref());
        tree.place(manifest, *uid_first, from, release).map_err(LifecycleError::Tree)?;
        self.reached(Point::Placed).await;
        self.apply_one(id, wanted).await?;
        self.reached(Point::Started).await;
        self.store.change(|config| list(config, new.clone())).map_err(LifecycleError::Config)
    }

    /// Undoes a deployment that failed. Returns the error, with what became of the host.
    async fn roll_back(
        &mut self,
        id: &AgentId,
        tree: &AgentTree,
        config: &Config,
        old: Option<&Deployment>,
        error: LifecycleError,
    ) -> LifecycleError {
        let Some(old) = old else {
            if let Err(second) = self.apply_one(id, None).await {
                tracing::error!(AGENT = %id, "{}", second.chain());
                self.unfinished = true;
                return error;
            }
            return if self.discard(id, tree, None).await {
                error.with_aftermath("; nothing of the deployment is left")
            } else {
                error
            };
        };
        if !self.discard(id, tree, Some(old)).await {
            return error.with_aftermath("; the release from before cannot be put back yet");
        }
        let before = self.restore_unit(id, tree, config, old).await;
        match before {
            Ok(()) => error.with_aftermath("; the release from before is in force again"),
            Err(second) => {
                tracing::error!(AGENT = %id, "{}", second.chain());
                self.problems.insert(id.clone(), second.chain());
                error.with_aftermath(
                    "; the release from before is in force again and does not start either",
                )
            }
        }
    }

    async fn restore_unit(
        &mut self,
        id: &AgentId,
        tree: &AgentTree,
        config: &Config,
        old: &Deployment,
    ) -> Result<(), LifecycleError> {
        // Without code there was nothing that ran.
        let Some(manifest) = tree.manifest().map_err(LifecycleError::Tree)? else {
            return self.apply_one(id, None).await;
        };
        let uid_first = self.uid_map()?.range(id);
        let wanted = self.wanted(config, old, &manifest, uid_first, true)?;
        self.apply_one(id, wanted).await
    }

    /// Removes what was staged, and undoes what was placed, also by a release that is the same as before;
    /// removes everything, if there was nothing before. Earlier deployments are settled. Tells whether it is
    /// done; if not, it is a problem of the deployment, and is tried again.
    pub(super) async fn discard(
        &mut self,
        id: &AgentId,
        tree: &AgentTree,
        old: Option<&Deployment>,
    ) -> bool {
        let tree = tree.clone();
        let done = if old.is_some() {
            blocking(move || tree.settle(None)).await.map(drop)
        } else {
            let removed = self.remove_files(id, tree).await;
            removed.and_then(|()| self.uid_map()?.free(id).map_err(LifecycleError::UidMap))
        };
        let Err(error) = done else { return true };
        tracing::error!(AGENT = %id, "{}", error.chain());
        self.problems.insert(id.clone(), error.chain());
        self.unfinished = true;
        false
    }

    /// The order for an agent that a package installed.
    pub(super) fn installed_order(&self, agent: &AgentName) -> Order {
        let source = Source::Installed(installed(&self.host.installed_agents, agent));
        Order { source, name: agent.clone() }
    }
}

/// Lists a deployment in the place of the one before, and its domain if it is new.
pub(super) fn list(config: &mut Config, new: Deployment) {
    if !config.domains.iter().any(|domain| domain.name == new.domain) {
        config.domains.push(DomainEntry::new(new.domain.clone()));
    }
    let same = |d: &&mut Deployment| d.domain == new.domain && d.path == new.path;
    match config.deployments.iter_mut().find(same) {
        // Whether it runs is the word of whoever edits the configuration, also in the meantime.
        Some(old) => {
            let Deployment { agent, repository, release, .. } = new;
            (old.agent, old.repository, old.release) = (agent, repository, release);
        }
        None => config.deployments.push(new),
    }
}
