//! Two parties want different things at the same time; each test lets them run into each other many times.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ploinky_contract::{TaskId, TaskState};

use crate::scratch::{Scratch, keyed, raw};
use crate::{Accepted, Cancel, Claimed, SubmitError, TaskError, code};

const ROUNDS: u8 = 60;

fn why(code: &str) -> TaskError {
    TaskError::new(code, "why")
}

/// Runs both at once.
fn race<A: Send, B: Send>(
    left: impl FnOnce() -> A + Send,
    right: impl FnOnce() -> B + Send,
) -> (A, B) {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            start.wait();
            right()
        });
        start.wait();
        let left = left();
        (left, other.join().unwrap())
    })
}

#[test]
fn give_up_against_complete_leaves_one_outcome_that_never_changes() {
    let queue = Scratch::new();
    let other = queue.another_producer();
    for number in 0..ROUNDS {
        let task = queue.accept_once(number);
        let claim = queue.claim(task);
        let seen = || loop {
            if let Some(outcome) = queue.kept_outcome(task) {
                return outcome;
            }
        };
        let ((), first) = race(
            || {
                race(
                    || queue.consumer.complete(&claim, &raw("1")).unwrap(),
                    || other.give_up_durable(task, &why(code::DEADLINE)).unwrap(),
                );
            },
            seen,
        );
        assert_eq!(queue.kept_outcome(task), Some(first));
        assert_eq!(queue.names("errors"), Vec::<String>::new());
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }
}

#[test]
fn cancel_against_claim_is_either_never_run_or_asked() {
    let queue = Scratch::new();
    for number in 0..ROUNDS {
        let task = queue.accept_once(number);
        let (cancel, claimed) = race(
            || queue.producer.cancel_durable(task, &why(code::CANCELLED)).unwrap(),
            || queue.consumer.claim(task).unwrap(),
        );
        match (cancel, claimed) {
            (Cancel::Asked, Claimed::Ours(claim)) => {
                assert!(queue.names("urgent").contains(&task.to_string()));
                queue.consumer.complete(&claim, &raw("1")).unwrap();
                assert_eq!(queue.state(task), Some(TaskState::Done));
            }
            // It was cancelled first, or the claim heard the wish.
            (_, Claimed::Not(_)) => {
                assert_eq!(queue.state(task), Some(TaskState::Cancelled));
            }
            (cancel, claimed) => panic!("{cancel:?} {claimed:?}"),
        }
    }
}

#[test]
fn remove_against_a_look_is_either_there_or_gone() {
    let queue = Scratch::new();
    let other = queue.another_producer();
    for number in 0..ROUNDS {
        let task = queue.accept_once(number);
        queue.consumer.complete(&queue.claim(task), &raw("1")).unwrap();
        let (removed, state) = race(
            || other.remove(task).unwrap(),
            || queue.producer.inspect(task).unwrap().map(|task| task.state),
        );
        assert!(removed);
        assert!(matches!(state, None | Some(TaskState::Done)), "{state:?}");
        assert_eq!(queue.producer.inspect(task).unwrap().map(|task| task.state), None);
    }
    queue.assert_empty();
}

#[test]
fn two_removals_leave_nothing() {
    let queue = Scratch::new();
    let other = queue.another_producer();
    for number in 0..ROUNDS {
        let task = queue.accept_once(number);
        queue.producer.give_up_durable(task, &why("X")).unwrap();
        let removed = race(|| queue.producer.remove(task).unwrap(), || other.remove(task).unwrap());
        assert!(removed.0 || removed.1, "{removed:?}");
    }
    queue.assert_empty();
}

#[test]
fn put_off_against_cancel_ends_the_task() {
    let queue = Scratch::new();
    for number in 0..ROUNDS {
        let task = queue.accept_retried(number, 5);
        let claim = queue.claim(task);
        race(
            || queue.consumer.put_off(&claim, &why("X"), Duration::ZERO).unwrap(),
            || queue.producer.cancel_durable(task, &why(code::CANCELLED)).unwrap(),
        );
        // Either it is over, or the next claim hears the wish.
        assert!(matches!(queue.consumer.claim(task).unwrap(), Claimed::Not(_)));
        assert_eq!(queue.state(task), Some(TaskState::Cancelled));
    }
}

#[test]
fn a_repeat_of_a_key_is_one_task() {
    let queue = Scratch::new();
    let other = queue.another_producer();
    for number in 0..ROUNDS {
        let request = keyed(number);
        let once = || queue.accept(&request).unwrap();
        let again = || other.submit_durable(std::slice::from_ref(&request)).remove(0).unwrap();
        let accepted = race(once, again);
        assert!(
            matches!(
                accepted,
                (Accepted::New, Accepted::Exists) | (Accepted::Exists, Accepted::New)
            ),
            "{accepted:?}"
        );
    }
}

#[test]
fn a_key_that_comes_back_again_and_again_is_run_once_for_each_task() {
    const TASKS: u32 = 40;
    let queue = Scratch::new();
    let other = queue.another_producer();
    let request = keyed(1);
    let task: TaskId = request.id;
    let (made, runs) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while made.load(Ordering::SeqCst) < TASKS {
                match queue.accept(&request) {
                    Ok(Accepted::New) => {
                        made.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(Accepted::Exists) | Err(SubmitError::BeingRemoved { .. }) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        });
        scope.spawn(|| {
            while runs.load(Ordering::SeqCst) < TASKS {
                if let Claimed::Ours(claim) = queue.consumer.claim(task).unwrap() {
                    let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(run <= made.load(Ordering::SeqCst) + 1, "run {run} has no task");
                    queue.consumer.complete(&claim, &raw(&run.to_string())).unwrap();
                }
            }
        });
        for producer in [&other, &queue.producer] {
            scope.spawn(|| {
                while runs.load(Ordering::SeqCst) < TASKS {
                    producer.remove(task).unwrap();
                }
            });
        }
    });
    assert_eq!((made.into_inner(), runs.into_inner()), (TASKS, TASKS));
}
