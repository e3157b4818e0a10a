//! What an idle worker may begin. `None` means that it cannot in this state.

use crate::rules::Setting;
use crate::state::{Client, Op, State, Step, lock};

/// What a worker may begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begin {
    Submit,
    Cancel,
    /// The janitor finds a lock of the server that says "cancelled", and no record.
    Reap,
    GiveUp,
    Get,
    Remove,
}

impl Begin {
    pub(crate) const EACH: [Self; 6] =
        [Self::Submit, Self::Cancel, Self::Reap, Self::GiveUp, Self::Get, Self::Remove];
}

/// Whether a worker holds the guard of the id for itself, to make a task.
fn makes(op: Op, task: u8) -> bool {
    op.task == task
        && matches!(
            op.step,
            Step::ClearSync | Step::ClearRest | Step::ClearRecord | Step::SyncCleared | Step::Link
        )
}

/// Whether a worker shares the guard of the id, to end or remove a task.
fn touches(op: Op, task: u8) -> bool {
    op.task == task
        && !makes(op, task)
        && !matches!(op.step, Step::Idle | Step::SyncRequests | Step::Deliver(..))
}

/// An idle worker begins something with `task`.
pub(crate) fn begin(setting: &Setting, state: &State, task: u8, what: Begin) -> Option<State> {
    let (mut next, index) = (*state, usize::from(task));
    let files = next.tasks.get_mut(index)?;
    let guard = setting.rules.guard && setting.is_keyed();
    let is_made = guard && state.workers.iter().any(|op| makes(*op, task));
    let is_touched = guard && state.workers.iter().any(|op| touches(*op, task));
    let step = match what {
        Begin::Submit => {
            let client = &mut files.client;
            if setting.reuse && client.turn == 1 && client.removed && !files.request.is_there() {
                let (cancels, give_ups) = (0, 0);
                *client = Client { turn: 2, submits: 0, cancels, give_ups, seen: 0, ..*client };
                client.accepted = false;
                client.removed = false;
            }
            if setting.submits <= client.submits || client.removed || is_made || is_touched {
                return None;
            }
            client.submits += 1;
            let is_new = setting.is_keyed() && !files.request.is_there();
            let remains = files.has_record()
                || [files.lock, files.note, files.urgent].iter().any(|entry| entry.is_there());
            if is_new && setting.rules.clear_remains && remains {
                Step::ClearSync
            } else if is_new && setting.rules.sync_cleared {
                Step::SyncCleared
            } else {
                Step::Link
            }
        }
        Begin::Cancel => {
            let Client { accepted, removed, cancels, .. } = files.client;
            if !accepted
                || removed
                || setting.cancels <= cancels
                || !files.request.is_there()
                || is_made
            {
                return None;
            }
            files.client.cancels += 1;
            if files.lock.is_there() {
                Step::CancelAsk
            } else {
                files.lock.set(lock::SERVER);
                Step::CancelLook
            }
        }
        Begin::Reap => {
            let is_due = setting.rules.server_lock_is_cancel
                && files.lock.now == lock::SERVER
                && files.request.is_there()
                && !files.has_record();
            if !is_due || is_made || state.is_touched(task) {
                return None;
            }
            Step::CancelPublish
        }
        Begin::GiveUp => {
            let is_open = files.request.is_there() && !files.has_record();
            if !is_open || setting.give_ups <= files.client.give_ups || is_made {
                return None;
            }
            files.client.give_ups += 1;
            Step::GiveUp
        }
        Begin::Get => {
            let found = files.record();
            if !files.is_promised() || found == files.client.seen {
                return None;
            }
            if found == 0 {
                files.client.contradicted = true;
                return Some(next);
            }
            Step::Deliver(found, files.client.turn)
        }
        Begin::Remove => {
            let may = setting.removes && (files.client.seen != 0 || files.client.removed);
            let submits = state
                .workers
                .iter()
                .any(|op| makes(*op, task) || (op.step == Step::SyncRequests && op.task == task));
            if !may
                || submits
                || !files.request.is_there()
                || files.request.now != files.client.turn
            {
                return None;
            }
            files.client.removed = true;
            if setting.rules.request_removed_first {
                Step::RemoveRequest
            } else {
                Step::RemoveRecord
            }
        }
    };
    *next.workers.first_mut()? = Op { step, task };
    Some(next)
}
