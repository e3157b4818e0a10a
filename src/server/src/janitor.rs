//! Removes what crashes left in the queues. One process of the host does it: the one that holds the lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploinky_contract::limits::{JANITOR_ENTRIES, JANITOR_INTERVAL};
use ploinky_queue::{InstanceLock, Submitter, instance_is_alive, sweep};
use tokio::time::sleep;

use crate::journal::chain;
use crate::orchestrator::{AgentQueue, Origin};
use crate::reload::Table;

/// Name of the lock among those of the instances, which are named by invocation ids.
const ELECTION: &str = "janitor";

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
            // The lock is tried for a moment, which may block.
            let directory = instances.clone();
            let tried =
                tokio::task::spawn_blocking(move || InstanceLock::hold(&directory, ELECTION));
            elected = tried.await.ok().and_then(Result::ok);
        }
        if elected.is_some() {
            let routes = table.routes();
            for queue in routes.queues() {
                let (queue, origin) = (Arc::clone(queue), Arc::clone(&origin));
                let directory = instances.clone();
                let swept =
                    tokio::task::spawn_blocking(move || sweep_one(&queue, &origin, &directory));
                if let Err(error) = swept.await {
                    tracing::error!("the janitor stopped in the middle: {error}");
                }
            }
        }
    }
}

fn sweep_one(queue: &AgentQueue, origin: &Origin, instances: &Path) {
    let is_alive = |submitter: &Submitter| {
        *submitter == origin.submitter || instance_is_alive(instances, &submitter.invocation)
    };
    match sweep(queue.producer(), &origin.boot_id, &is_alive, JANITOR_ENTRIES) {
        Ok(swept) if 0 < swept.tasks + swept.asked + swept.strays => tracing::info!(
            AGENT = %queue.agent(),
            "swept the queue: {} tasks removed, {} asked to end, {} stray files removed",
            swept.tasks,
            swept.asked,
            swept.strays
        ),
        Ok(_clean) => {}
        Err(error) => {
            tracing::warn!(AGENT = %queue.agent(), "cannot sweep the queue: {}", chain(&error));
        }
    }
}
