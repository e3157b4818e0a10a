//! Looks for results, hands them over, and ends what time has ended.

use std::io;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{FREE_BYTES, RESULT_TURN_BYTES};
use ploinky_queue::{
    BadResult, Cancel, FileResult, Outcome, OutputFile, TaskError, boottime_ns, code,
};

use super::{AgentQueue, Ended};
use crate::orchestrator::lanes::Lane;
use crate::orchestrator::waiters::{Due, Told};

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
pub(in crate::orchestrator) struct Down {
    disk_ns: Option<u64>,
    memory_ns: Option<u64>,
}

impl Down {
    fn of(&mut self, lane: Lane) -> &mut Option<u64> {
        if lane.is_in_memory() { &mut self.memory_ns } else { &mut self.disk_ns }
    }
}

impl AgentQueue {
    /// Looks for the results of these tasks and gives those that are to be cleaned up. Between large results
    /// other requests get their turn.
    pub(in crate::orchestrator) async fn look_for(
        &self,
        ids: impl IntoIterator<Item = TaskId>,
    ) -> Vec<Ended> {
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
    pub(in crate::orchestrator) async fn look_for_all(&self) -> Vec<Ended> {
        let all = self.waiters().all();
        self.look_for(all).await
    }

    /// Looks for the results that should be there by now and ends what time has ended. Gives the tasks that
    /// are to be cleaned up. `down` is kept by the caller from one call to the next.
    pub(in crate::orchestrator) async fn look_for_overdue(&self, down: &mut Down) -> Vec<Ended> {
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
}
