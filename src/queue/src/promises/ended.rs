//! Told is only what stays.

use std::fs;

use ploinky_contract::TaskState;

use crate::disk::Step;
use crate::scratch::{Scratch, id, raw};
use crate::{Cancel, Claimed, Recorded, TaskError, code};

fn why(code: &str) -> TaskError {
    TaskError::new(code, "why")
}

#[test]
fn an_outcome_is_told_only_when_it_is_on_the_disk() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    queue.consumer.complete(&queue.claim(task), &raw("1")).unwrap();
    let faults = &queue.producer.directories.disk.faults;
    faults.fail(Step::Directory);
    assert!(!queue.producer.collect_durable(task).unwrap_err().is_fault_of_agent());
    faults.fail(Step::Directory);
    assert!(queue.producer.inspect(task).is_err());
    faults.fail(Step::Directory);
    assert!(queue.producer.list(&crate::Filter::default(), None, 9).is_err());
    assert_eq!(queue.kept_outcome(task).as_deref(), Some("1"));
    // From now on it is known.
    faults.fail(Step::Directory);
    assert_eq!(queue.kept_outcome(task).as_deref(), Some("1"));
    assert_eq!(queue.state(task), Some(TaskState::Done));
    assert_eq!(faults.left(), 1);
}

#[test]
fn a_run_whose_record_is_not_on_the_disk_keeps_its_lock() {
    for step in [Step::File, Step::Directory] {
        let queue = Scratch::new();
        let task = queue.accept_once(1);
        let claim = queue.claim(task);
        queue.consumer.directories.disk.faults.fail(step);
        assert!(queue.consumer.complete(&claim, &raw("1")).is_err());
        assert_eq!(queue.names("locks"), [task.as_str()]);
        let recorded = queue.consumer.complete(&claim, &raw("1")).unwrap();
        let expected = if step == Step::File { Recorded::Made } else { Recorded::AlreadySo };
        assert_eq!(recorded, expected);
        assert_eq!(queue.names("locks"), Vec::<String>::new());
        assert_eq!(queue.kept_outcome(task).as_deref(), Some("1"));
    }
}

#[test]
fn a_task_that_is_run_once_is_not_begun_before_its_lock_is_on_the_disk() {
    let queue = Scratch::new();
    let once = queue.accept_once(1);
    let again = queue.accept_retried(2, 2);
    let faults = &queue.consumer.directories.disk.faults;
    faults.fail(Step::Directory);
    // A first run may be repeated anyway.
    queue.claim(again);
    assert!(queue.consumer.claim(once).is_err());
    assert_eq!(faults.left(), 0);
    let Claimed::Ours(_claim) = queue.consumer.claim(once).unwrap() else { panic!() };
}

#[test]
fn the_first_record_is_the_outcome_whoever_made_it() {
    let queue = Scratch::new();
    let [late, done, failed] = [1, 2, 3].map(|number| queue.accept_once(number));
    let claim = queue.claim(late);
    queue.producer.give_up_durable(late, &why(code::DEADLINE)).unwrap();
    assert_eq!(queue.consumer.complete(&claim, &raw("1")).unwrap(), Recorded::AlreadySo);
    queue.consumer.complete(&queue.claim(done), &raw("2")).unwrap();
    queue.producer.give_up_durable(done, &why(code::DEADLINE)).unwrap();
    assert_eq!(queue.producer.cancel_durable(done, &why("X")).unwrap(), Cancel::Finished);
    queue.consumer.fail(&queue.claim(failed), &why(code::HANDLER_FAILED)).unwrap();
    queue.producer.give_up_durable(failed, &why(code::DEADLINE)).unwrap();
    let outcomes = [late, done, failed].map(|id| queue.kept_outcome(id).unwrap());
    assert_eq!(outcomes, ["DEADLINE: why", "2", "HANDLER_FAILED: why"]);
    assert_eq!(queue.names("errors"), Vec::<String>::new());
}

#[test]
fn an_error_of_the_first_protocol_cannot_be_contradicted() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let _claim = queue.claim(task);
    queue.put("errors", task.as_str(), &why("MINE").encode(task));
    queue.producer.give_up_durable(task, &why(code::DEADLINE)).unwrap();
    assert_eq!(queue.names("responses"), Vec::<String>::new());
    assert_eq!(queue.kept_outcome(task).as_deref(), Some("MINE: why"));
    // What the program does to its own file changes nothing any more.
    fs::remove_file(queue.path("errors", task.as_str())).unwrap();
    assert_eq!(queue.kept_outcome(task).as_deref(), Some("MINE: why"));
    assert!(queue.producer.remove(task).unwrap());
}

#[test]
fn a_cancelled_task_never_runs_and_is_kept() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    assert_eq!(
        queue.producer.cancel_durable(task, &why(code::CANCELLED)).unwrap(),
        Cancel::NeverStarted
    );
    assert_eq!(queue.names("locks"), Vec::<String>::new());
    assert!(matches!(queue.consumer.claim(task).unwrap(), Claimed::Not(_)));
    assert_eq!(queue.state(task), Some(TaskState::Cancelled));
    assert_eq!(queue.producer.cancel_durable(id(9), &why("X")).unwrap(), Cancel::Finished);
    assert_eq!(queue.names("locks"), Vec::<String>::new());
    assert_eq!(queue.names("responses"), [task.as_str()]);
}

#[test]
fn a_task_that_has_not_ended_is_not_removed_and_one_that_has_leaves_nothing() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    assert!(!queue.producer.remove(task).unwrap());
    let claim = queue.claim(task);
    queue.consumer.progress(task, &raw("{\"percent\":1}")).unwrap();
    assert!(!queue.producer.remove(task).unwrap());
    assert_eq!(queue.state(task), Some(TaskState::Running));
    queue.producer.cancel_durable(task, &why("X")).unwrap();
    queue.put("outputs", task.as_str(), b"x");
    let upload = queue.producer.stage_upload(task).unwrap();
    upload.create(0).unwrap();
    assert!(upload.publish_as(task, true).unwrap());
    queue.consumer.complete(&claim, &raw("1")).unwrap();
    queue.producer.directories.disk.faults.fail(Step::Directory);
    assert!(queue.producer.remove(task).is_err());
    // The outcome is there as long as the request may come back.
    assert_eq!(queue.names("responses"), [task.as_str()]);
    assert!(queue.producer.remove(task).unwrap());
    assert!(queue.producer.remove(task).unwrap());
    queue.assert_empty();
}

#[test]
fn a_lock_that_a_runner_holds_is_not_removed() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let claim = queue.claim(task);
    queue.producer.give_up_durable(task, &why(code::DEADLINE)).unwrap();
    assert!(queue.producer.remove(task).unwrap());
    assert_eq!(queue.names("locks"), [task.as_str()]);
    // It has no outcome any more, but no request either.
    queue.consumer.complete(&claim, &raw("1")).unwrap();
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}
