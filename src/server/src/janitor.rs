//! Removes what crashes left in the queues. One process of the host does it: the one that holds the lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::chain;
use ploinky_contract::limits::{JANITOR_ENTRIES, JANITOR_INTERVAL};
use ploinky_queue::{InstanceLock, Rules, Submitter, Swept, instance_is_alive, sweep_sync};
use tokio::time::sleep;

use crate::orchestrator::{AgentQueue, Origin};
use crate::reload::Table;

/// Name of the lock among those of the instances, which are named by invocation ids.
const ELECTION: &str = "janitor";
/// Passes over one queue before the next queue has its turn.
const PASSES_MAX: usize = 10;
/// Age at which a lock file that nobody holds is left over for sure.
const LOCK_AGE_MIN: Duration = Duration::from_secs(60);

/// Where the instances hold their locks.
pub(crate) fn instances(runtime: &Path) -> PathBuf {
    runtime.join("inst")
}

/// Tries to become the janitor, and sweeps every few seconds from then on. Never ends.
pub(crate) async fn run(table: Table, origin: Origin, instances: PathBuf) {
    let origin = Arc::new(origin);
    let mut elected: Option<InstanceLock> = None;
    loop {
        sleep(JANITOR_INTERVAL).await;
        if elected.is_none() {
            // Nobody probes it, so that one look tells.
            elected = InstanceLock::hold_if_free(&instances, ELECTION).unwrap_or_else(|error| {
                tracing::warn!("cannot tell who is the janitor: {error}");
                None
            });
        }
        if elected.is_some() {
            let routes = table.routes();
            let retention = routes.retention();
            for queue in routes.queues() {
                let (queue, origin) = (Arc::clone(queue.calls()), Arc::clone(&origin));
                let directory = instances.clone();
                let swept = tokio::task::spawn_blocking(move || {
                    sweep_one(&queue, &origin, &directory, retention);
                });
                if let Err(error) = swept.await {
                    tracing::error!("the janitor stopped in the middle: {error}");
                }
            }
            let directory = instances.clone();
            let forgotten = tokio::task::spawn_blocking(move || forget_dead(&directory));
            if let Ok(Err(error)) = forgotten.await {
                tracing::warn!("cannot remove the locks of dead instances: {error}");
            }
        }
    }
}

/// Removes the lock files of processes that died. A young one may belong to a process that is just starting.
fn forget_dead(instances: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(instances)?.take(JANITOR_ENTRIES) {
        let entry = entry?;
        let is_old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| LOCK_AGE_MIN <= age);
        if let Ok(name) = entry.file_name().into_string()
            && name != ELECTION
            && is_old
            && !instance_is_alive(instances, &name)
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sweep_one(
    queue: &AgentQueue,
    origin: &Origin,
    instances: &Path,
    (task_retention, dead_task_retention): (Duration, Duration),
) {
    let is_alive = |submitter: &Submitter| {
        *submitter == origin.submitter || instance_is_alive(instances, &submitter.invocation)
    };
    let rules = Rules {
        boot_id: &origin.boot_id,
        is_alive: &is_alive,
        limit: JANITOR_ENTRIES,
        task_retention,
        dead_task_retention,
    };
    for _ in 0..PASSES_MAX {
        let swept = queue.lanes().disk().sweep(&rules);
        let is_more = swept.as_ref().is_ok_and(|swept| swept.more);
        tell(queue, swept);
        if !is_more {
            break;
        }
    }
    if let Some(lane) = queue.lanes().memory() {
        tell(queue, sweep_sync(lane, &origin.boot_id, &is_alive, JANITOR_ENTRIES));
    }
}

fn tell(queue: &AgentQueue, swept: io::Result<Swept>) {
    match swept {
        Ok(Swept { looked: _, tasks, asked, ended, expired, strays, more: _ })
            if 0 < tasks + asked + ended + expired + strays =>
        {
            tracing::info!(
                AGENT = %queue.agent(),
                "swept the queue: {tasks} calls removed, {asked} tasks asked to end, {ended} ended, \
                 {expired} removed that were kept long enough, {strays} stray files removed"
            );
        }
        Ok(_clean) => {}
        Err(error) => {
            tracing::warn!(AGENT = %queue.agent(), "cannot sweep the queue: {}", chain(&error));
        }
    }
}
