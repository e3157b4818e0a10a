//! Performs the steps of a plan.
//!
//! What takes away goes on after an error and collects it; what builds up does not begin a step whose ground is
//! missing: a unit whose file could not be written is not started, and nothing is started without a reload.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::iter;
use ploinky_contract::AgentId;
use tokio::time::timeout;

use crate::plan::Step;
use crate::systemd::{Job, Systemd, SystemdError};
use crate::unit_store::{UnitStore, UnitStoreError};

/// Restarts at once when nobody waits for them, as after an upgrade: on few cores many would take turns for
/// longer than calls wait for an agent that is not there.
const RESTARTS_AT_ONCE: usize = 2;
/// How long such a restart may hold up the next; it goes on.
const RESTART_TURN: Duration = Duration::from_secs(5);

/// Whether starts are waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Starts {
    /// Until systemd has finished the job: the caller wants to know.
    Awaited,
    /// Not at all: many at once, restarts few at once, and systemd's state tells the rest.
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
    let (restart, start): (Vec<_>, Vec<_>) =
        start.into_iter().partition(|(_, job)| starts == Starts::Queued && *job == Job::Restart);
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
    let restarted = iter(restart).map(|(id, job)| take_turn(id, job, systemd));
    let restarted: Vec<_> = restarted.buffer_unordered(RESTARTS_AT_ONCE).collect().await;
    errors.extend(restarted.into_iter().flatten());
    errors
}

/// Runs a job of which nobody wants to know how it ends, and holds up others for a while.
async fn take_turn(id: AgentId, job: Job, systemd: &dyn Systemd) -> Option<ApplyError> {
    match timeout(RESTART_TURN, systemd.run(job, &id.service())).await {
        Ok(Ok(()) | Err(SystemdError::Job { .. })) | Err(_) => None,
        Ok(Err(source)) => Some(ApplyError::Job { id, job, source }),
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_restart_that_takes_long_holds_up_the_others_for_a_while_only() {
        let dir = tempfile::tempdir().unwrap();
        let (store, sim) = (UnitStore::new(dir.path()), Sim::new(dir.path()));
        let ids = ["a", "b", "c", "d"].map(id);
        for id in &ids {
            store.write(id, "x").unwrap();
        }
        sim.reload().await.unwrap();
        sim.hang("restart ploinky-agent-a.service");
        sim.fail("restart ploinky-agent-b.service");
        sim.forget();
        let steps = ids.map(Step::Restart).to_vec();
        let errors = apply(steps, &store, &sim, Starts::Queued).await;
        assert!(errors.is_empty(), "{errors:?}");
        let restarts = ["a", "b", "c", "d"].map(|id| format!("restart ploinky-agent-{id}.service"));
        assert_eq!(sim.history(), restarts);
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
