//! What an agent does with plain calls.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::boottime_ns;
use crate::scratch::{Scratch, id, raw, request};

#[test]
fn a_task_is_claimed_once() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let _claim = queue.claim(id);
    let other = queue.another_consumer();
    assert!(matches!(other.claim(id).unwrap(), Claimed::Not(NotClaimed::Taken)));
    assert_eq!(other.waiting(&|_| false).unwrap(), []);
}

#[test]
fn of_many_runners_racing_each_task_is_run_by_one() {
    let queue = Scratch::new();
    let ids: Vec<TaskId> = (0..200).map(|number| queue.submit(number)).collect();
    let runs = Mutex::new(BTreeMap::<TaskId, u32>::new());
    std::thread::scope(|scope| {
        for start in [0, 50, 100, 150] {
            let (queue, ids, runs) = (&queue, &ids, &runs);
            scope.spawn(move || {
                let consumer = queue.another_consumer();
                for index in 0..ids.len() {
                    let id = ids[(start + index) % ids.len()];
                    if let Claimed::Ours(claim) = consumer.claim(id).unwrap() {
                        *runs.lock().unwrap().entry(id).or_default() += 1;
                        consumer.complete(&claim, &raw("1")).unwrap();
                    }
                }
            });
        }
    });
    let expected: BTreeMap<TaskId, u32> = ids.iter().map(|id| (*id, 1)).collect();
    assert_eq!(runs.into_inner().unwrap(), expected);
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}

#[test]
fn tasks_of_another_boot_or_past_their_time_are_not_run() {
    let queue = Scratch::new();
    let mut old = request(1);
    old.boot_id = "f".repeat(32);
    queue.producer.submit(&old).unwrap();
    let mut late = request(2);
    late.deadline_boot_ns = boottime_ns();
    queue.producer.submit(&late).unwrap();
    for id in [old.id, late.id] {
        assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(NotClaimed::Stale)));
    }
    assert!(queue.outcome(old.id).unwrap().starts_with("CANCELLED: "));
    assert!(queue.outcome(late.id).unwrap().starts_with("DEADLINE: "));
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}

#[test]
fn what_is_no_request_is_not_run() {
    let queue = Scratch::new();
    for (number, text) in [(1, ""), (2, "{}"), (3, "{\"v\":1")] {
        let path = queue.path("requests", id(number).as_str());
        std::fs::File::create(path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .unwrap();
    }
    let moved = queue.path("requests", id(5).as_str());
    queue.submit(4);
    std::fs::copy(queue.path("requests", id(4).as_str()), moved).unwrap();
    let listed = queue.consumer.waiting(&|_| false).unwrap();
    assert_eq!(listed, [4, 1, 2, 3, 5].map(id));
    for number in [1, 2, 3, 5] {
        let claimed = queue.consumer.claim(id(number)).unwrap();
        assert!(matches!(claimed, Claimed::Not(NotClaimed::Unreadable(_))), "{claimed:?}");
        // Who waits is told.
        assert!(queue.outcome(id(number)).unwrap().starts_with("INVALID_PARAMS: the request"));
    }
    assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), [id(4)]);
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}

#[test]
fn a_listing_from_before_the_end_starts_nothing() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let listed = queue.consumer.waiting(&|_| false).unwrap();
    queue.consumer.complete(&queue.claim(id), &raw("1")).unwrap();
    for id in &listed {
        assert!(matches!(queue.consumer.claim(*id).unwrap(), Claimed::Not(NotClaimed::Taken)));
    }
    queue.producer.clean(id).unwrap();
    assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(NotClaimed::Taken)));
    assert_eq!((listed, queue.names("locks")), (vec![id], Vec::new()));
}

#[test]
fn waiting_tasks_come_in_the_order_of_submission() {
    let queue = Scratch::new();
    let numbers = [9_u8, 3, 7, 1, 8];
    let expected: Vec<TaskId> = numbers.iter().map(|number| queue.submit(*number)).collect();
    assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), expected);
    assert_eq!(queue.consumer.waiting(&|known| known != id(7)).unwrap(), [id(7)]);
}

#[test]
fn a_value_that_is_too_long_becomes_an_error() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let claim = queue.claim(id);
    let value = raw(&format!("\"{}\"", "x".repeat(RESULT_MAX_BYTES)));
    queue.consumer.complete(&claim, &value).unwrap();
    assert!(queue.outcome(id).unwrap().starts_with("RESULT_TOO_LARGE: "));
}
