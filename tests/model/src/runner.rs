//! The steps of agent-core. `None` means that a step does not exist in this state.

use crate::rules::{Kind, Rules, Setting};
use crate::state::{Run, RunStep, Runner, State, Task, attempts, lock, record};

/// How a run may end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Well,
    Badly,
    /// The client wanted it.
    Asked,
    /// Not the run, but the system call of this step fails.
    Fault,
}

impl End {
    pub(crate) const EACH: [Self; 4] = [Self::Well, Self::Badly, Self::Asked, Self::Fault];
}

/// An idle thread takes the lock of a task. It may have listed the inbox long ago.
pub(crate) fn claim(setting: &Setting, state: &State, task: u8) -> Option<State> {
    let mut next = *state;
    let Runner::Serves(mut runs) = state.runner else { return None };
    let busy = runs.iter().filter(|run| run.step != RunStep::Idle).count();
    let files = next.tasks.get_mut(usize::from(task))?;
    let is_mine = runs.iter().any(|run| run.step != RunStep::Idle && run.task == task);
    if setting.threads <= busy || is_mine || files.lock.is_there() || files.client.submits == 0 {
        return None;
    }
    files.lock.set(lock::RUNNER);
    let step = if setting.rules.record_before_request { RunStep::Look } else { RunStep::Read };
    *runs.first_mut()? = Run { step, task, turn: 0 };
    next.runner = Runner::Serves(runs);
    Some(next)
}

/// The next step of a thread.
pub(crate) fn step(
    setting: &Setting,
    kind: Kind,
    state: &State,
    thread: usize,
    end: End,
) -> Option<State> {
    let mut next = *state;
    let Runner::Serves(mut runs) = state.runner else { return None };
    let run = runs.get_mut(thread)?;
    let rules = &setting.rules;
    let files = next.tasks.get_mut(usize::from(run.task))?;
    if end != End::Well && !may_end(rules, kind, run.step, files, end) {
        return None;
    }
    if end == End::Fault {
        next.faults = next.faults.checked_sub(1)?;
    }
    run.step = match run.step {
        RunStep::Idle => return None,
        RunStep::Look | RunStep::LateLook if files.has_record() => RunStep::Unlock,
        RunStep::Look => RunStep::Read,
        RunStep::Read => {
            run.turn = files.request.now;
            if !files.request.is_there() {
                RunStep::Unlock
            } else if rules.record_before_request {
                before_effect(rules, kind, files)
            } else {
                RunStep::LateLook
            }
        }
        RunStep::LateLook => before_effect(rules, kind, files),
        RunStep::SyncLocks => {
            next.sync_locks();
            if setting.is_keyed() && rules.sync_request_before_run {
                RunStep::SyncRequests
            } else {
                RunStep::Effect
            }
        }
        RunStep::SyncRequests => {
            next.sync_requests();
            RunStep::Effect
        }
        RunStep::Effect => {
            let runs = files.runs.get_mut(usize::from(run.turn.checked_sub(1)?))?;
            *runs = (*runs + 1).min(7);
            RunStep::Effected
        }
        RunStep::Effected => match end {
            End::Asked => RunStep::Publish(record::CANCELLED),
            End::Badly => failed(kind, files, record::FAILED),
            End::Well if run.turn == 2 => RunStep::Publish(record::DONE_AGAIN),
            End::Well => RunStep::Publish(record::DONE),
            End::Fault => return None,
        },
        step @ (RunStep::Publish(_) | RunStep::Note(_) | RunStep::SyncRecord | RunStep::Unlock) => {
            finish(rules, step, end, &mut next, run.task)
        }
    };
    if run.step == RunStep::Idle {
        *run = Run::IDLE;
    }
    next.runner = Runner::Serves(runs);
    Some(next)
}

/// The steps that threads and recovery have in common.
fn finish(rules: &Rules, step: RunStep, end: End, next: &mut State, task: u8) -> RunStep {
    let Some(files) = next.tasks.get_mut(usize::from(task)) else { return RunStep::Idle };
    match step {
        RunStep::Publish(_) if end == End::Fault => RunStep::Unlock,
        RunStep::Publish(value) => {
            files.publish(value, rules.one_name);
            if rules.sync_before_unlock { RunStep::SyncRecord } else { RunStep::Unlock }
        }
        RunStep::SyncRecord => {
            next.sync_records();
            RunStep::Unlock
        }
        RunStep::Note(failed) => {
            files.note.set(failed);
            RunStep::Unlock
        }
        RunStep::Unlock => {
            // A lock of the server cannot be removed by the agent.
            if files.lock.now == lock::RUNNER {
                files.lock.set(0);
            }
            RunStep::Idle
        }
        RunStep::Idle
        | RunStep::Look
        | RunStep::Read
        | RunStep::LateLook
        | RunStep::SyncLocks
        | RunStep::SyncRequests
        | RunStep::Effect
        | RunStep::Effected => RunStep::Idle,
    }
}

fn may_end(rules: &Rules, kind: Kind, step: RunStep, files: &Task, end: End) -> bool {
    match (end, step) {
        (End::Badly, RunStep::Effected) => kind != Kind::Strict,
        (End::Asked, RunStep::Effected) => files.urgent.is_there(),
        // Where the rule holds the thread tries until it succeeds, which changes nothing.
        (End::Fault, RunStep::Publish(_)) => !rules.keep_lock_without_record,
        _ => false,
    }
}

fn before_effect(rules: &Rules, kind: Kind, files: &Task) -> RunStep {
    if files.urgent.is_there() {
        return RunStep::Publish(record::CANCELLED);
    }
    let syncs = match kind {
        Kind::Strict => rules.sync_lock_before_run,
        Kind::Retry(_) => rules.sync_note_before_run && files.note.is_there(),
    };
    if syncs { RunStep::SyncLocks } else { RunStep::Effect }
}

/// One more run has failed: a note, or the end.
fn failed(kind: Kind, files: &Task, last: u8) -> RunStep {
    let runs = files.note.now + 1;
    if runs < attempts(kind) { RunStep::Note(runs) } else { RunStep::Publish(last) }
}

/// A new runner starts; the one before is dead.
pub(crate) fn start(state: &State) -> Option<State> {
    let begin = Run { step: RunStep::Look, task: 0, turn: 0 };
    (state.runner == Runner::Dead).then_some(State { runner: Runner::Recovers(begin), ..*state })
}

/// The next step of its recovery.
pub(crate) fn recover(setting: &Setting, state: &State, fails: bool) -> Option<State> {
    let mut next = *state;
    let Runner::Recovers(mut run) = state.runner else { return None };
    let rules = &setting.rules;
    let end = if fails { End::Fault } else { End::Well };
    let kind = setting.kinds().nth(usize::from(run.task))?;
    let files = next.tasks.get_mut(usize::from(run.task))?;
    if fails {
        if !may_end(rules, kind, run.step, files, end) {
            return None;
        }
        next.faults = next.faults.checked_sub(1)?;
    }
    run.step = if run.step == RunStep::Look {
        inherited(rules, kind, files)
    } else {
        finish(rules, run.step, end, &mut next, run.task)
    };
    if run.step == RunStep::Idle {
        run = Run { step: RunStep::Look, task: run.task + 1, turn: 0 };
    }
    next.runner = if usize::from(run.task) < setting.kinds().count() {
        Runner::Recovers(run)
    } else {
        Runner::Serves([Run::IDLE; 2])
    };
    Some(next)
}

/// What recovery does about one lock.
fn inherited(rules: &Rules, kind: Kind, files: &Task) -> RunStep {
    let is_cancel = rules.server_lock_is_cancel && files.lock.now == lock::SERVER;
    if !files.lock.is_there() {
        RunStep::Idle
    } else if files.has_record() {
        if rules.recovery_syncs_before_unlock { RunStep::SyncRecord } else { RunStep::Unlock }
    } else if !files.request.is_there() {
        RunStep::Unlock
    } else if is_cancel || files.urgent.is_there() {
        RunStep::Publish(record::CANCELLED)
    } else {
        failed(kind, files, record::CRASHED)
    }
}
