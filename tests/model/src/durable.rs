//! The lane on the disk as one model.

use stateright::{Model, Property};

use crate::begin::{Begin, begin};
use crate::rules::{Kind, Setting};
use crate::runner::{self, End};
use crate::server;
use crate::state::{Op, Run, RunStep, Runner, State, Step, Task, attempts, lock, record};

/// The model of one setting.
#[derive(Clone, Copy, Debug)]
pub struct Durable {
    /// What is checked.
    pub setting: Setting,
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(private_interfaces, reason = "only printed")]
pub enum Who {
    /// An idle worker begins something with a task.
    Begin(u8, Begin),
    /// A worker goes on; `true`: its system call fails.
    Worker(usize, bool),
    /// A thread of the runner takes the lock of a task.
    Claim(u8),
    /// A thread of the runner goes on.
    Thread(usize, End),
    /// Recovery goes on; `true`: its system call fails.
    Recover(bool),
    /// A new runner starts.
    StartRunner,
    /// SIGKILL of a worker.
    KillWorker(usize),
    /// SIGKILL of the runner.
    KillRunner,
    /// The power fails; the number says which of the values that may be on the disk are.
    PowerCut(u32),
}

impl Model for Durable {
    type State = State;
    type Action = Who;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.setting)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Who>) {
        let tasks = self.setting.kinds().count();
        if state.workers.first().is_some_and(|op| op.step == Step::Idle) {
            for task in 0..u8::try_from(tasks).unwrap_or(u8::MAX) {
                actions.extend(Begin::EACH.map(|begin| Who::Begin(task, begin)));
            }
        }
        for (worker, op) in state.workers.iter().enumerate() {
            if op.step != Step::Idle {
                actions.push(Who::Worker(worker, false));
                if 0 < state.faults {
                    actions.push(Who::Worker(worker, true));
                }
                if 0 < state.worker_kills {
                    actions.push(Who::KillWorker(worker));
                }
            }
        }
        match state.runner {
            Runner::Dead => actions.push(Who::StartRunner),
            Runner::Recovers(_) => actions.extend([Who::Recover(false), Who::Recover(true)]),
            Runner::Serves(runs) => {
                for task in 0..u8::try_from(tasks).unwrap_or(u8::MAX) {
                    actions.push(Who::Claim(task));
                }
                for (thread, run) in runs.iter().enumerate() {
                    if run.step != RunStep::Idle {
                        actions.extend(End::EACH.map(|end| Who::Thread(thread, end)));
                    }
                }
            }
        }
        if 0 < state.runner_kills && state.runner != Runner::Dead {
            actions.push(Who::KillRunner);
        }
        if 0 < state.cuts {
            actions.extend((0..ways_to_cut(state)).map(Who::PowerCut));
        }
    }

    fn next_state(&self, state: &State, who: Who) -> Option<State> {
        let setting = &self.setting;
        let mut next = match who {
            Who::Begin(task, what) => begin(setting, state, task, what)?,
            Who::Worker(worker, fails) => server::step(setting, state, worker, fails)?,
            Who::Claim(task) => runner::claim(setting, state, task)?,
            Who::Thread(thread, end) => {
                let Runner::Serves(runs) = state.runner else { return None };
                let kind = setting.kinds().nth(usize::from(runs.get(thread)?.task))?;
                runner::step(setting, kind, state, thread, end)?
            }
            Who::Recover(fails) => runner::recover(setting, state, fails)?,
            Who::StartRunner => runner::start(state)?,
            Who::KillWorker(worker) => {
                let mut next = *state;
                next.worker_kills -= 1;
                *next.workers.get_mut(worker)? = Op::IDLE;
                next
            }
            Who::KillRunner if state.runner == Runner::Serves([Run::IDLE; 2]) => return None,
            Who::KillRunner => {
                State { runner: Runner::Dead, runner_kills: state.runner_kills - 1, ..*state }
            }
            Who::PowerCut(way) => cut(state, way),
        };
        next.workers.sort_unstable();
        if let Runner::Serves(runs) = &mut next.runner {
            runs.sort_unstable();
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an accepted task is there or has an outcome", |_, state: &State| {
                promised(state)
                    .all(|task| task.has_record() || task.request.now == task.client.turn)
            }),
            Property::always("an accepted task is never stuck", |model: &Self, state: &State| {
                let mut tasks = 0_u8..2;
                tasks.all(|task| !is_stuck(model, state, task))
            }),
            Property::always("a client never sees two outcomes", |_, state: &State| {
                state.tasks.iter().all(|task| !task.client.contradicted)
            }),
            Property::always("a client sees the outcome of its own task", |_, state: &State| {
                state.tasks.iter().all(|task| match task.client.seen {
                    record::DONE => task.client.turn == 1,
                    record::DONE_AGAIN => task.client.turn == 2,
                    _ => true,
                })
            }),
            Property::always("no task runs too often", |model: &Self, state: &State| {
                let cuts = model.setting.cuts - state.cuts;
                model.setting.kinds().zip(state.tasks).all(|(kind, task)| {
                    let most = match kind {
                        Kind::Strict => 1,
                        Kind::Retry(_) => attempts(kind) + cuts,
                    };
                    task.runs.iter().all(|runs| *runs <= most)
                })
            }),
            Property::always("a task is cancelled by its own client", |_, state: &State| {
                let mut cancelled =
                    promised(state).filter(|task| task.client.seen == record::CANCELLED);
                cancelled.all(|task| 0 < task.client.cancels)
            }),
            Property::always(
                "what was cancelled before it began never runs",
                |model: &Self, state: &State| {
                    !(0..2).any(|task| was_cancelled_and_ran(model, state, task))
                },
            ),
            Property::sometimes("a task is done and removed", |model: &Self, state: &State| {
                let is_empty = |task: &Task| {
                    !task.has_record() && !task.request.is_there() && !task.lock.is_there()
                };
                let mut tasks = model.setting.kinds().zip(&state.tasks);
                tasks.all(|(_, task)| task.client.seen == record::DONE)
                    && (!model.setting.removes || state.tasks.iter().all(is_empty))
            }),
        ]
    }
}

fn promised(state: &State) -> impl Iterator<Item = &Task> {
    state.tasks.iter().filter(|task| task.is_promised())
}

/// Whether nobody will ever do anything about an accepted task, except at its deadline. Runs are bounded and
/// every process goes on with what it began, so what is not stuck ends.
fn is_stuck(model: &Durable, state: &State, task: u8) -> bool {
    let Some(files) = state.tasks.get(usize::from(task)) else { return false };
    let is_idle = matches!(state.runner, Runner::Serves(_)) && !state.is_held(task);
    let is_reaped = model.setting.rules.server_lock_is_cancel && files.lock.now == lock::SERVER;
    files.is_promised()
        && !files.has_record()
        && is_idle
        && !state.is_touched(task)
        && files.lock.is_there()
        && !is_reaped
}

/// Whether a strict task ran although a server had its lock first. A server that finds a record gives the lock
/// back, so only what no worker touches counts.
fn was_cancelled_and_ran(model: &Durable, state: &State, task: u8) -> bool {
    let index = usize::from(task);
    let Some(files) = state.tasks.get(index) else { return false };
    let ran = files.runs.get(usize::from(files.client.turn) - 1) != Some(&0);
    model.setting.kinds().nth(index) == Some(Kind::Strict)
        && files.is_promised()
        && files.lock.now == lock::SERVER
        && files.response.now == record::CANCELLED
        && !state.is_touched(task)
        && ran
}

/// The number of states that a power cut may leave.
fn ways_to_cut(state: &State) -> u32 {
    let mut ways = 1;
    for task in &state.tasks {
        let Task { request, response, error, lock, note, urgent, client: _, runs: _ } = task;
        for entry in [request, response, error, lock, note, urgent] {
            ways *= u32::try_from(entry.after_cut().count()).unwrap_or(1);
        }
    }
    ways
}

/// One of them.
fn cut(state: &State, mut way: u32) -> State {
    let mut next = *state;
    for task in &mut next.tasks {
        let Task { request, response, error, lock, note, urgent, client: _, runs: _ } = task;
        for entry in [request, response, error, lock, note, urgent] {
            let values = u32::try_from(entry.after_cut().count()).unwrap_or(1);
            let chosen = usize::try_from(way % values).unwrap_or(0);
            *entry = entry.after_cut().nth(chosen).unwrap_or(*entry);
            way /= values;
        }
    }
    next.cuts -= 1;
    next.workers = [Op::IDLE; 2];
    next.runner = Runner::Dead;
    next
}
