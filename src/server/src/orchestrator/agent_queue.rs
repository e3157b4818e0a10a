//! The queue of one agent as this process sees it: its directories and who waits.

mod results;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::{AgentId, TaskId};
use ploinky_queue::{Cancel, Request, SubmitError, TaskError, boottime_ns, code};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

pub(super) use self::results::Down;
use super::file_queue::Hints;
use super::lanes::{Lane, Lanes, Places};
use super::ticket::Ticket;
use super::waiters::{Told, Waiters};
use crate::byte_budget::ByteBudget;
use crate::refusal::Refusal;

/// The queue of one agent. It outlives changes of the configuration as long as its directories stay.
#[derive(Debug)]
pub(crate) struct AgentQueue {
    agent: AgentId,
    places: Places,
    lanes: Lanes,
    waiters: Mutex<Waiters>,
    /// Who waits for kept tasks: their hints come by the same watch.
    hints: Hints,
    /// For results that are not small.
    results: ByteBudget,
    /// The watch sleeps because nobody waits; the next task wakes it.
    parked: AtomicBool,
    /// No new tasks come; the watch ends with the last one.
    retired: AtomicBool,
    wake: Notify,
}

/// A task that has ended and lies in the queue still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    id: TaskId,
    lane: Lane,
    /// Its record was collected and nobody asked to end it: then nothing else is left of it.
    is_collected: bool,
}

impl AgentQueue {
    /// The queue of `agent` in `lanes`, which are at `places`. Results that are not small are read as far as
    /// `results` allows.
    pub(crate) fn new(agent: AgentId, places: Places, lanes: Lanes, results: ByteBudget) -> Self {
        Self {
            agent,
            places,
            lanes,
            waiters: Mutex::default(),
            hints: Hints::default(),
            results,
            parked: AtomicBool::new(true),
            retired: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// The agent.
    pub(crate) fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Device and inode of its directories.
    pub(crate) fn places(&self) -> Places {
        self.places
    }

    /// The directories.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Who waits for kept tasks.
    pub(super) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Lets the watch end when the last task has ended.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Writes a task. The ticket must be waited for; dropping it cancels the task.
    pub(super) fn submit(
        self: &Arc<Self>,
        request: &Request,
        timeout: Duration,
    ) -> Result<Ticket, Refusal> {
        let id = request.id;
        let bytes = request.encode();
        let lane = if request.terms.files {
            self.lanes.has_room_on_disk(request.seq).then_some(Lane::Files)
        } else {
            self.lanes.choose(bytes.len(), request.seq)
        };
        let lane = lane.ok_or(Refusal::NoSpace)?;
        // Before the request is visible: the result may come at once.
        let told = self
            .waiters()
            .add(id, lane, request.seq, request.deadline_boot_ns)
            .ok_or(Refusal::Busy)?;
        let mut submitted = self.lanes.submit(lane, request, &bytes);
        if lane == Lane::Memory
            && let Err(error) = &submitted
        {
            self.complain(id, "calls go through the disk for a moment", error);
            self.waiters().divert(id, Lane::Disk);
            submitted = self.lanes.submit(Lane::Disk, request, &bytes);
        }
        submitted.map_err(|error| self.refused(id, error))?;
        Ok(self.ticket(id, timeout, told))
    }

    /// The same for a task whose handler writes into a pipe, and the end of it that is read.
    pub(super) fn submit_stream(
        self: &Arc<Self>,
        request: &Request,
        timeout: Duration,
    ) -> Result<(Ticket, OwnedFd), Refusal> {
        let id = request.id;
        // Without it there is no agent that knows of streams.
        let memory = self.lanes.memory().ok_or(Refusal::AgentDown)?;
        let bytes = request.encode();
        if !memory.has_room().unwrap_or(true) {
            return Err(Refusal::NoSpace);
        }
        let told = self
            .waiters()
            .add(id, Lane::Stream, request.seq, request.deadline_boot_ns)
            .ok_or(Refusal::StreamsOfAgent)?;
        let pipe = memory
            .make_stream(id)
            .map_err(|source| self.refused(id, SubmitError::Publish { id, source }))?;
        if let Err(error) = self.lanes.submit(Lane::Stream, request, &bytes) {
            memory.remove_stream(id).ok();
            return Err(self.refused(id, error));
        }
        Ok((self.ticket(id, timeout, told), pipe))
    }

    fn ticket(
        self: &Arc<Self>,
        id: TaskId,
        timeout: Duration,
        told: oneshot::Receiver<Told>,
    ) -> Ticket {
        if self.parked.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Ticket::new(Arc::clone(self), id, timeout, told)
    }

    fn refused(&self, id: TaskId, error: SubmitError) -> Refusal {
        self.waiters().forget(id);
        error.into()
    }

    /// Ends a task whose request went away. Does nothing if it has ended.
    pub(super) fn abandon(&self, id: TaskId) {
        let Some(lane) = self.waiters().lane_of(id) else { return };
        let why = TaskError::new(code::CANCELLED, "nobody waits for the task any more");
        self.waiters().cancel(id, boottime_ns(), None);
        match self.lanes.cancel(lane, id, &why) {
            Ok(Cancel::NeverStarted | Cancel::Finished) => {
                self.waiters().forget(id);
                self.clean(Ended { id, lane, is_collected: false });
            }
            Ok(Cancel::Asked) => {}
            Err(error) => self.complain(id, "cannot cancel a task", &error),
        }
    }

    /// Something happened to the names of these tasks: tells those who wait for kept ones. Whether somebody
    /// waits for any of them.
    pub(super) fn told(&self, ids: &[TaskId]) -> bool {
        self.hints.tell(ids) || self.waiters().has_any(ids)
    }

    /// Removes the files of a task that has ended.
    pub(super) fn clean(&self, Ended { id, lane, is_collected }: Ended) {
        if lane == Lane::Files {
            self.clean_files(id);
            return;
        }
        let cleaned = self.lanes.clean(lane, id, is_collected);
        if let Err(error) = cleaned {
            // The janitor tries again.
            self.complain(id, "cannot clean up a task", &error);
        }
    }

    /// The same with the files of an upload: away from the event loop, as long ones take long to remove.
    fn clean_files(&self, id: TaskId) {
        let (disk, agent) = (Arc::clone(self.lanes.disk()), self.agent.clone());
        let clean = move || {
            if let Err(error) = disk.clean(id) {
                let cause = ploinky_contract::chain(&error);
                tracing::warn!(AGENT = %agent, TASK_ID = %id, "cannot clean up a task: {cause}");
            }
        };
        match Handle::try_current() {
            Ok(event_loop) => drop(event_loop.spawn_blocking(clean)),
            Err(_none) => clean(),
        }
    }

    /// Whether the watch may sleep until the next task; if so, that task wakes it.
    pub(super) fn park(&self) -> bool {
        let may = self.waiters().is_empty();
        self.parked.store(may, Ordering::Relaxed);
        if may && let Err(error) = self.lanes.rest() {
            let cause = ploinky_contract::chain(&error);
            tracing::warn!(AGENT = %self.agent, "cannot remove what was kept of tasks: {cause}");
        }
        may
    }

    /// Whether the watch may end.
    pub(super) fn is_over(&self) -> bool {
        self.retired.load(Ordering::Relaxed) && self.waiters().is_empty()
    }

    /// Waits for the end of parking or for retirement.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, id: TaskId, what: &str, error: &(dyn std::error::Error + 'static)) {
        let cause = ploinky_contract::chain(error);
        tracing::warn!(AGENT = %self.agent, TASK_ID = %id, "{what}: {cause}");
    }
}

#[cfg(test)]
mod tests;
