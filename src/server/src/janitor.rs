//! Removes what crashes left in the queues. One process of the host does it: the one that holds the lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ploinky_contract::chain;
use ploinky_contract::limits::{JANITOR_ENTRIES, JANITOR_INTERVAL, SESSIONS_SWEEP};
use ploinky_queue::{InstanceLock, Rules, Submitter, Swept, instance_is_alive, sweep_sync};
use tokio::time::sleep;

use crate::grants::{Grants, wall_clock_s};
use crate::orchestrator::{AgentQueue, Origin};
use crate::reload::Table;

/// Name of the lock among those of the instances, which are named by invocation ids.
const ELECTION: &str = "janitor";
/// Passes over one lane of a queue before the next one has its turn, unless [`TURN`] is over before: 10^6 names
/// of an agent take some minutes to go, and nobody else's have to wait for them.
const PASSES_MAX: usize = 10;
/// How long a thread sweeps one lane, or one queue after the other before it may be wanted elsewhere. One handing over per
/// queue would cost more than to look at a queue in which nothing happens.
const TURN: Duration = Duration::from_millis(100);
/// Age at which a lock file that nobody holds is left over for sure.
const LOCK_AGE_MIN: Duration = Duration::from_secs(60);

/// Where the instances hold their locks.
pub(crate) fn instances(runtime: &Path) -> PathBuf {
    runtime.join("inst")
}

/// Tries to become the janitor, and sweeps every few seconds from then on. Never ends.
pub(crate) async fn run(table: Table, grants: Grants, origin: Origin, instances: PathBuf) {
    let origin = Arc::new(origin);
    let mut elected: Option<InstanceLock> = None;
    let mut sessions_swept = Instant::now();
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
            if SESSIONS_SWEEP <= sessions_swept.elapsed() {
                sessions_swept = Instant::now();
                sweep_sessions(grants.clone()).await;
            }
        }
    }
}

/// Removes the sessions whose time is over.
async fn sweep_sessions(grants: Grants) {
    match grants.aside(|sessions| sessions.sweep(wall_clock_s())).await {
        Ok(Ok(0)) => {}
        Ok(Ok(over)) => tracing::info!("{over} sessions are over"),
        Ok(Err(error)) => tracing::warn!("cannot sweep the sessions: {error}"),
        Err(error) => tracing::error!("the sweep of sessions stopped in the middle: {error}"),
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
            sweep_one(&queue, &self.origin, &self.instances, self.retention, TURN);
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
    share: Duration,
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
    while_there_is_more(queue, share, &|| queue.lanes().disk().sweep(&rules));
    if let Some(lane) = queue.lanes().memory() {
        let pass = || sweep_sync(lane, &origin.boot_id, &is_alive, JANITOR_ENTRIES);
        while_there_is_more(queue, share, &pass);
    }
}

/// Makes passes over one lane until all is looked at, or this lane had its share.
fn while_there_is_more(queue: &AgentQueue, share: Duration, pass: &dyn Fn() -> io::Result<Swept>) {
    let began = Instant::now();
    for _ in 0..PASSES_MAX {
        let swept = pass();
        let is_more = swept.as_ref().is_ok_and(|swept| swept.more);
        tell(queue, swept);
        if !is_more || share <= began.elapsed() {
            break;
        }
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
    use ploinky_queue::{Producer, SyncProducer};
    use tempfile::TempDir;

    use super::*;
    use crate::byte_budget::ByteBudget;
    use crate::orchestrator::Lanes;

    const QUEUES: usize = 50;

    fn put_stray(directory: &Path, number: usize) {
        let stray = File::create(directory.join(format!("{number:032x}"))).unwrap();
        stray.set_modified(std::time::UNIX_EPOCH).unwrap();
    }

    fn queue(number: usize, tasks: &Path, memory: Option<SyncProducer>) -> Arc<AgentQueue> {
        for name in ["requests", "urgent", "responses", "errors", "locks"] {
            fs::create_dir_all(tasks.join(name)).unwrap();
        }
        let lanes = Lanes::new(Arc::new(Producer::open(tasks).unwrap()), memory);
        let agent = AgentId::new(&"a".parse().unwrap(), &format!("/{number}").parse().unwrap());
        let places = lanes.places().unwrap();
        Arc::new(AgentQueue::new(agent.unwrap(), places, lanes, ByteBudget::new(0)))
    }

    fn origin() -> Arc<Origin> {
        let submitter = Submitter { instance: 1, invocation: "0".repeat(32) };
        Arc::new(Origin { boot_id: "0".repeat(32), submitter })
    }

    /// Queues with a stray file in each.
    fn round(root: &TempDir) -> Round {
        let queue = |number: usize| {
            let tasks = root.path().join(number.to_string());
            let queue = queue(number, &tasks, None);
            put_stray(&tasks.join("responses"), 7);
            queue
        };
        Round {
            left: (0..QUEUES).map(queue).collect(),
            origin: origin(),
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
    fn many_strays_go_in_one_round_from_both_lanes_and_a_share_bounds_it() {
        let root = tempfile::tempdir().unwrap();
        let (tasks, lane) = (root.path().join("tasks"), root.path().join("lane"));
        for name in ["requests", "urgent", "streams", "responses", "locks"] {
            fs::create_dir_all(lane.join(name)).unwrap();
        }
        let memory = SyncProducer::open(&lane, 1).unwrap();
        let queue = queue(0, &tasks, Some(memory));
        let directories = [tasks.join("responses"), lane.join("responses/1")];
        for directory in &directories {
            (0..3 * JANITOR_ENTRIES).for_each(|number| put_stray(directory, number));
        }
        let left = || directories.each_ref().map(|path| fs::read_dir(path).unwrap().count());
        let never = (Duration::MAX, Duration::MAX);
        let sweep = |share| sweep_one(&queue, &origin(), root.path(), never, share);
        sweep(Duration::ZERO);
        assert_eq!(left(), [2 * JANITOR_ENTRIES; 2]);
        sweep(Duration::MAX);
        assert_eq!(left(), [0; 2]);
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
