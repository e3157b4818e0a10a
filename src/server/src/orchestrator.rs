//! From an admitted call to its outcome: the task is written, waited for, and ended if nobody waits any more.
//!
//! Everything that touches the queue happens in line on the event loop: small direct system calls cost less
//! than handing them to a thread.

mod agent_queue;
mod ticket;
mod waiters;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::{AgentId, CommandName, TaskId};
use ploinky_queue::{Request, Submitter, Terms, boottime_ns};
use serde_json::value::RawValue;

pub(crate) use self::agent_queue::AgentQueue;
pub(crate) use self::ticket::Ticket;
pub(crate) use self::watch::watch;
use crate::guardian::Admitted;
use crate::refusal::Refusal;

/// A deployed agent that takes calls.
#[derive(Debug)]
pub(crate) struct Agent {
    id: AgentId,
    commands: BTreeSet<CommandName>,
    timeout: Duration,
    queue: Arc<AgentQueue>,
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
    /// An agent with these commands.
    pub(crate) fn new(
        id: AgentId,
        commands: BTreeSet<CommandName>,
        timeout: Duration,
        queue: Arc<AgentQueue>,
    ) -> Self {
        Self { id, commands, timeout, queue }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &AgentId {
        &self.id
    }

    /// Its queue.
    pub(crate) fn queue(&self) -> &Arc<AgentQueue> {
        &self.queue
    }

    /// Hands a call to the agent. Nothing is written if it is refused.
    pub(crate) fn submit(&self, origin: &Origin, call: Admitted) -> Result<Ticket, Refusal> {
        let (user, command, mut params) = call.into_parts();
        if !self.commands.contains(&command) {
            return Err(Refusal::UnknownCommand(command));
        }
        params.insert(0, json_string(user.as_str()).map_err(Refusal::Internal)?);
        let now_ns = boottime_ns();
        let timeout_ns = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.queue.submit(
            &Request {
                id: random_id().map_err(Refusal::Internal)?,
                command,
                params,
                owner: user,
                seq: now_ns,
                deadline_boot_ns: now_ns.saturating_add(timeout_ns),
                boot_id: origin.boot_id.clone(),
                submitter: origin.submitter.clone(),
                attempt: 1,
                terms: Terms::default(),
            },
            self.timeout,
        )
    }
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
