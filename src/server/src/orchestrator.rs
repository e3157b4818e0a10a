//! From an admitted call to its outcome: the task is written, waited for, and ended if nobody waits any more.
//!
//! Everything that touches the queue happens in line on the event loop: small direct system calls cost less
//! than handing them to a thread.

mod agent_queue;
mod file_queue;
mod lanes;
mod ticket;
mod waiters;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ploinky_contract::limits::{SYNC_TIMEOUT_MAX, TASK_DEADLINE_DEFAULT};
use ploinky_contract::{AgentId, CommandName, Retry, TaskId, UserId};
use ploinky_queue::Submitter;
use serde_json::value::RawValue;

pub(crate) use self::agent_queue::AgentQueue;
pub(crate) use self::file_queue::{Call, FileQueue};
pub(crate) use self::lanes::{Lanes, Places};
pub(crate) use self::watch::watch;
use crate::guardian::Admitted;
use crate::refusal::Refusal;
use crate::task_key::{self, TaskKey};
use crate::task_queue::{Agreement, NewTask, TaskQueue as _, TaskStatus};

/// A deployed agent that takes calls.
#[derive(Debug)]
pub(crate) struct Agent {
    id: AgentId,
    place: String,
    commands: BTreeMap<CommandName, Rules>,
    queue: FileQueue,
}

/// What the manifest says of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Time of one run.
    pub(crate) run: Duration,
    /// How an accepted task is run again.
    pub(crate) retry: Option<Retry>,
}

/// Who submits: this life of this process, in this boot of the host.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The boot that all times belong to.
    pub(crate) boot_id: String,
    /// The process.
    pub(crate) submitter: Submitter,
}

impl Agent {
    /// An agent with these commands. `place` is its `domain/path`.
    pub(crate) fn new(
        id: AgentId,
        place: String,
        commands: BTreeMap<CommandName, Rules>,
        queue: FileQueue,
    ) -> Self {
        Self { id, place, commands, queue }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &AgentId {
        &self.id
    }

    /// Its `domain/path`, as in `localhost/echo`.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Its queue.
    pub(crate) fn queue(&self) -> &FileQueue {
        &self.queue
    }

    /// How long a call of `command` is waited for.
    pub(crate) fn patience(&self, command: &CommandName) -> Duration {
        self.commands.get(command).map_or(Duration::ZERO, Rules::patience)
    }

    /// Hands a call to the agent, to be waited for. Nothing is written if it is refused.
    pub(crate) fn call(&self, call: Admitted) -> Result<Call, Refusal> {
        let (user, command, params, wishes) = call.into_parts();
        let patience = self.rules(&command)?.patience();
        let deadline = wishes.deadline_within(patience)?.unwrap_or(patience);
        let id = random_id().map_err(Refusal::Internal)?;
        self.queue.call(new_task(id, user, command, params, wishes.urgency, deadline)?)
    }

    /// Hands a task to the agent, to be kept. `key` makes ids of repeatable ones. Gives where it stands.
    pub(crate) async fn submit(
        &self,
        call: Admitted,
        key: &TaskKey,
    ) -> Result<TaskStatus, Refusal> {
        let (user, command, params, wishes) = call.into_parts();
        let rules = self.rules(&command)?;
        let (id, digest) = match &wishes.key {
            None => (random_id().map_err(Refusal::Internal)?, None),
            Some(text) => {
                let id = key.id(&user, &self.id, text).map_err(Refusal::Internal)?;
                let params = params.iter().map(|param| param.get());
                (id, Some(task_key::digest(command.as_str(), params)))
            }
        };
        let (deadline, agreement) = if wishes.is_async {
            let agreement = Agreement {
                run: Some(rules.run),
                retry: rules.retry,
                callback: wishes.callback,
                digest,
                has_files: false,
            };
            (wishes.deadline.unwrap_or(TASK_DEADLINE_DEFAULT), agreement)
        } else {
            let patience = rules.patience();
            let deadline = wishes.deadline_within(patience)?.unwrap_or(patience);
            (deadline, Agreement { digest, ..Agreement::default() })
        };
        let task = new_task(id, user, command, params, wishes.urgency, deadline)?;
        self.queue.submit(task, agreement).await
    }

    fn rules(&self, command: &CommandName) -> Result<&Rules, Refusal> {
        self.commands.get(command).ok_or_else(|| Refusal::UnknownCommand(command.clone()))
    }
}

impl Rules {
    fn patience(&self) -> Duration {
        self.run.min(SYNC_TIMEOUT_MAX)
    }
}

fn new_task(
    id: TaskId,
    owner: UserId,
    command: CommandName,
    mut params: Vec<Box<RawValue>>,
    urgency: u8,
    deadline: Duration,
) -> Result<NewTask, Refusal> {
    params.insert(0, json_string(owner.as_str()).map_err(Refusal::Internal)?);
    Ok(NewTask { id, command, params, owner, urgency, deadline })
}

/// 128 bits that nobody can guess.
pub(crate) fn random_id() -> io::Result<TaskId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(TaskId::from_random(bytes))
}

fn json_string(text: &str) -> io::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(text).map_err(io::Error::other)
}
