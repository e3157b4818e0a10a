//! Runs that fail, and the ones that follow.

use std::time::Duration;

use ploinky_contract::TaskState;

use crate::scratch::{Scratch, id, kept, raw};
use crate::{
    Cancel, Claimed, Consumer, NotClaimed, Recovered, TaskError, boottime_ns, code, parse_boot_id,
};

fn failed() -> TaskError {
    TaskError::new(code::HANDLER_FAILED, "exit 1")
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_failed_run_is_followed_by_the_next_one_after_its_wait() {
    let queue = Scratch::new();
    let mut request = kept(1, 3);
    request.terms.deadline_in_ns = Some(u64::MAX / 2);
    queue.accept(&request).unwrap();
    let task = request.id;
    let claim = queue.claim(task);
    assert_eq!((claim.attempt(), claim.is_last()), (1, false));
    queue.put("outputs", task.as_str(), b"half");
    queue.consumer.put_off(&claim, &failed(), HOUR).unwrap();
    let inspected = queue.producer.inspect(task).unwrap().unwrap();
    assert_eq!((inspected.state, inspected.attempt), (TaskState::Retrying, 1));
    assert_eq!(inspected.last_error.unwrap().message, "exit 1");
    let waiting = queue.consumer.waiting_task(task).unwrap().unwrap();
    assert!(boottime_ns() < waiting.not_before_boot_ns, "{waiting:?}");
    assert_eq!((waiting.failed, waiting.attempts), (1, 3));
    assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), []);
    let not = queue.consumer.claim(task).unwrap();
    assert!(matches!(not, Claimed::Not(NotClaimed::NotYet { .. })), "{not:?}");
    assert_eq!(queue.names("locks"), [format!("{task}.note")]);
    // On another boot the wait is void.
    let other_boot = parse_boot_id(&"7".repeat(32)).unwrap();
    let later = Consumer::open(&queue.path("", ""), other_boot).unwrap();
    assert_eq!(later.waiting(&|_| false).unwrap(), [task]);
    let Claimed::Ours(claim) = later.claim(task).unwrap() else { panic!("not claimed") };
    assert_eq!((claim.attempt(), claim.is_last()), (2, false));
    assert_eq!(queue.names("outputs"), Vec::<String>::new());
    later.put_off(&claim, &failed(), Duration::ZERO).unwrap();
    let claim = queue.claim(task);
    assert_eq!((claim.attempt(), claim.is_last()), (3, true));
    let running = queue.producer.inspect(task).unwrap().unwrap();
    assert_eq!((running.state, running.attempt), (TaskState::Running, 3));
    queue.consumer.fail(&claim, &failed()).unwrap();
    let dead = queue.producer.inspect(task).unwrap().unwrap();
    assert_eq!((dead.state, dead.attempt), (TaskState::Dead, 3));
    assert_eq!(dead.last_error.unwrap().code, "HANDLER_FAILED");
    assert_eq!(queue.kept_outcome(task).as_deref(), Some("HANDLER_FAILED: exit 1"));
    assert!(queue.producer.remove(task).unwrap());
    queue.assert_empty();
}

#[test]
fn what_is_given_back_was_never_run() {
    let queue = Scratch::new();
    let task = queue.accept_retried(1, 2);
    queue.consumer.give_back(&queue.claim(task)).unwrap();
    assert_eq!(queue.state(task), Some(TaskState::Queued));
    assert_eq!(queue.claim(task).attempt(), 1);
}

#[test]
fn a_wish_to_end_that_came_between_two_runs_is_heard() {
    let queue = Scratch::new();
    let task = queue.accept_retried(1, 3);
    let claim = queue.claim(task);
    assert_eq!(queue.producer.cancel_durable(task, &failed()).unwrap(), Cancel::Asked);
    queue.consumer.put_off(&claim, &failed(), Duration::ZERO).unwrap();
    assert!(matches!(queue.consumer.claim(task).unwrap(), Claimed::Not(NotClaimed::Stale)));
    assert_eq!(queue.state(task), Some(TaskState::Cancelled));
    // With the lock free the server ends it by itself.
    let other = queue.accept_retried(2, 3);
    queue.consumer.put_off(&queue.claim(other), &failed(), HOUR).unwrap();
    let why = TaskError::new(code::CANCELLED, "gone");
    assert_eq!(queue.producer.cancel_durable(other, &why).unwrap(), Cancel::NeverStarted);
    assert_eq!(queue.state(other), Some(TaskState::Cancelled));
}

#[test]
fn a_run_in_which_the_agent_died_is_a_failed_run() {
    let queue = Scratch::new();
    let [once, again, last, cancelled] =
        [(1, 1), (2, 2), (3, 2), (4, 2)].map(|(number, attempts)| {
            let task = queue.accept_retried(number, attempts);
            drop(queue.claim(task));
            task
        });
    queue.producer.cancel_durable(cancelled, &failed()).unwrap();
    let runner = queue.another_consumer();
    assert_eq!(runner.recover().unwrap(), Recovered { crashed: 4, released: 0, left: 0 });
    assert!(queue.kept_outcome(once).unwrap().starts_with("AGENT_CRASHED: "));
    assert_eq!(queue.state(once), Some(TaskState::Failed));
    assert_eq!(queue.state(again), Some(TaskState::Retrying));
    assert_eq!(queue.state(cancelled), Some(TaskState::Cancelled));
    assert_eq!(runner.note(again).unwrap().unwrap().error.code, code::AGENT_CRASHED);
    assert_eq!(queue.claim(again).attempt(), 2);
    drop(queue.claim(last));
    assert_eq!(runner.recover().unwrap().crashed, 2);
    for task in [again, last] {
        assert_eq!(queue.state(task), Some(TaskState::Dead));
        assert!(queue.kept_outcome(task).unwrap().starts_with("AGENT_CRASHED: "));
    }
    assert!(!queue.names("locks").iter().any(|name| name.len() == 32));
}

#[test]
fn recovery_that_cannot_write_keeps_the_lock() {
    use crate::disk::Step;
    for attempts in [1, 2] {
        let queue = Scratch::new();
        let task = queue.accept_retried(1, attempts);
        drop(queue.claim(task));
        let runner = queue.another_consumer();
        for step in [Step::File, Step::Directory] {
            runner.directories.disk.faults.fail(step);
            assert_eq!(runner.recover().unwrap(), Recovered { left: 1, ..Recovered::default() });
            assert!(queue.names("locks").contains(&task.to_string()));
        }
        runner.recover().unwrap();
        assert!(!queue.names("locks").contains(&task.to_string()));
    }
}

#[test]
fn a_record_beside_a_lock_is_on_the_disk_before_the_lock_goes() {
    use crate::disk::Step;
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let claim = queue.claim(task);
    queue.put("responses", task.as_str(), &crate::Outcome::encode_response(task, &raw("1")));
    drop(claim);
    let runner = queue.another_consumer();
    runner.directories.disk.faults.fail(Step::Directory);
    assert_eq!(runner.recover().unwrap(), Recovered { left: 1, ..Recovered::default() });
    assert_eq!(queue.names("locks"), [task.as_str()]);
    assert_eq!(runner.recover().unwrap(), Recovered { released: 1, ..Recovered::default() });
}

#[test]
fn a_lock_that_is_the_servers_means_that_the_task_was_cancelled() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let queue = Scratch::new();
    let task = queue.accept_retried(1, 3);
    let lock = queue.path("locks", task.as_str());
    std::fs::create_dir(&lock).unwrap();
    std::os::unix::fs::chown(&lock, Some(12345), None).unwrap();
    assert_eq!(queue.consumer.recover().unwrap().crashed, 1);
    assert_eq!(queue.state(task), Some(TaskState::Cancelled));
}

#[test]
fn the_deadline_is_the_end_of_all_runs_and_tells_the_last_error() {
    let queue = Scratch::new();
    let mut request = kept(1, 3);
    request.deadline_boot_ns = boottime_ns() + 300_000_000;
    queue.accept(&request).unwrap();
    queue.consumer.put_off(&queue.claim(id(1)), &failed(), Duration::ZERO).unwrap();
    while boottime_ns() < request.deadline_boot_ns {
        std::thread::yield_now();
    }
    assert!(matches!(queue.consumer.claim(id(1)).unwrap(), Claimed::Not(NotClaimed::Stale)));
    let outcome = queue.kept_outcome(id(1)).unwrap();
    assert!(outcome.starts_with("DEADLINE: ") && outcome.ends_with("exit 1"), "{outcome}");
    assert_eq!(queue.state(id(1)), Some(TaskState::Dead));
}

#[test]
fn one_run_ends_with_its_own_time_or_that_of_the_task() {
    let queue = Scratch::new();
    let mut request = kept(1, 2);
    request.terms.run_ns = Some(1_000_000_000);
    queue.accept(&request).unwrap();
    let claim = queue.claim(id(1));
    let now_ns = boottime_ns();
    assert_eq!(claim.run_deadline(now_ns), now_ns + 1_000_000_000);
    let late_ns = request.deadline_boot_ns - 1;
    assert_eq!(claim.run_deadline(late_ns), request.deadline_boot_ns);
}
