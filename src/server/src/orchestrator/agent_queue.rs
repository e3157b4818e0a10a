//! The queue of one agent as this process sees it: its directories and who waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ploinky_contract::limits::{FREE_BYTES, RESULT_TURN_BYTES};
use ploinky_contract::{AgentId, TaskId};
use ploinky_queue::{BadResult, Cancel, Request, SubmitError, TaskError, boottime_ns, code};
use tokio::sync::Notify;

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
        match lane {
            Lane::Disk => &mut self.disk_ns,
            Lane::Memory => &mut self.memory_ns,
        }
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
        let lane = self.lanes.choose(bytes.len(), request.seq).ok_or(Refusal::NoSpace)?;
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
        if let Err(error) = submitted {
            self.waiters().forget(id);
            return Err(match error {
                SubmitError::NoSpace { .. } => Refusal::NoSpace,
                SubmitError::Exists { .. }
                | SubmitError::BeingRemoved { .. }
                | SubmitError::TooLong { .. }
                | SubmitError::Publish { .. }
                | SubmitError::Unknown { .. } => Refusal::Submit(error),
            });
        }
        if self.parked.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Ok(Ticket::new(Arc::clone(self), id, timeout, told))
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
            Ok(Some(outcome)) => (Told::Outcome { outcome, share }, true),
            Err(trouble @ BadResult::Trouble { .. }) => {
                self.complain(id, "cannot read the result of a task", &trouble);
                return None;
            }
            Err(bad) => (Told::BadResult(bad), false),
        };
        let ended_by_itself = self.waiters().settle(id, told);
        Some(Ended { id, lane, is_collected: is_collected && ended_by_itself })
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
            if overdue.iter().any(|(_, way)| *way == lane) {
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
        let cleaned = self.lanes.clean(lane, id, is_collected);
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
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use ploinky_contract::UserId;
    use ploinky_queue::{Outcome, Producer, Submitter, Terms, boot_id};
    use serde_json::value::RawValue;
    use tempfile::TempDir;

    use super::*;

    struct Scratch {
        directory: TempDir,
        queue: Arc<AgentQueue>,
    }

    impl Scratch {
        fn new(budget: &ByteBudget) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for name in ["requests", "urgent", "responses", "errors", "locks"] {
                std::fs::create_dir(directory.path().join(name)).unwrap();
            }
            let lanes = Lanes::new(Arc::new(Producer::open(directory.path()).unwrap()), None);
            let places = lanes.places().unwrap();
            let domain = "a".parse().unwrap();
            let agent = AgentId::new(&domain, &"/a".parse().unwrap()).unwrap();
            let queue = Arc::new(AgentQueue::new(agent, places, lanes, budget.clone()));
            Self { directory, queue }
        }

        /// A task from a second ago, with a result of about `length` bytes.
        fn answered(&self, number: u8, length: usize, deadline_boot_ns: u64) -> Ticket {
            let id = TaskId::from_random([number; 16]);
            let request = Request {
                id,
                command: "a".parse().unwrap(),
                params: vec![value(1)],
                owner: UserId::internet_user(),
                seq: boottime_ns() - 1_000_000_000,
                deadline_boot_ns,
                boot_id: boot_id().unwrap(),
                submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
                attempt: 1,
                terms: Terms::default(),
            };
            let ticket = self.queue.submit(&request, Duration::from_secs(1)).unwrap();
            File::create(self.directory.path().join("responses").join(id.as_str()))
                .and_then(|mut file| file.write_all(&Outcome::encode_response(id, &value(length))))
                .unwrap();
            ticket
        }

        async fn look(&self) -> usize {
            let ended = self.queue.look_for_overdue(&mut Down::default()).await;
            let count = ended.len();
            for task in ended {
                self.queue.clean(task);
            }
            count
        }
    }

    fn value(length: usize) -> Box<RawValue> {
        RawValue::from_string(format!("\"{}\"", "x".repeat(length))).unwrap()
    }

    #[tokio::test]
    async fn large_results_wait_on_the_disk_while_there_is_no_memory() {
        let budget = ByteBudget::new(FREE_BYTES * 3);
        let scratch = Scratch::new(&budget);
        let first = scratch.answered(1, FREE_BYTES * 2, u64::MAX);
        assert_eq!(scratch.look().await, 1);
        let (_outcome, share) = first.wait().await.unwrap();
        let second = scratch.answered(2, FREE_BYTES * 2, u64::MAX);
        let small = scratch.answered(3, 10, u64::MAX);
        let late = scratch.answered(4, FREE_BYTES * 2, boottime_ns());
        // The small one, and the one whose time is over.
        assert_eq!(scratch.look().await, 2);
        assert!(small.wait().await.unwrap().1.is_none());
        assert!(matches!(late.wait().await, Err(Refusal::Deadline(_))));
        assert_eq!(scratch.look().await, 0);
        drop(share);
        assert_eq!(scratch.look().await, 1);
        assert!(second.wait().await.unwrap().1.is_some());
        assert!(budget.take(FREE_BYTES * 3).is_some());
    }

    #[tokio::test]
    async fn others_get_their_turn_between_large_results() {
        let scratch = Scratch::new(&ByteBudget::new(usize::MAX));
        let tickets: Vec<_> =
            (1..=4).map(|number| scratch.answered(number, RESULT_TURN_BYTES, u64::MAX)).collect();
        let turns = async {
            let mut turns = 0;
            for _ in 0..tickets.len() {
                tokio::task::yield_now().await;
                turns += usize::from(!scratch.queue.park());
            }
            turns
        };
        // Without a pause all would have ended before the first turn.
        let (ended, turns) = tokio::join!(scratch.look(), turns);
        assert_eq!((ended, turns), (4, 3));
    }
}
