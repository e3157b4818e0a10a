//! Removes what crashes left in the queues. One process of the host does it: the one that holds the lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
/// How long a thread sweeps one queue after the other before it may be wanted elsewhere. One handing over per
/// queue would cost more than to look at a queue in which nothing happens.
const TURN: Duration = Duration::from_millis(100);
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
            let round = Round {
                left: routes.queues().map(|queue| Arc::clone(queue.calls())).collect(),
                origin: Arc::clone(&origin),
                instances: instances.clone(),
                retention: routes.retention(),
            };
            drop(routes);
            round.walk().await;
        }
    }
}

/// One look at all queues, and at the locks of the instances after them.
struct Round {
    /// Those that were not swept yet.
    left: Vec<Arc<AgentQueue>>,
    origin: Arc<Origin>,
    instances: PathBuf,
    retention: (Duration, Duration),
}

impl Round {
    async fn walk(mut self) {
        loop {
            match tokio::task::spawn_blocking(move || self.turn(TURN)).await {
                Ok(Some(rest)) => self = rest,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("the janitor stopped in the middle: {error}");
                    return;
                }
            }
        }
    }

    /// Sweeps one queue, and others until `time` has passed; `None` when all is done.
    fn turn(mut self, time: Duration) -> Option<Self> {
        let began = Instant::now();
        while let Some(queue) = self.left.pop() {
            sweep_one(&queue, &self.origin, &self.instances, self.retention);
            if time <= began.elapsed() {
                return Some(self);
            }
        }
        if let Err(error) = forget_dead(&self.instances) {
            tracing::warn!("cannot remove the locks of dead instances: {error}");
        }
        None
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use ploinky_contract::AgentId;
    use ploinky_queue::Producer;
    use tempfile::TempDir;

    use super::*;
    use crate::byte_budget::ByteBudget;
    use crate::orchestrator::Lanes;

    const QUEUES: usize = 50;

    /// Queues with a stray file in each.
    fn round(root: &TempDir) -> Round {
        let queue = |number: usize| {
            let tasks = root.path().join(number.to_string());
            for name in ["requests", "urgent", "responses", "errors", "locks"] {
                fs::create_dir_all(tasks.join(name)).unwrap();
            }
            let stray = File::create(tasks.join("responses").join("7".repeat(32))).unwrap();
            stray.set_modified(std::time::UNIX_EPOCH).unwrap();
            let lanes = Lanes::new(Arc::new(Producer::open(&tasks).unwrap()), None);
            let agent = AgentId::new(&"a".parse().unwrap(), &format!("/{number}").parse().unwrap());
            let places = lanes.places().unwrap();
            Arc::new(AgentQueue::new(agent.unwrap(), places, lanes, ByteBudget::new(0)))
        };
        let submitter = Submitter { instance: 1, invocation: "0".repeat(32) };
        Round {
            left: (0..QUEUES).map(queue).collect(),
            origin: Arc::new(Origin { boot_id: "0".repeat(32), submitter }),
            instances: root.path().to_owned(),
            retention: (Duration::MAX, Duration::MAX),
        }
    }

    fn strays(root: &TempDir) -> usize {
        let count = |number: usize| {
            fs::read_dir(root.path().join(number.to_string()).join("responses")).unwrap().count()
        };
        (0..QUEUES).map(count).sum()
    }

    /// How often this thread slept.
    fn sleeps() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
    }

    #[tokio::test]
    async fn all_queues_are_swept_without_a_wake_of_the_event_loop_for_each() {
        let root = tempfile::tempdir().unwrap();
        let round = round(&root);
        assert_eq!(strays(&root), QUEUES);
        let before = sleeps();
        round.walk().await;
        let slept = sleeps() - before;
        assert_eq!(strays(&root), 0);
        assert!(slept < QUEUES as u64 / 2, "it slept {slept} times");
    }

    #[test]
    fn a_turn_that_is_over_goes_on_with_the_next_queue() {
        let root = tempfile::tempdir().unwrap();
        let mut round = Some(round(&root));
        let mut turns = 0;
        while let Some(next) = round {
            assert_eq!(strays(&root), QUEUES - turns);
            round = next.turn(Duration::ZERO);
            turns += 1;
        }
        assert_eq!((turns, strays(&root)), (QUEUES + 1, 0));
    }
}
