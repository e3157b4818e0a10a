//! From an admitted call to its outcome: the task is written, waited for, and ended if nobody waits any more.
//!
//! Everything that touches the queue happens in line on the event loop: small direct system calls cost less
//! than handing them to a thread.

mod agent_queue;
mod file_queue;
mod hint_reader;
mod lanes;
mod ticket;
mod waiters;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ploinky_contract::limits::{SYNC_TIMEOUT_MAX, TASK_DEADLINE_DEFAULT};
use ploinky_contract::{AgentId, CommandName, Retry, TaskId, UserId};
use ploinky_queue::Submitter;
use serde_json::value::RawValue;

pub(crate) use self::agent_queue::AgentQueue;
pub(crate) use self::file_queue::{Call, Callbacks, FileQueue, Place};
pub(crate) use self::lanes::{Lanes, Places};
pub(crate) use self::watch::watch;
use crate::guardian::{Admitted, Gate, Wishes};
use crate::refusal::Refusal;
use crate::task_key::{self, TaskKey};
use crate::task_queue::{Agreement, NewTask, TaskQueue as _, TaskStatus};
use crate::uploads::Files;

/// A deployed agent that takes calls.
#[derive(Debug)]
pub(crate) struct Agent {
    id: AgentId,
    place: String,
    commands: BTreeMap<CommandName, Rules>,
    abilities: Abilities,
    gate: Gate,
    queue: FileQueue,
}

/// What the manifest says of the whole agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// Bytes of all files of one upload together.
    pub(crate) upload_max_bytes: u64,
    /// Whether its handlers can write while they work.
    pub(crate) has_streams: bool,
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
    /// An agent with these commands, which those may call whom `gate` lets. `place` is its `domain/path`.
    pub(crate) fn new(
        id: AgentId,
        place: String,
        commands: BTreeMap<CommandName, Rules>,
        abilities: Abilities,
        gate: Gate,
        queue: FileQueue,
    ) -> Self {
        Self { id, place, commands, abilities, gate, queue }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &AgentId {
        &self.id
    }

    /// Its `domain/path`, as in `localhost/echo`.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Who may call it.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Its queue.
    pub(crate) fn queue(&self) -> &FileQueue {
        &self.queue
    }

    /// What of `path`, which is one of this agent, stands behind the agent's own path.
    pub(crate) fn below<'a>(&self, path: &'a str) -> &'a str {
        let own = self.place.find('/').map_or(0, |slash| self.place.len() - slash);
        path.get(own..).unwrap_or_default()
    }

    /// Bytes of all files of one upload together.
    pub(crate) fn upload_max_bytes(&self) -> u64 {
        self.abilities.upload_max_bytes
    }

    /// Whether it has this command.
    pub(crate) fn knows(&self, command: &CommandName) -> bool {
        self.commands.contains_key(command)
    }

    /// How long a call of `command` is waited for.
    pub(crate) fn patience(&self, command: &CommandName) -> Duration {
        self.commands.get(command).map_or(Duration::ZERO, Rules::patience)
    }

    /// The id of the task that `user` asks for: random, or made of the key that the client gave.
    pub(crate) fn name_task(
        &self,
        user: &UserId,
        wishes: &Wishes,
        key: &TaskKey,
    ) -> Result<TaskId, Refusal> {
        let id = match &wishes.key {
            None => random_id(),
            Some(text) => key.id(user, &self.id, text),
        };
        id.map_err(Refusal::Internal)
    }

    /// Hands a call to the agent, to be waited for. Nothing is written if it is refused, and its files are
    /// removed.
    pub(crate) fn call(&self, call: Admitted, files: Option<Files>) -> Result<Call, Refusal> {
        let (user, command, params, wishes) = call.into_parts();
        let patience = self.rules(&command)?.patience();
        let deadline = wishes.deadline_within(patience)?.unwrap_or(patience);
        let id = match &files {
            None => random_id().map_err(Refusal::Internal)?,
            Some(files) => files.id,
        };
        let mut task = new_task(id, user, command, params, wishes.urgency, deadline)?;
        let Some(Files { id, mut stage, digest: _ }) = files else {
            return self.queue.call(task);
        };
        task.has_files = true;
        // The id is random: nobody has files of that name.
        stage.publish(id, false).map_err(Refusal::Internal)?;
        let call = self.queue.call(task)?;
        stage.hand_over();
        Ok(call)
    }

    /// Hands a call to the agent whose handler writes while it works, into a pipe.
    pub(crate) fn stream(&self, call: Admitted) -> Result<(Call, OwnedFd), Refusal> {
        let (user, command, params, wishes) = call.into_parts();
        let run = self.rules(&command)?.run;
        if !self.abilities.has_streams {
            return Err(Refusal::StreamUnsupported);
        }
        let id = random_id().map_err(Refusal::Internal)?;
        self.queue.stream(new_task(id, user, command, params, wishes.urgency, run)?)
    }

    /// Hands a task to the agent, to be kept. `key` makes ids of repeatable ones. Gives where it stands.
    pub(crate) async fn submit(
        &self,
        call: Admitted,
        files: Option<Files>,
        key: &TaskKey,
    ) -> Result<TaskStatus, Refusal> {
        let (user, command, params, wishes) = call.into_parts();
        let rules = self.rules(&command)?;
        let id = match &files {
            None => self.name_task(&user, &wishes, key)?,
            Some(files) => files.id,
        };
        let content = files.as_ref().and_then(|files| files.digest);
        let digest = wishes.key.is_some().then(|| {
            let params = params.iter().map(|param| param.get());
            task_key::digest(command.as_str(), params, content.as_ref())
        });
        let (deadline, agreement) = if wishes.is_async {
            let (run, retry) = (Some(rules.run), rules.retry);
            let agreement = Agreement { run, retry, callback: wishes.callback, digest };
            (wishes.deadline.unwrap_or(TASK_DEADLINE_DEFAULT), agreement)
        } else {
            let patience = rules.patience();
            let deadline = wishes.deadline_within(patience)?.unwrap_or(patience);
            (deadline, Agreement { digest, ..Agreement::default() })
        };
        let mut task = new_task(id, user, command, params, wishes.urgency, deadline)?;
        let Some(files) = files else { return self.queue.submit(task, agreement).await };
        task.has_files = true;
        submit_with(self.queue.clone(), task, agreement, files).await
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
    Ok(NewTask { id, command, params, owner, urgency, deadline, has_files: false })
}

/// Makes the files of a task durable, and then the task. Who gives up waiting does not stop it half-way: the
/// files would go, and the task stay.
async fn submit_with(
    queue: FileQueue,
    task: NewTask,
    agreement: Agreement,
    files: Files,
) -> Result<TaskStatus, Refusal> {
    let submitting = tokio::spawn(async move {
        let Files { id, mut stage, digest: _ } = files;
        let published = tokio::task::spawn_blocking(move || {
            let is_ours = stage.publish(id, true);
            is_ours.map(|is_ours| (stage, is_ours))
        });
        let (stage, is_ours) = published
            .await
            .map_err(|e| Refusal::Internal(io::Error::other(e)))?
            .map_err(Refusal::Internal)?;
        // Those of an earlier upload of the same key: of its task, or on their way to it or away.
        if !is_ours && queue.status(id).await?.is_none() {
            return Err(Refusal::SameKeyIsComing);
        }
        let submitted = queue.submit(task, agreement).await;
        match &submitted {
            // It may run, with its files.
            Ok(_) | Err(Refusal::OutcomeUnknown { .. }) => stage.hand_over(),
            Err(_) => drop(stage),
        }
        submitted
    });
    submitting.await.unwrap_or_else(|e| Err(Refusal::Internal(io::Error::other(e))))
}

/// Random bytes that are fetched at once: a call of the kernel for each id is seen in the time of a call.
const RANDOM_BYTES: usize = 512;

/// 128 bits that nobody can guess.
pub(crate) fn random_id() -> io::Result<TaskId> {
    static FETCHED: Mutex<Vec<[u8; 16]>> = Mutex::new(Vec::new());
    let mut fetched = FETCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = fetched.pop() {
        return Ok(TaskId::from_random(bytes));
    }
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    let (ids, _) = bytes.as_chunks();
    fetched.extend_from_slice(ids);
    fetched.pop().map(TaskId::from_random).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn json_string(text: &str) -> io::Result<Box<RawValue>> {
    serde_json::value::to_raw_value(text).map_err(io::Error::other)
}
