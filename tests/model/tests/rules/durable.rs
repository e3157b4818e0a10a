//! The lane on the disk.

use ploinky_model::{Durable, Kind, Rules, Setting};

use crate::{breaks, holds};

/// One task in a world where everything happens twice.
const WORLD: Setting = Setting {
    worker_kills: 2,
    runner_kills: 2,
    cuts: 2,
    cancels: 1,
    give_ups: 1,
    removes: true,
    ..Setting::of(Kind::Strict)
};
/// The same for a task with two attempts.
const RETRIED: Setting = Setting { kinds: (Kind::Retry(2), None), ..WORLD };
/// System calls of the server may fail.
const FAULTY: Setting = Setting { faults: 2, cuts: 1, ..WORLD };
/// A client that sends a key, repeats its submit, and uses the key again after the removal.
const KEYED: Setting =
    Setting { submits: 2, reuse: true, worker_kills: 1, runner_kills: 1, faults: 1, ..FAULTY };

const LOST: &str = "an accepted task is there or has an outcome";
const STUCK: &str = "an accepted task is never stuck";
const TWO: &str = "a client never sees two outcomes";
const FOREIGN: &str = "a client sees the outcome of its own task";
const TWICE: &str = "no task runs too often";

fn durable(setting: Setting) -> Durable {
    Durable { setting }
}

#[test]
fn a_strict_task() {
    holds("a strict task", durable(WORLD));
}

#[test]
fn a_task_with_two_attempts() {
    holds("a task with two attempts", durable(RETRIED));
}

#[test]
fn a_strict_task_and_calls_that_fail() {
    holds("a strict task, calls that fail", durable(FAULTY));
}

#[test]
fn a_strict_task_with_a_key_that_is_used_again() {
    holds("a strict task with a key", durable(KEYED));
}

#[test]
fn two_tasks_of_both_kinds() {
    let kinds = (Kind::Strict, Some(Kind::Retry(2)));
    let (cuts, runner_kills, give_ups) = (1, 1, 1);
    let none = Setting::of(Kind::Strict);
    let both = Setting { kinds, threads: 2, cuts, runner_kills, give_ups, ..none };
    holds("a strict task and one with two attempts, two threads", durable(both));
}

type Off = (&'static str, Setting, fn(&mut Rules), &'static str);

#[test]
fn without_any_rule_of_the_lane_on_the_disk_a_promise_breaks() {
    let calm = Setting { cancels: 0, ..WORLD };
    let faulty = Setting { cancels: 0, ..FAULTY };
    let keyed = Setting { cancels: 0, ..KEYED };
    let off: [Off; 21] = [
        ("sync_before_202", calm, |r| r.sync_before_202 = false, LOST),
        ("repeat_syncs", keyed, |r| r.repeat_syncs = false, LOST),
        ("keep_shared_request", keyed, |r| r.keep_shared_request = false, LOST),
        ("lock_before_take_back", faulty, |r| r.lock_before_take_back = false, TWICE),
        ("sync_request_before_run", keyed, |r| r.sync_request_before_run = false, TWICE),
        ("sync_lock_before_run", calm, |r| r.sync_lock_before_run = false, TWICE),
        ("sync_note_before_run", RETRIED, |r| r.sync_note_before_run = false, TWICE),
        ("sync_before_delivery", calm, |r| r.sync_before_delivery = false, TWO),
        ("sync_before_unlock", calm, |r| r.sync_before_unlock = false, TWICE),
        ("recovery_syncs_before_unlock", calm, |r| r.recovery_syncs_before_unlock = false, TWICE),
        ("keep_lock_without_record", faulty, |r| r.keep_lock_without_record = false, TWICE),
        ("one_name", calm, |r| r.one_name = false, TWO),
        ("record_before_request", calm, |r| r.record_before_request = false, TWICE),
        ("request_removed_first", calm, |r| r.request_removed_first = false, TWICE),
        ("sync_removed_request", calm, |r| r.sync_removed_request = false, TWICE),
        ("server_lock_is_cancel", WORLD, |r| r.server_lock_is_cancel = false, STUCK),
        ("guard", keyed, |r| r.guard = false, TWO),
        ("clear_remains", keyed, |r| r.clear_remains = false, FOREIGN),
        ("sync_cleared", keyed, |r| r.sync_cleared = false, FOREIGN),
        ("probe_lock", keyed, |r| r.probe_lock = false, TWICE),
        ("sync_removed_request of a key", keyed, |r| r.sync_removed_request = false, TWICE),
    ];
    for (name, mut setting, off, property) in off {
        off(&mut setting.rules);
        breaks(name, durable(setting), property);
    }
}
