//! Results that have to wait, and turns between them.

use std::fs::File;
use std::io::Write as _;

use ploinky_contract::UserId;
use ploinky_contract::limits::{FREE_BYTES, RESULT_TURN_BYTES};
use ploinky_queue::{Outcome, Producer, Submitter, Terms, boot_id};
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::task_queue::Held;

use super::*;

struct Scratch {
    directory: TempDir,
    queue: Arc<AgentQueue>,
}

impl Scratch {
    fn new(budget: &ByteBudget) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["requests", "urgent", "responses", "errors", "locks"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let lanes = Lanes::new(Arc::new(Producer::open(directory.path()).unwrap()), None);
        let places = lanes.places().unwrap();
        let domain = "a".parse().unwrap();
        let agent = AgentId::new(&domain, &"/a".parse().unwrap()).unwrap();
        let queue = Arc::new(AgentQueue::new(agent, places, lanes, budget.clone()));
        Self { directory, queue }
    }

    /// A task from a second ago, with a result of about `length` bytes.
    fn answered(&self, number: u8, length: usize, deadline_boot_ns: u64) -> Ticket {
        let id = TaskId::from_random([number; 16]);
        let request = Request {
            id,
            command: "a".parse().unwrap(),
            params: vec![value(1)],
            owner: UserId::internet_user(),
            seq: boottime_ns() - 1_000_000_000,
            deadline_boot_ns,
            boot_id: boot_id().unwrap(),
            submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
            attempt: 1,
            terms: Terms::default(),
        };
        let ticket = self.queue.submit(&request, Duration::from_secs(1)).unwrap();
        File::create(self.directory.path().join("responses").join(id.as_str()))
            .and_then(|mut file| file.write_all(&Outcome::encode_response(id, &value(length))))
            .unwrap();
        ticket
    }

    async fn look(&self) -> usize {
        let ended = self.queue.look_for_overdue(&mut Down::default()).await;
        let count = ended.len();
        for task in ended {
            self.queue.clean(task);
        }
        count
    }
}

fn value(length: usize) -> Box<RawValue> {
    RawValue::from_string(format!("\"{}\"", "x".repeat(length))).unwrap()
}

#[tokio::test]
async fn large_results_wait_on_the_disk_while_there_is_no_memory() {
    let budget = ByteBudget::new(FREE_BYTES * 3);
    let scratch = Scratch::new(&budget);
    let first = scratch.answered(1, FREE_BYTES * 2, u64::MAX);
    assert_eq!(scratch.look().await, 1);
    let Held { share, .. } = first.wait().await.unwrap();
    let second = scratch.answered(2, FREE_BYTES * 2, u64::MAX);
    let small = scratch.answered(3, 10, u64::MAX);
    let late = scratch.answered(4, FREE_BYTES * 2, boottime_ns());
    // The small one, and the one whose time is over.
    assert_eq!(scratch.look().await, 2);
    assert!(small.wait().await.unwrap().share.is_none());
    assert!(matches!(late.wait().await, Err(Refusal::Deadline(_))));
    assert_eq!(scratch.look().await, 0);
    drop(share);
    assert_eq!(scratch.look().await, 1);
    assert!(second.wait().await.unwrap().share.is_some());
    assert!(budget.take(FREE_BYTES * 3).is_some());
}

#[tokio::test]
async fn others_get_their_turn_between_large_results() {
    let scratch = Scratch::new(&ByteBudget::new(usize::MAX));
    let tickets: Vec<_> =
        (1..=4).map(|number| scratch.answered(number, RESULT_TURN_BYTES, u64::MAX)).collect();
    let turns = async {
        let mut turns = 0;
        for _ in 0..tickets.len() {
            tokio::task::yield_now().await;
            turns += usize::from(!scratch.queue.park());
        }
        turns
    };
    // Without a pause all would have ended before the first turn.
    let (ended, turns) = tokio::join!(scratch.look(), turns);
    assert_eq!((ended, turns), (4, 3));
}
