//! The steps of a worker that has begun something. `None` means that a step does not exist in this state.

use crate::rules::Setting;
use crate::state::{Op, State, Step, lock, record};

/// The next step of a worker; `fails` if the system call fails.
#[expect(clippy::too_many_lines, reason = "one arm per system call")]
pub(crate) fn step(setting: &Setting, state: &State, worker: usize, fails: bool) -> Option<State> {
    let mut next = *state;
    let Op { step, task } = *state.workers.get(worker)?;
    let is_held = state.is_held(task);
    let rules = &setting.rules;
    if fails {
        next.faults = next.faults.checked_sub(1)?;
    }
    let files = next.tasks.get_mut(usize::from(task))?;
    let turn = files.client.turn;
    let then = match (step, fails) {
        (Step::SyncRequests, true) => {
            if setting.is_keyed() && rules.keep_shared_request {
                Step::Idle
            } else if rules.lock_before_take_back {
                Step::TakeBackLock
            } else {
                Step::TakeBack
            }
        }
        // The lock stays.
        (Step::CancelPublish, true) => Step::Idle,
        (_, true) | (Step::Idle, false) => return None,
        (Step::ClearSync, false) => {
            if rules.sync_removed_request {
                next.sync_requests();
            }
            Step::ClearRest
        }
        (Step::ClearRest, false) => {
            if rules.probe_lock && is_held {
                // A runner has its hand on it: try again later.
                files.client.submits -= 1;
                Step::Idle
            } else {
                files.lock.set(0);
                files.note.set(0);
                files.urgent.set(0);
                Step::ClearRecord
            }
        }
        (Step::ClearRecord, false) => {
            files.response.set(0);
            files.error.set(0);
            if rules.sync_cleared { Step::SyncCleared } else { Step::Link }
        }
        (Step::SyncCleared, false) => {
            next.sync_records();
            next.sync_locks();
            next.sync_urgent();
            Step::Link
        }
        (Step::Link, false) => {
            if !files.request.is_there() {
                files.request.set(turn);
                files.client.accepted |= !rules.sync_before_202;
                Step::SyncRequests
            } else if files.request.now != turn {
                // Another body: 422.
                Step::Idle
            } else if rules.repeat_syncs {
                Step::SyncRequests
            } else {
                files.client.accepted = true;
                Step::Idle
            }
        }
        (Step::SyncRequests, false) => {
            files.client.accepted = true;
            next.sync_requests();
            Step::Idle
        }
        (Step::TakeBackLock, false) => {
            if files.lock.is_there() {
                Step::Idle
            } else {
                files.lock.set(lock::SERVER);
                Step::TakeBack
            }
        }
        (Step::TakeBack, false) => {
            files.request.set(0);
            Step::TakeBackUnlock
        }
        (Step::TakeBackUnlock | Step::CancelUnlock, false) => {
            if files.lock.now == lock::SERVER && !(rules.probe_lock && is_held) {
                files.lock.set(0);
            }
            Step::Idle
        }
        (Step::CancelLook, false) => {
            if files.has_record() {
                Step::CancelUnlock
            } else {
                Step::CancelPublish
            }
        }
        (Step::CancelPublish, false) => {
            files.publish(record::CANCELLED, rules.one_name);
            Step::SyncRecord
        }
        (Step::CancelAsk, false) => {
            if !files.has_record() {
                files.urgent.set(1);
            }
            Step::Idle
        }
        (Step::GiveUp, false) => {
            files.publish(record::DEADLINE, rules.one_name);
            Step::SyncRecord
        }
        (Step::SyncRecord, false) => {
            next.sync_records();
            Step::Idle
        }
        (Step::Deliver(found, asked), false) => {
            let client = &mut files.client;
            if client.turn == asked && !client.removed {
                client.contradicted |= client.seen != 0 && client.seen != found;
                client.seen = found;
            }
            if rules.sync_before_delivery {
                next.sync_records();
            }
            Step::Idle
        }
        (Step::RemoveRequest, false) => {
            files.request.set(0);
            match (rules.request_removed_first, rules.sync_removed_request) {
                (true, true) => Step::RemoveSync,
                (true, false) => Step::RemoveRecord,
                (false, _) => Step::RemoveRest,
            }
        }
        (Step::RemoveSync, false) => {
            next.sync_requests();
            Step::RemoveRecord
        }
        (Step::RemoveRecord, false) => {
            files.response.set(0);
            files.error.set(0);
            if rules.request_removed_first { Step::RemoveRest } else { Step::RemoveRequest }
        }
        (Step::RemoveRest, false) => {
            files.urgent.set(0);
            files.note.set(0);
            if !(rules.probe_lock && is_held) {
                files.lock.set(0);
            }
            Step::Idle
        }
    };
    let op = if then == Step::Idle { Op::IDLE } else { Op { step: then, task } };
    *next.workers.get_mut(worker)? = op;
    Some(next)
}
