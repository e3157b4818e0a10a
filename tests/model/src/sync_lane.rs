//! The lane in memory as a model: no power cut to survive, and a slot per runner thread in place of a lock
//! per task. A task ends with its connection; it runs at most once. The file of a task that is over may become
//! the request of the other one.

use stateright::{Model, Property};

/// The rules of the lane, one switch each.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one switch per rule, turned off one at a time")]
pub struct SyncRules {
    /// A thread writes the id to its slot before it makes sure that the request is there.
    pub slot_before_open: bool,
    /// A thread looks for a result before it makes sure that the request is there.
    pub result_before_request: bool,
    /// The server removes the request before the result.
    pub request_removed_first: bool,
    /// A new runner clears the slots of the dead one when their tasks have results.
    pub slots_stay: bool,
    /// Two threads of one runner never have the same task.
    pub one_thread: bool,
    /// A file is written anew before it gets its new name.
    pub written_before_named: bool,
    /// The result of a task goes when its file has the new name.
    pub record_goes_last: bool,
}

impl SyncRules {
    /// The protocol.
    pub const ALL: Self = Self {
        slot_before_open: true,
        result_before_request: true,
        request_removed_first: true,
        slots_stay: true,
        one_thread: true,
        written_before_named: true,
        record_goes_last: true,
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
    /// What is in the files; each task has one of its own unless it gets that of the other one.
    files: [Bytes; 2],
    /// A task ran, or was refused, because of bytes that are not its own.
    is_spoilt: bool,
    slots: [Option<u8>; 2],
    runner: Runner,
    kills: u8,
    faults: u8,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Task {
    /// The file at the name of its request.
    request: Option<u8>,
    result: bool,
    urgent: bool,
    server: Server,
    runs: u8,
}

/// What a request file holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Bytes {
    /// The request of a task.
    Of(u8),
    /// Some of one, some of the other.
    Mixture,
}

/// A step of the server that makes the file of the other task the request of this one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Reuse {
    Begin,
    Finish,
    Name,
    Forget,
}

/// What the server does about a task next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Server {
    Submit,
    /// Goes through the steps of [`SyncLane::reuse`].
    Reuse(u8),
    Wait,
    /// The client has its answer; request and result are kept for a while.
    Spare,
    /// The other task is getting the file.
    Given,
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
    Open(u8),
    /// Has the task's file open.
    Read(u8, u8),
    Slot(u8, Bytes),
    Look(u8, Bytes),
    Name(u8, Bytes),
    LateLook(u8, Bytes),
    Effect(u8, Bytes),
    LateSlot(u8),
    Publish(u8),
}

impl Thread {
    fn task(self) -> Option<u8> {
        match self {
            Self::Idle => None,
            Self::Open(task)
            | Self::Read(task, _)
            | Self::Slot(task, _)
            | Self::Look(task, _)
            | Self::Name(task, _)
            | Self::LateLook(task, _)
            | Self::Effect(task, _)
            | Self::LateSlot(task)
            | Self::Publish(task) => Some(task),
        }
    }
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyncStep {
    /// The server goes on with a task; `true`: it gives it up, or submits it in the file of the other one.
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
            Task { request: None, result: false, urgent: false, server: Server::Submit, runs: 0 };
        let runner = Runner::Serves([Thread::Idle; 2]);
        let Self { kills, faults, .. } = *self;
        let files = [Bytes::Of(0), Bytes::Of(1)];
        let (tasks, slots) = ([task; 2], [None; 2]);
        vec![SyncState { tasks, files, is_spoilt: false, slots, runner, kills, faults }]
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
                let [mut one, mut other] = next.tasks;
                if task == 1 {
                    std::mem::swap(&mut one, &mut other);
                }
                one.server = self.server(task, &mut one, &mut other, &mut next.files, gives_up)?;
                next.tasks = if task == 1 { [other, one] } else { [one, other] };
            }
            SyncStep::Take(thread, task) => {
                let Runner::Serves(threads) = &mut next.runner else { return None };
                let is_taken = threads.iter().any(|other| other.task() == Some(task));
                let known = state.tasks.get(usize::from(task))?.server != Server::Submit;
                let thread = threads.get_mut(usize::from(thread))?;
                if *thread != Thread::Idle || !known || (self.rules.one_thread && is_taken) {
                    return None;
                }
                *thread = Thread::Open(task);
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
                let has_either = |t: &Task| t.request.is_some() || t.result;
                state.tasks.iter().all(|t| t.server != Server::Wait || has_either(t))
            }),
            Property::always("no task is taken for another one", |_, state: &SyncState| {
                !state.is_spoilt
            }),
            Property::sometimes(
                "a file becomes the request of two tasks",
                |_, state: &SyncState| {
                    let is_answered = |t: &Task| t.server == Server::Over && t.runs == 1;
                    state.tasks.iter().all(is_answered) && state.files[0] == state.files[1]
                },
            ),
            Property::sometimes("all tasks are answered and gone", |_, state: &SyncState| {
                let is_gone =
                    |t: &Task| t.request.is_none() && !t.result && !t.urgent && t.runs == 1;
                state.tasks.iter().all(|t| t.server == Server::Over && is_gone(t))
            }),
            Property::sometimes("a task of a dead runner has crashed", |_, state: &SyncState| {
                state.tasks.iter().all(|t| t.result && t.runs == 0)
            }),
        ]
    }
}

impl SyncLane {
    /// How a file becomes the next request.
    fn reuse(self) -> [Reuse; 4] {
        let SyncRules { written_before_named, record_goes_last, .. } = self.rules;
        match (written_before_named, record_goes_last) {
            (true, true) => [Reuse::Begin, Reuse::Finish, Reuse::Name, Reuse::Forget],
            (false, _) => [Reuse::Name, Reuse::Begin, Reuse::Finish, Reuse::Forget],
            (true, false) => [Reuse::Forget, Reuse::Begin, Reuse::Finish, Reuse::Name],
        }
    }

    fn server(
        self,
        task: u8,
        files: &mut Task,
        other: &mut Task,
        bytes: &mut [Bytes; 2],
        gives_up: bool,
    ) -> Option<Server> {
        let first = self.rules.request_removed_first;
        Some(match (files.server, gives_up) {
            (Server::Submit, false) => {
                files.request = Some(task);
                Server::Wait
            }
            (Server::Submit, true) if other.server == Server::Spare => {
                other.server = Server::Given;
                Server::Reuse(0)
            }
            (Server::Reuse(step), false) => {
                // The other task's own one, as it has not been submitted in ours.
                let file = bytes.get_mut(usize::from(1 - task))?;
                match self.reuse().get(usize::from(step))? {
                    Reuse::Begin => *file = Bytes::Mixture,
                    Reuse::Finish => *file = Bytes::Of(task),
                    Reuse::Name => files.request = other.request.take(),
                    Reuse::Forget => other.result = false,
                }
                if step < 3 {
                    Server::Reuse(step + 1)
                } else {
                    other.server = Server::Over;
                    Server::Wait
                }
            }
            (Server::Wait, false) if files.result => Server::Spare,
            (Server::Spare, false) if first => Server::RemoveRequest,
            (Server::Spare, false) => Server::RemoveResult,
            (Server::Wait, true) => Server::CancelRequest,
            (Server::RemoveRequest, false) => {
                files.request = None;
                if first { Server::RemoveResult } else { Server::Over }
            }
            (Server::RemoveResult, false) => {
                files.result = false;
                if first { Server::Over } else { Server::RemoveRequest }
            }
            (Server::CancelRequest, false) => {
                files.request = None;
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

    fn after_slot(self, task: u8, bytes: Bytes) -> Thread {
        if self.rules.result_before_request {
            Thread::Look(task, bytes)
        } else {
            Thread::Name(task, bytes)
        }
    }

    fn thread(self, next: &mut SyncState, thread: u8) -> Option<()> {
        let Runner::Serves(threads) = &mut next.runner else { return None };
        let thread_state = threads.get_mut(usize::from(thread))?;
        let task = thread_state.task()?;
        let files = next.tasks.get_mut(usize::from(task))?;
        let slot = next.slots.get_mut(usize::from(thread))?;
        *thread_state = match *thread_state {
            Thread::Idle => return None,
            Thread::Open(_) => files.request.map_or(Thread::Idle, |file| Thread::Read(task, file)),
            Thread::Read(_, file) => {
                let bytes = *next.files.get(usize::from(file))?;
                if self.rules.slot_before_open {
                    Thread::Slot(task, bytes)
                } else {
                    self.after_slot(task, bytes)
                }
            }
            Thread::Slot(_, bytes) => {
                *slot = Some(task);
                self.after_slot(task, bytes)
            }
            Thread::Look(..) | Thread::LateLook(..) if files.result => Thread::Idle,
            Thread::Look(_, bytes) => Thread::Name(task, bytes),
            Thread::Name(..) if files.request.is_none() => Thread::Idle,
            Thread::Name(_, bytes) if !self.rules.result_before_request => {
                Thread::LateLook(task, bytes)
            }
            Thread::Name(_, bytes) | Thread::LateLook(_, bytes) => Thread::Effect(task, bytes),
            Thread::Effect(_, bytes) => {
                next.is_spoilt |= bytes != Bytes::Of(task);
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
            let is_lost = files.request.is_some() && !files.result;
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
