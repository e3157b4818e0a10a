//! The queue of one agent as this process sees it: its directories and who waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::{AgentId, TaskId};
use ploinky_queue::{
    BadResult, Cancel, Producer, RecordPlace, Request, SubmitError, TaskError, boottime_ns, code,
};
use tokio::sync::Notify;

use super::ticket::Ticket;
use super::waiters::{Due, Told, Waiters};
use crate::refusal::Refusal;

/// How long an answer to "is there room on the disk" is good for.
const ROOM_IS_KNOWN: Duration = Duration::from_secs(1);

/// The queue of one agent. It outlives changes of the configuration as long as its directory stays.
#[derive(Debug)]
pub(crate) struct AgentQueue {
    agent: AgentId,
    place: (u64, u64),
    producer: Producer,
    waiters: Mutex<Waiters>,
    room: Mutex<Room>,
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
    /// Where its record was collected, if nobody asked to end it: then nothing else is left of it.
    place: Option<RecordPlace>,
}

#[derive(Debug)]
struct Room {
    asked_ns: Option<u64>,
    is_there: bool,
}

impl AgentQueue {
    /// The queue of `agent` in the directories of `producer`; `place` is the device and inode of `.tasks`.
    pub(crate) fn new(agent: AgentId, place: (u64, u64), producer: Producer) -> Self {
        Self {
            agent,
            place,
            producer,
            waiters: Mutex::default(),
            room: Mutex::new(Room { asked_ns: None, is_there: true }),
            parked: AtomicBool::new(true),
            retired: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// The agent.
    pub(crate) fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Device and inode of `.tasks`.
    pub(crate) fn place(&self) -> (u64, u64) {
        self.place
    }

    /// The directories.
    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
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
        if !self.has_room(request.seq) {
            return Err(Refusal::NoSpace);
        }
        // Before the request is visible: the result may come at once.
        let told =
            self.waiters().add(id, request.seq, request.deadline_boot_ns).ok_or(Refusal::Busy)?;
        if let Err(error) = self.producer.submit(request) {
            self.waiters().forget(id);
            return Err(match error {
                SubmitError::NoSpace { .. } => Refusal::NoSpace,
                SubmitError::Exists { .. }
                | SubmitError::TooLong { .. }
                | SubmitError::Publish { .. } => Refusal::Submit(error),
            });
        }
        if self.parked.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Ok(Ticket::new(Arc::clone(self), id, timeout, told))
    }

    /// Ends a task whose request went away. Does nothing if it has ended.
    pub(super) fn abandon(&self, id: TaskId) {
        if !self.waiters().knows(id) {
            return;
        }
        let why = TaskError::new(code::CANCELLED, "nobody waits for the task any more");
        self.waiters().cancel(id, boottime_ns(), None);
        match self.producer.cancel(id, &why) {
            Ok(Cancel::NeverStarted | Cancel::Finished) => {
                self.waiters().forget(id);
                self.clean(Ended { id, place: None });
            }
            Ok(Cancel::Asked) => {}
            Err(error) => self.complain(id, "cannot cancel a task", &error),
        }
    }

    /// Looks for the result of a task and hands it over; if there is one, the task is to be cleaned up.
    pub(super) fn look(&self, id: TaskId) -> Option<Ended> {
        if !self.waiters().knows(id) {
            return None;
        }
        let (told, place) = match self.producer.collect(id) {
            Ok(None) => return None,
            Ok(Some(outcome)) => {
                let place = outcome.place();
                (Told::Outcome(outcome), Some(place))
            }
            Err(trouble @ BadResult::Trouble { .. }) => {
                self.complain(id, "cannot read the result of a task", &trouble);
                return None;
            }
            Err(bad) => (Told::BadResult(bad), None),
        };
        let ended_by_itself = self.waiters().settle(id, told);
        Some(Ended { id, place: place.filter(|_| ended_by_itself) })
    }

    /// Looks for all results. Used when the kernel lost hints.
    pub(super) fn look_for_all(&self) -> Vec<Ended> {
        let all = self.waiters().all();
        all.into_iter().filter_map(|id| self.look(id)).collect()
    }

    /// Looks for the results that should be there by now and ends what time has ended. Gives the tasks that
    /// are to be cleaned up. `down_since_ns` is kept by the caller from one call to the next.
    pub(super) fn look_for_overdue(&self, down_since_ns: &mut Option<u64>) -> Vec<Ended> {
        let now_ns = boottime_ns();
        let overdue = self.waiters().overdue(now_ns);
        if overdue.is_empty() {
            return Vec::new();
        }
        *down_since_ns = match *down_since_ns {
            _ if self.producer.runner_is_alive() => None,
            known => Some(known.unwrap_or(now_ns)),
        };
        overdue
            .into_iter()
            .filter_map(|id| self.look(id).or_else(|| self.end_if_due(id, now_ns, *down_since_ns)))
            .collect()
    }

    /// Removes the files of a task that has ended.
    pub(super) fn clean(&self, Ended { id, place }: Ended) {
        let cleaned = match place {
            Some(place) => self.producer.clean_collected(id, place),
            None => self.producer.clean(id),
        };
        if let Err(error) = cleaned {
            // The janitor tries again.
            self.complain(id, "cannot clean up a task", &error);
        }
    }

    /// Whether the watch may sleep until the next task; if so, that task wakes it.
    pub(super) fn park(&self) -> bool {
        let may = self.waiters().is_empty();
        self.parked.store(may, Ordering::Relaxed);
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

    fn end_if_due(&self, id: TaskId, now_ns: u64, down_since_ns: Option<u64>) -> Option<Ended> {
        let ended = Some(Ended { id, place: None });
        let due = self.waiters().due(id, now_ns, down_since_ns);
        let (why, told) = match due {
            Due::Patience => return None,
            Due::GiveUp => {
                let why = TaskError::new(code::CANCELLED, "the agent did not end the task in time");
                if let Err(error) = self.producer.give_up(id, &why) {
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
        match self.producer.cancel(id, &why) {
            Ok(Cancel::NeverStarted) => {
                self.waiters().settle(id, told);
                ended
            }
            // The result came just now.
            Ok(Cancel::Finished) => self.look(id),
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

    fn has_room(&self, now_ns: u64) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = room.asked_ns.is_some_and(|asked| {
            u128::from(now_ns.saturating_sub(asked)) < ROOM_IS_KNOWN.as_nanos()
        });
        if !is_known {
            // A file system that does not tell is tried out by the task itself.
            let is_there = self.producer.has_room().unwrap_or(true);
            *room = Room { asked_ns: Some(now_ns), is_there };
        }
        room.is_there
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, id: TaskId, what: &str, error: &(dyn std::error::Error + 'static)) {
        let cause = ploinky_contract::chain(error);
        tracing::warn!(AGENT = %self.agent, TASK_ID = %id, "{what}: {cause}");
    }
}
