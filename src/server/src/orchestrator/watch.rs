//! Waits for results of one agent: hints of the kernel, and a look now and then in case one was lost.
//!
//! An agent that makes names without end wakes this process a few times in each `STRANGERS_REST`, not with each.

use std::sync::Arc;

use ploinky_contract::limits::RESULT_POLL;
use ploinky_queue::ResultWatch;
use tokio::time::MissedTickBehavior;

use super::agent_queue::{AgentQueue, Down};
use super::hint_reader::HintReader;

/// Hands results over until the queue is retired and its last task has ended.
pub(crate) async fn watch(queue: Arc<AgentQueue>, results: ResultWatch) {
    let mut hints = HintReader::new(results);
    let mut looks = tokio::time::interval(RESULT_POLL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut parked = queue.park();
    let mut down = Down::default();
    let mut named = Vec::new();
    while !queue.is_over() {
        let ended = tokio::select! {
            read = hints.read(&mut named) => {
                if !queue.told(&named) {
                    hints.were_strangers();
                }
                let is_complete = read.unwrap_or_else(|error| {
                    tracing::error!(AGENT = %queue.agent(), "cannot read hints on results, polling: {error}");
                    false
                });
                if is_complete {
                    queue.look_for(named.drain(..)).await
                } else {
                    named.clear();
                    queue.hints().tell_all();
                    queue.look_for_all().await
                }
            }
            _ = looks.tick(), if !parked => {
                let ended = queue.look_for_overdue(&mut down).await;
                parked = queue.park();
                ended
            }
            () = queue.woken() => {
                parked = false;
                looks.reset();
                Vec::new()
            }
        };
        if !ended.is_empty() {
            // The requests that were just told answer first; nobody waits for the cleaning.
            tokio::task::yield_now().await;
            for task in ended {
                queue.clean(task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use ploinky_contract::AgentId;
    use ploinky_queue::Producer;

    use super::*;
    use crate::byte_budget::ByteBudget;
    use crate::orchestrator::Lanes;

    /// How often this thread slept.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
    }

    #[tokio::test]
    async fn names_that_nobody_waits_for_do_not_wake_the_worker_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["requests", "urgent", "responses", "errors", "locks"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let lanes = Lanes::new(Arc::new(Producer::open(directory.path()).unwrap()), None);
        let (places, results) = (lanes.places().unwrap(), lanes.watch().unwrap());
        let agent = AgentId::new(&"a".parse().unwrap(), &"/a".parse().unwrap()).unwrap();
        let queue = Arc::new(AgentQueue::new(agent, places, lanes, ByteBudget::new(0)));
        tokio::spawn(watch(Arc::clone(&queue), results));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, responses) = (Arc::clone(&stop), directory.path().join("responses"));
        let storm = thread::spawn(move || {
            // A name that is none of a task, and one that is. To make files would take longer.
            let names = ["x".to_owned(), "7".repeat(32)].map(|name| responses.join(name));
            File::create(&names[1]).unwrap();
            let mut made = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let [from, to] = if made.is_multiple_of(2) { [1, 0] } else { [0, 1] };
                rustix::fs::rename(&names[from], &names[to]).unwrap();
                made += 1;
                // Long enough to read the name and to sleep again.
                thread::park_timeout(Duration::from_micros(50));
            }
            made
        });
        let before = sleeps();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let slept = sleeps() - before;
        stop.store(true, Ordering::Relaxed);
        let made = storm.join().unwrap();
        assert!(slept < made / 2, "{made} names woke the worker {slept} times");
    }
}
