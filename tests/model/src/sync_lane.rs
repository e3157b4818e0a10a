//! The lane in memory as a model: no power cut to survive, and a slot per runner thread in place of a lock
//! per task. A task ends with its connection; it runs at most once.

use stateright::{Model, Property};

/// The rules of the lane, one switch each.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one switch per rule, turned off one at a time")]
pub struct SyncRules {
    /// A thread writes the id to its slot before it opens the request.
    pub slot_before_open: bool,
    /// A thread looks for a result before it opens the request.
    pub result_before_request: bool,
    /// The server removes the request before the result.
    pub request_removed_first: bool,
    /// A new runner clears the slots of the dead one when their tasks have results.
    pub slots_stay: bool,
    /// Two threads of one runner never have the same task.
    pub one_thread: bool,
}

impl SyncRules {
    /// The protocol.
    pub const ALL: Self = Self {
        slot_before_open: true,
        result_before_request: true,
        request_removed_first: true,
        slots_stay: true,
        one_thread: true,
    };
}

/// The model: two tasks, a runner with two threads that dies `kills` times, `faults` results that cannot be
/// written by recovery.
#[derive(Clone, Copy, Debug)]
pub struct SyncLane {
    /// The rules.
    pub rules: SyncRules,
    /// Deaths of the runner.
    pub kills: u8,
    /// Writes that fail.
    pub faults: u8,
}

/// Everything that can differ.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SyncState {
    tasks: [Task; 2],
    slots: [Option<u8>; 2],
    runner: Runner,
    kills: u8,
    faults: u8,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Task {
    request: bool,
    result: bool,
    urgent: bool,
    server: Server,
    runs: u8,
}

/// What the server does about a task next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Server {
    Submit,
    Wait,
    /// The client has its answer.
    RemoveRequest,
    RemoveResult,
    /// The client is gone, or its time is over.
    CancelRequest,
    Mark,
    /// Waits for the record, or for the end of its patience.
    Linger,
    Over,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Runner {
    Dead,
    Recovers(u8),
    Serves([Thread; 2]),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Thread {
    Idle,
    Slot(u8),
    Look(u8),
    Open(u8),
    LateLook(u8),
    LateSlot(u8),
    Effect(u8),
    Publish(u8),
}

impl Thread {
    fn task(self) -> Option<u8> {
        match self {
            Self::Idle => None,
            Self::Slot(task)
            | Self::Look(task)
            | Self::Open(task)
            | Self::LateLook(task)
            | Self::LateSlot(task)
            | Self::Effect(task)
            | Self::Publish(task) => Some(task),
        }
    }
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncStep {
    /// The server goes on with a task; `true`: it gives it up.
    Server(u8, bool),
    /// A thread takes up a task.
    Take(u8, u8),
    /// A thread goes on.
    Thread(u8),
    /// Recovery goes on; `true`: its write fails.
    Recover(bool),
    /// A new runner starts.
    Start,
    /// SIGKILL of the runner.
    Kill,
}

impl Model for SyncLane {
    type State = SyncState;
    type Action = SyncStep;

    fn init_states(&self) -> Vec<SyncState> {
        let task =
            Task { request: false, result: false, urgent: false, server: Server::Submit, runs: 0 };
        let runner = Runner::Serves([Thread::Idle; 2]);
        let Self { kills, faults, .. } = *self;
        vec![SyncState { tasks: [task; 2], slots: [None; 2], runner, kills, faults }]
    }

    fn actions(&self, state: &SyncState, actions: &mut Vec<SyncStep>) {
        for task in 0..2 {
            actions.extend([SyncStep::Server(task, false), SyncStep::Server(task, true)]);
        }
        match state.runner {
            Runner::Dead => actions.push(SyncStep::Start),
            Runner::Recovers(_) => {
                actions.extend([SyncStep::Recover(false), SyncStep::Recover(true)]);
            }
            Runner::Serves(_) => {
                for thread in 0..2 {
                    actions.push(SyncStep::Thread(thread));
                    actions.extend([SyncStep::Take(thread, 0), SyncStep::Take(thread, 1)]);
                }
            }
        }
        actions.push(SyncStep::Kill);
    }

    fn next_state(&self, state: &SyncState, step: SyncStep) -> Option<SyncState> {
        let mut next = *state;
        match step {
            SyncStep::Server(task, gives_up) => {
                let files = next.tasks.get_mut(usize::from(task))?;
                files.server = self.server(files, gives_up)?;
            }
            SyncStep::Take(thread, task) => {
                let Runner::Serves(threads) = &mut next.runner else { return None };
                let is_taken = threads.iter().any(|other| other.task() == Some(task));
                let known = state.tasks.get(usize::from(task))?.server != Server::Submit;
                let thread = threads.get_mut(usize::from(thread))?;
                if *thread != Thread::Idle || !known || (self.rules.one_thread && is_taken) {
                    return None;
                }
                *thread = if self.rules.slot_before_open {
                    Thread::Slot(task)
                } else {
                    self.after_slot(task)
                };
            }
            SyncStep::Thread(thread) => self.thread(&mut next, thread)?,
            SyncStep::Recover(fails) => self.recover(&mut next, fails)?,
            SyncStep::Start if state.runner == Runner::Dead => next.runner = Runner::Recovers(0),
            SyncStep::Kill if state.runner != Runner::Dead => {
                next.kills = next.kills.checked_sub(1)?;
                next.runner = Runner::Dead;
            }
            SyncStep::Start | SyncStep::Kill => return None,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no task runs twice", |_, state: &SyncState| {
                state.tasks.iter().all(|task| task.runs < 2)
            }),
            Property::always("who waits has a request or a result", |_, state: &SyncState| {
                state.tasks.iter().all(|t| t.server != Server::Wait || t.request || t.result)
            }),
            Property::sometimes("all tasks are answered and gone", |_, state: &SyncState| {
                let is_gone = |t: &Task| !t.request && !t.result && !t.urgent && t.runs == 1;
                state.tasks.iter().all(|t| t.server == Server::Over && is_gone(t))
            }),
            Property::sometimes("a task of a dead runner has crashed", |_, state: &SyncState| {
                state.tasks.iter().all(|t| t.result && t.runs == 0)
            }),
        ]
    }
}

impl SyncLane {
    fn server(self, files: &mut Task, gives_up: bool) -> Option<Server> {
        let first = self.rules.request_removed_first;
        Some(match (files.server, gives_up) {
            (Server::Submit, false) => {
                files.request = true;
                Server::Wait
            }
            (Server::Wait, false) if files.result && first => Server::RemoveRequest,
            (Server::Wait, false) if files.result => Server::RemoveResult,
            (Server::Wait, true) => Server::CancelRequest,
            (Server::RemoveRequest, false) => {
                files.request = false;
                if first { Server::RemoveResult } else { Server::Over }
            }
            (Server::RemoveResult, false) => {
                files.result = false;
                if first { Server::Over } else { Server::RemoveRequest }
            }
            (Server::CancelRequest, false) => {
                files.request = false;
                Server::Mark
            }
            (Server::Mark, false) => {
                files.urgent = true;
                Server::Linger
            }
            (Server::Linger, _) if files.result || gives_up => {
                files.urgent = false;
                files.result = false;
                Server::Over
            }
            _ => return None,
        })
    }

    fn after_slot(self, task: u8) -> Thread {
        if self.rules.result_before_request { Thread::Look(task) } else { Thread::Open(task) }
    }

    fn thread(self, next: &mut SyncState, thread: u8) -> Option<()> {
        let Runner::Serves(threads) = &mut next.runner else { return None };
        let thread_state = threads.get_mut(usize::from(thread))?;
        let task = thread_state.task()?;
        let files = next.tasks.get_mut(usize::from(task))?;
        let slot = next.slots.get_mut(usize::from(thread))?;
        *thread_state = match *thread_state {
            Thread::Idle => return None,
            Thread::Slot(_) => {
                *slot = Some(task);
                self.after_slot(task)
            }
            Thread::Look(_) | Thread::LateLook(_) if files.result => Thread::Idle,
            Thread::Look(_) => Thread::Open(task),
            Thread::Open(_) if !files.request => Thread::Idle,
            Thread::Open(_) if !self.rules.result_before_request => Thread::LateLook(task),
            Thread::Open(_) | Thread::LateLook(_) => Thread::Effect(task),
            Thread::Effect(_) => {
                files.runs += 1;
                if self.rules.slot_before_open {
                    Thread::Publish(task)
                } else {
                    Thread::LateSlot(task)
                }
            }
            Thread::LateSlot(_) => {
                *slot = Some(task);
                Thread::Publish(task)
            }
            Thread::Publish(_) => {
                files.result = true;
                Thread::Idle
            }
        };
        Some(())
    }

    fn recover(self, next: &mut SyncState, fails: bool) -> Option<()> {
        let Runner::Recovers(slot) = next.runner else { return None };
        let Some(slot_of_dead) = next.slots.get_mut(usize::from(slot)) else {
            if fails {
                return None;
            }
            next.slots = [None; 2];
            next.runner = Runner::Serves([Thread::Idle; 2]);
            return Some(());
        };
        if let Some(task) = *slot_of_dead {
            if !self.rules.slots_stay {
                *slot_of_dead = None;
            }
            let files = next.tasks.get_mut(usize::from(task))?;
            let is_lost = files.request && !files.result;
            if fails {
                // Where the rule holds the write is tried again, which changes nothing.
                next.faults = next.faults.checked_sub(1)?;
                if self.rules.slots_stay || !is_lost {
                    return None;
                }
            } else if is_lost {
                files.result = true;
            }
        } else if fails {
            return None;
        }
        next.runner = Runner::Recovers(slot + 1);
        Some(())
    }
}
