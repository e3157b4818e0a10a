//! The changes of an agent that is deployed: undeploy, start, stop, restart.

use ploinky_contract::{AgentId, Config, Deployment, Service};

use super::{Lifecycle, LifecycleError, Place, Point, runs};
use crate::apply::ApplyError;
use crate::systemd::Job;

impl Lifecycle {
    /// Takes a deployment out of the configuration, then removes its unit, its directory and its range.
    ///
    /// # Errors
    /// When it is not listed. When something cannot be removed; it does not answer any more, and what is left
    /// is tried again later.
    pub(super) async fn undeploy(&mut self, place: &Place) -> Result<(), LifecycleError> {
        let id = place.id()?;
        self.listed(place)?;
        let is_it = |d: &Deployment| d.domain == place.domain && d.path == place.path;
        self.store
            .change(|config| config.deployments.retain(|deployment| !is_it(deployment)))
            .map_err(LifecycleError::Config)?;
        self.problems.remove(&id);
        // Until the end is reached, the next reconciliation has to have a look.
        let others = std::mem::replace(&mut self.unfinished, true);
        self.reached(Point::Unlisted).await;
        self.apply_one(&id, None).await?;
        self.reached(Point::UnitGone).await;
        self.remove_files(&id, self.tree(place)).await?;
        self.reached(Point::TreeGone).await;
        self.uid_map()?.free(&id).map_err(LifecycleError::UidMap)?;
        self.unfinished = others;
        Ok(())
    }

    /// Writes down whether the agent should run, and lets it be so.
    ///
    /// # Errors
    /// When it is not listed, or does not start or stop; what is written down stays. What else is wrong with an
    /// agent that was stopped is its problem, and no error.
    pub(super) async fn set_stopped(
        &mut self,
        place: &Place,
        stopped: bool,
    ) -> Result<(), LifecycleError> {
        let (config, mut deployment) = self.listed(place)?;
        deployment.stopped = stopped;
        if !stopped && !runs(&config, &deployment) {
            let text = format!("{place} is disabled in the configuration, so it is not started");
            return Err(LifecycleError::Refused(text));
        }
        let is_it = |d: &&mut Deployment| d.domain == place.domain && d.path == place.path;
        self.store
            .change(|config| {
                if let Some(deployment) = config.deployments.iter_mut().find(is_it) {
                    deployment.stopped = stopped;
                }
            })
            .map_err(LifecycleError::Config)?;
        let id = place.id()?;
        if !stopped {
            return self.follow(&id, &config, &deployment).await;
        }
        // Before anything that may be broken.
        self.stop_unit(&id).await?;
        if let Err(error) = self.follow(&id, &config, &deployment).await {
            tracing::error!(AGENT = %id, "{}", error.chain());
            self.problems.insert(id, error.chain());
        }
        Ok(())
    }

    /// Brings the unit of a deployment that is placed to what the configuration says.
    async fn follow(
        &mut self,
        id: &AgentId,
        config: &Config,
        deployment: &Deployment,
    ) -> Result<(), LifecycleError> {
        let tree = self.tree(&Place::of(deployment));
        let Some(manifest) = tree.manifest().map_err(LifecycleError::Tree)? else {
            // It never came up, and the problem tells why.
            return Ok(());
        };
        if matches!(manifest.service, Service::Static { .. }) {
            return Ok(());
        }
        let uid_first = self.uid_map()?.range(id);
        let wanted = self.wanted(config, deployment, &manifest, uid_first, false)?;
        self.apply_one(id, wanted).await?;
        self.problems.remove(id);
        Ok(())
    }

    /// Restarts an agent that should run.
    ///
    /// # Errors
    /// When it is not listed, is static or stopped, or does not start.
    pub(super) async fn restart(&mut self, place: &Place) -> Result<(), LifecycleError> {
        let (config, deployment) = self.listed(place)?;
        if deployment.stopped {
            let text = format!("{place} is stopped; start it instead");
            return Err(LifecycleError::Refused(text));
        }
        if !runs(&config, &deployment) {
            let text = format!("{place} is disabled in the configuration, so it is not started");
            return Err(LifecycleError::Refused(text));
        }
        let manifest = self.tree(place).manifest().map_err(LifecycleError::Tree)?;
        let tells_ready = match manifest.map(|manifest| manifest.service) {
            Some(Service::Static { .. }) => {
                let text = format!("{place} serves files and has nothing to restart");
                return Err(LifecycleError::Refused(text));
            }
            Some(Service::Container(container)) => container.run.is_none(),
            None => true,
        };
        let id = place.id()?;
        match self.host.systemd.run(Job::Restart, &id.service()).await {
            Ok(()) if tells_ready => Ok(()),
            Ok(()) => self.stays_up(&id).await,
            Err(source) => {
                let error = ApplyError::Job { id: id.clone(), job: Job::Restart, source };
                Err(self.explain(&id, error).await)
            }
        }
    }

    /// The deployment at `place`, as the file says at this moment.
    fn listed(&mut self, place: &Place) -> Result<(Config, Deployment), LifecycleError> {
        let config = self.store.fresh().map_err(LifecycleError::Config)?.clone();
        let deployment = config
            .deployment(&place.domain, &place.path)
            .cloned()
            .ok_or_else(|| LifecycleError::NotFound(place.to_string()))?;
        Ok((config, deployment))
    }
}
