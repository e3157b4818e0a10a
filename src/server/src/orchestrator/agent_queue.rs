//! The queue of one agent as this process sees it: its directories and who waits.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::limits::{FREE_BYTES, RESULT_TURN_BYTES};
use ploinky_contract::{AgentId, TaskId};
use ploinky_queue::{
    BadResult, Cancel, FileResult, Outcome, OutputFile, Request, SubmitError, TaskError,
    boottime_ns, code,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use super::file_queue::Hints;
use super::lanes::{Lane, Lanes, Places};
use super::ticket::Ticket;
use super::waiters::{Due, Told, Waiters};
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

/// How many bytes of results were read without a pause.
#[derive(Debug, Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    async fn end_if_long(&mut self) {
        if RESULT_TURN_BYTES < self.bytes {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Since when the agent does not serve its queues, as far as that was looked at.
#[derive(Debug, Default)]
pub(super) struct Down {
    disk_ns: Option<u64>,
    memory_ns: Option<u64>,
}

impl Down {
    fn of(&mut self, lane: Lane) -> &mut Option<u64> {
        if lane.is_in_memory() { &mut self.memory_ns } else { &mut self.disk_ns }
    }
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
            .ok_or(Refusal::Busy)?;
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

    /// Looks for the results of these tasks and gives those that are to be cleaned up. Between large results
    /// other requests get their turn.
    pub(super) async fn look_for(&self, ids: impl IntoIterator<Item = TaskId>) -> Vec<Ended> {
        let mut ended = Vec::new();
        let mut turn = Turn::default();
        for id in ids {
            ended.extend(self.look(id, &mut turn));
            turn.end_if_long().await;
        }
        ended
    }

    /// Looks for the result of a task and hands it over; if there is one, the task is to be cleaned up.
    fn look(&self, id: TaskId, turn: &mut Turn) -> Option<Ended> {
        let lane = self.waiters().lane_of(id)?;
        let mut share = None;
        let collected = self.lanes.collect_if(lane, id, &mut |bytes| {
            if FREE_BYTES < bytes {
                share = self.results.take(bytes);
                if share.is_none() {
                    return false;
                }
            }
            turn.bytes += bytes;
            true
        });
        let (told, is_collected) = match collected {
            // One that is put off is looked for again before long.
            Ok(None) | Err(BadResult::PutOff { .. }) => return None,
            Ok(Some(Outcome::File(result))) => match self.open(id, &result) {
                Ok(file) => {
                    let (outcome, file) = (Outcome::File(result), Some(file));
                    (Told::Outcome { outcome, share, file }, true)
                }
                Err(bad) => (Told::BadResult(bad), false),
            },
            Ok(Some(outcome)) => (Told::Outcome { outcome, share, file: None }, true),
            Err(trouble @ BadResult::Trouble { .. }) => {
                self.complain(id, "cannot read the result of a task", &trouble);
                return None;
            }
            Err(bad) => (Told::BadResult(bad), false),
        };
        let ended_by_itself = self.waiters().settle(id, told);
        Some(Ended { id, lane, is_collected: is_collected && ended_by_itself })
    }

    /// Opens a result that is a file. Its name goes at once; who has it open reads it to its end.
    fn open(&self, id: TaskId, result: &FileResult) -> Result<OutputFile, BadResult> {
        let disk = self.lanes.disk();
        let opened = disk.open_output(id, result);
        if let Err(error) = disk.remove_output(id) {
            // The janitor tries again.
            self.complain(id, "cannot remove the file of a task", &error);
        }
        let absent = || BadResult::Open { source: io::ErrorKind::NotFound.into() };
        opened.and_then(|file| file.ok_or_else(absent))
    }

    /// Looks for all results. Used when the kernel lost hints.
    pub(super) async fn look_for_all(&self) -> Vec<Ended> {
        let all = self.waiters().all();
        self.look_for(all).await
    }

    /// Looks for the results that should be there by now and ends what time has ended. Gives the tasks that
    /// are to be cleaned up. `down` is kept by the caller from one call to the next.
    pub(super) async fn look_for_overdue(&self, down: &mut Down) -> Vec<Ended> {
        let now_ns = boottime_ns();
        let overdue = self.waiters().overdue(now_ns);
        if overdue.is_empty() {
            return Vec::new();
        }
        for lane in [Lane::Disk, Lane::Memory] {
            if overdue.iter().any(|(_, way)| way.is_in_memory() == lane.is_in_memory()) {
                let since_ns = down.of(lane);
                let is_down = !self.lanes.runner_is_alive(lane);
                *since_ns = is_down.then(|| since_ns.unwrap_or(now_ns));
            }
        }
        let mut ended = Vec::new();
        let mut turn = Turn::default();
        for (id, lane) in overdue {
            let one = self
                .look(id, &mut turn)
                .or_else(|| self.end_if_due((id, lane), now_ns, *down.of(lane), &mut turn));
            ended.extend(one);
            turn.end_if_long().await;
        }
        ended
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

    fn end_if_due(
        &self,
        (id, lane): (TaskId, Lane),
        now_ns: u64,
        down_since_ns: Option<u64>,
        turn: &mut Turn,
    ) -> Option<Ended> {
        let ended = Some(Ended { id, lane, is_collected: false });
        let due = self.waiters().due(id, now_ns, down_since_ns);
        let (why, told) = match due {
            Due::Patience => return None,
            Due::GiveUp => {
                let why = TaskError::new(code::CANCELLED, "the agent did not end the task in time");
                if let Err(error) = self.lanes.give_up(lane, id, &why) {
                    self.complain(id, "cannot record the end of a task", &error);
                }
                self.waiters().forget(id);
                return ended;
            }
            Due::Deadline => {
                (TaskError::new(code::DEADLINE, "the task took too long"), Told::Deadline)
            }
            Due::AgentDown => {
                (TaskError::new(code::CANCELLED, "the agent was not running"), Told::AgentDown)
            }
        };
        match self.lanes.cancel(lane, id, &why) {
            Ok(Cancel::NeverStarted) => {
                self.waiters().settle(id, told);
                ended
            }
            // The result came just now, or there is no room for it, which has an end, too.
            Ok(Cancel::Finished) => self.look(id, turn).or_else(|| {
                if due != Due::Deadline {
                    return None;
                }
                self.waiters().settle(id, told);
                ended
            }),
            Ok(Cancel::Asked) => {
                self.waiters().cancel(id, now_ns, Some(told));
                None
            }
            Err(error) => {
                self.complain(id, "cannot cancel a task", &error);
                self.waiters().cancel(id, now_ns, Some(told));
                None
            }
        }
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
