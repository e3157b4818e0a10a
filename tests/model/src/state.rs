//! Everything that can differ from one moment to the next.

use crate::entry::Entry;
use crate::rules::{Kind, Setting};

/// Records, as values of an [`Entry`].
pub(crate) mod record {
    pub(crate) const DONE: u8 = 1;
    pub(crate) const CANCELLED: u8 = 2;
    pub(crate) const DEADLINE: u8 = 3;
    pub(crate) const CRASHED: u8 = 4;
    pub(crate) const FAILED: u8 = 5;
    /// The value of the second task of the same key.
    pub(crate) const DONE_AGAIN: u8 = 6;
}

/// Whose lock it is, as values of an [`Entry`].
pub(crate) mod lock {
    pub(crate) const RUNNER: u8 = 1;
    pub(crate) const SERVER: u8 = 2;
}

/// The whole system.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct State {
    pub(crate) tasks: [Task; 2],
    /// Sorted: workers have no identity, and nothing is kept between two things that one does.
    pub(crate) workers: [Op; 2],
    pub(crate) runner: Runner,
    pub(crate) worker_kills: u8,
    pub(crate) runner_kills: u8,
    pub(crate) cuts: u8,
    pub(crate) faults: u8,
}

/// The files of one task, and its client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Task {
    /// 1 or 2: the first or the second task of this id.
    pub(crate) request: Entry,
    pub(crate) response: Entry,
    pub(crate) error: Entry,
    pub(crate) lock: Entry,
    /// Runs that failed.
    pub(crate) note: Entry,
    pub(crate) urgent: Entry,
    pub(crate) client: Client,
    /// Side effects of the first and of the second task of this id.
    pub(crate) runs: [u8; 2],
}

/// What the world outside knows and wants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Client {
    /// Which task of this id it is about: 1 or 2.
    pub(crate) turn: u8,
    pub(crate) submits: u8,
    pub(crate) cancels: u8,
    pub(crate) give_ups: u8,
    pub(crate) accepted: bool,
    pub(crate) removed: bool,
    /// The record it saw; 0 before.
    pub(crate) seen: u8,
    /// It saw something else later.
    pub(crate) contradicted: bool,
}

/// What a worker is about to do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Op {
    pub(crate) step: Step,
    pub(crate) task: u8,
}

/// The next system call of a worker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    Idle,
    ClearSync,
    ClearRest,
    ClearRecord,
    SyncCleared,
    Link,
    SyncRequests,
    TakeBackLock,
    TakeBack,
    TakeBackUnlock,
    CancelLook,
    CancelUnlock,
    CancelPublish,
    CancelAsk,
    GiveUp,
    SyncRecord,
    /// The record that was read, and whose it is.
    Deliver(u8, u8),
    RemoveRequest,
    RemoveSync,
    RemoveRecord,
    RemoveRest,
}

/// The process that serves the queue.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Runner {
    Dead,
    /// It looks at what the one before left of this task.
    Recovers(Run),
    /// Sorted as the workers are.
    Serves([Run; 2]),
}

/// What a runner thread is about to do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Run {
    pub(crate) step: RunStep,
    pub(crate) task: u8,
    /// Which task of this id was read.
    pub(crate) turn: u8,
}

/// The next system call of a runner thread.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum RunStep {
    Idle,
    Look,
    Read,
    /// The other order, if the rule is off.
    LateLook,
    SyncLocks,
    SyncRequests,
    Effect,
    Effected,
    Publish(u8),
    Note(u8),
    SyncRecord,
    Unlock,
}

impl Op {
    pub(crate) const IDLE: Self = Self { step: Step::Idle, task: 0 };
}

impl Run {
    pub(crate) const IDLE: Self = Self { step: RunStep::Idle, task: 0, turn: 0 };
}

impl Task {
    const NEW: Self = Self {
        request: Entry::ABSENT,
        response: Entry::ABSENT,
        error: Entry::ABSENT,
        lock: Entry::ABSENT,
        note: Entry::ABSENT,
        urgent: Entry::ABSENT,
        client: Client {
            turn: 1,
            submits: 0,
            cancels: 0,
            give_ups: 0,
            accepted: false,
            removed: false,
            seen: 0,
            contradicted: false,
        },
        runs: [0; 2],
    };

    pub(crate) fn has_record(&self) -> bool {
        self.response.is_there() || self.error.is_there()
    }

    /// The record that readers find.
    pub(crate) fn record(&self) -> u8 {
        if self.response.is_there() { self.response.now } else { self.error.now }
    }

    /// linkat: the first one wins.
    pub(crate) fn publish(&mut self, value: u8, one_name: bool) {
        let is_error = !matches!(value, record::DONE | record::DONE_AGAIN);
        let entry = if is_error && !one_name { &mut self.error } else { &mut self.response };
        if !entry.is_there() {
            entry.set(value);
        }
    }

    /// Whether the client may rely on an outcome.
    pub(crate) fn is_promised(&self) -> bool {
        self.client.accepted && !self.client.removed
    }
}

impl State {
    pub(crate) fn new(setting: &Setting) -> Self {
        Self {
            tasks: [Task::NEW; 2],
            workers: [Op::IDLE; 2],
            runner: Runner::Serves([Run::IDLE; 2]),
            worker_kills: setting.worker_kills,
            runner_kills: setting.runner_kills,
            cuts: setting.cuts,
            faults: setting.faults,
        }
    }

    pub(crate) fn sync_requests(&mut self) {
        self.tasks.iter_mut().for_each(|task| task.request.sync());
    }

    pub(crate) fn sync_records(&mut self) {
        for task in &mut self.tasks {
            task.response.sync();
            task.error.sync();
        }
    }

    pub(crate) fn sync_locks(&mut self) {
        for task in &mut self.tasks {
            task.lock.sync();
            task.note.sync();
        }
    }

    pub(crate) fn sync_urgent(&mut self) {
        self.tasks.iter_mut().for_each(|task| task.urgent.sync());
    }

    /// Whether a living runner holds the lock of a task or is about to remove it.
    pub(crate) fn is_held(&self, task: u8) -> bool {
        match self.runner {
            Runner::Dead => false,
            Runner::Recovers(run) => run.task == task && run.step != RunStep::Look,
            Runner::Serves(runs) => {
                runs.iter().any(|run| run.step != RunStep::Idle && run.task == task)
            }
        }
    }

    /// Whether a worker does something with a task.
    pub(crate) fn is_touched(&self, task: u8) -> bool {
        self.workers.iter().any(|op| op.step != Step::Idle && op.task == task)
    }
}

/// Attempts of a kind.
pub(crate) fn attempts(kind: Kind) -> u8 {
    match kind {
        Kind::Strict => 1,
        Kind::Retry(attempts) => attempts,
    }
}
