//! Performs the steps of a plan.
//!
//! What takes away goes on after an error and collects it; what builds up does not begin a step whose ground is
//! missing: a unit whose file could not be written is not started, and nothing is started without a reload.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use ploinky_contract::AgentId;

use crate::plan::Step;
use crate::systemd::{Job, Systemd, SystemdError};
use crate::unit_store::{UnitStore, UnitStoreError};

/// Whether starts are waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Starts {
    /// Until systemd has finished the job: the caller wants to know.
    Awaited,
    /// Not at all: many at once, and systemd's state tells the rest.
    Queued,
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The Quadlet file of the agent.
    #[error("cannot change the unit of {id}")]
    File { id: AgentId, source: UnitStoreError },
    /// The reload, on which all starts depend.
    #[error("systemd did not read the units anew")]
    Reload { source: SystemdError },
    /// The job of the agent's unit.
    #[error("the unit {} did not {}", .id.service(), .job.verb())]
    Job { id: AgentId, job: Job, source: SystemdError },
}

impl ApplyError {
    /// The agent that is concerned, if it is one alone.
    pub(crate) fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::File { id, .. } | Self::Job { id, .. } => Some(id),
            Self::Reload { .. } => None,
        }
    }

    /// Whether systemd started the unit anew, and the start itself failed.
    pub(crate) fn was_tried(&self) -> bool {
        let Self::Job { job, source, .. } = self else { return false };
        matches!((job, source), (Job::Start | Job::Restart, SystemdError::Job { .. }))
    }
}

/// Performs `steps` in their order; starts among each other at once, and so stops.
pub(crate) async fn apply(
    steps: Vec<Step>,
    store: &UnitStore,
    systemd: &dyn Systemd,
    starts: Starts,
) -> Vec<ApplyError> {
    let mut errors = Vec::new();
    let mut unwritten = BTreeSet::new();
    let (mut stop, mut start) = (Vec::new(), Vec::new());
    let mut reload = false;
    let mut files = Vec::new();
    for step in steps {
        match step {
            Step::Stop(id) => stop.push(id),
            Step::Remove(id) => files.push((id, None)),
            Step::Write(id, text) => files.push((id, Some(text))),
            Step::Reload => reload = true,
            Step::Start(id) => start.push((id, Job::Start)),
            Step::Restart(id) => start.push((id, Job::Restart)),
        }
    }
    let stopped = join_all(stop.into_iter().map(|id| stop_unit(id, systemd))).await;
    errors.extend(stopped.into_iter().flatten());
    for (id, text) in files {
        let changed = match &text {
            Some(text) => store.write(&id, text),
            None => store.remove(&id),
        };
        if let Err(source) = changed {
            if text.is_some() {
                unwritten.insert(id.clone());
            }
            errors.push(ApplyError::File { id, source });
        }
    }
    if reload && let Err(source) = systemd.reload().await {
        errors.push(ApplyError::Reload { source });
        return errors;
    }
    start.retain(|(id, _)| !unwritten.contains(id));
    let started = join_all(start.into_iter().map(|(id, job)| async move {
        let unit = id.service();
        let done = match starts {
            Starts::Awaited => systemd.run(job, &unit).await,
            Starts::Queued => systemd.queue(job, &unit).await,
        };
        done.err().map(|source| ApplyError::Job { id, job, source })
    }))
    .await;
    errors.extend(started.into_iter().flatten());
    errors
}

/// Stops a unit, and forgets a failure that the stop itself may have caused, so that it is simply inactive.
async fn stop_unit(id: AgentId, systemd: &dyn Systemd) -> Option<ApplyError> {
    let unit = id.service();
    let stopped = systemd.run(Job::Stop, &unit).await;
    // A unit that has not failed, or is gone, has nothing to be reset.
    drop(systemd.reset_failed(&unit).await);
    match stopped {
        Ok(()) | Err(SystemdError::NoSuchUnit { .. }) => None,
        Err(source) => Some(ApplyError::Job { id, job: Job::Stop, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::sim::Sim;

    fn id(text: &str) -> AgentId {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn taking_away_goes_on_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = UnitStore::new(dir.path());
        let sim = Sim::new(dir.path());
        store.write(&id("a"), "x").unwrap();
        store.write(&id("b"), "x").unwrap();
        sim.reload().await.unwrap();
        sim.run(Job::Start, "ploinky-agent-b.service").await.unwrap();
        sim.fail("stop ploinky-agent-a.service");
        let steps = vec![
            Step::Stop(id("a")),
            Step::Stop(id("b")),
            Step::Remove(id("a")),
            Step::Remove(id("b")),
            Step::Reload,
        ];
        let errors = apply(steps, &store, &sim, Starts::Awaited).await;
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["the unit ploinky-agent-a.service did not stop"]);
        assert_eq!(store.list().unwrap().len(), 0);
        let left = ("ploinky-agent-a.service".to_owned(), "active".to_owned());
        assert_eq!(sim.units(), [left]);
    }

    #[tokio::test]
    async fn nothing_starts_on_missing_ground() {
        let dir = tempfile::tempdir().unwrap();
        let store = UnitStore::new(dir.path());
        let sim = Sim::new(dir.path());
        sim.fail("reload");
        let steps = vec![Step::Write(id("a"), "x".to_owned()), Step::Reload, Step::Start(id("a"))];
        let errors = apply(steps, &store, &sim, Starts::Awaited).await;
        assert!(matches!(errors.as_slice(), [ApplyError::Reload { .. }]), "{errors:?}");
        assert_eq!(sim.history(), ["reload"]);
        // A directory in the file's place cannot be replaced.
        let other = tempfile::tempdir().unwrap();
        let store = UnitStore::new(other.path());
        std::fs::create_dir(other.path().join(id("a").quadlet_file())).unwrap();
        let steps = vec![Step::Write(id("a"), "x".to_owned()), Step::Start(id("a"))];
        let errors = apply(steps, &store, &sim, Starts::Awaited).await;
        assert!(matches!(errors.as_slice(), [ApplyError::File { .. }]), "{errors:?}");
        assert_eq!(sim.history(), ["reload"]);
    }
}
