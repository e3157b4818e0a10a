//! The right to one result. Who gives it up ends the task.

use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::TaskId;
use tokio::sync::oneshot;

use super::agent_queue::AgentQueue;
use super::waiters::Told;
use crate::refusal::Refusal;
use crate::task_queue::Held;

/// A task that was submitted. Must be waited for; dropping it (the client went away) cancels the task.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<AgentQueue>,
    id: TaskId,
    timeout: Duration,
    told: oneshot::Receiver<Told>,
}

impl Ticket {
    pub(super) fn new(
        queue: Arc<AgentQueue>,
        id: TaskId,
        timeout: Duration,
        told: oneshot::Receiver<Told>,
    ) -> Self {
        Self { queue, id, timeout, told }
    }

    /// The task.
    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// Waits for the outcome; the watch of the queue bounds the time. The share is to be kept as long as the
    /// outcome or a copy of it.
    pub(crate) async fn wait(mut self) -> Result<Held, Refusal> {
        match (&mut self.told).await {
            Ok(Told::Outcome { outcome, share, file }) => Ok(Held { outcome, share, file }),
            Ok(Told::BadResult(bad)) => Err(Refusal::BadResult(bad)),
            Ok(Told::Deadline) => Err(Refusal::Deadline(self.timeout)),
            Ok(Told::AgentDown) => Err(Refusal::AgentDown),
            Err(_watch_ended) => Err(Refusal::GivenUp(self.id)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.abandon(self.id);
    }
}
