//! Who waits for which task of one agent, and what is to be done when time passes. Pure: no clock, no disk.

use std::collections::HashMap;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{
    AGENT_DOWN_GRACE, CANCEL_GRACE, IN_FLIGHT_PER_AGENT, RESULT_POLL, STREAMS_PER_AGENT,
};
use ploinky_queue::{BadResult, Outcome, OutputFile};
use tokio::sync::oneshot;

use super::lanes::Lane;
use crate::byte_budget::ByteShare;

/// What a waiting request is told.
#[derive(Debug)]
pub(super) enum Told {
    /// The agent's answer.
    Outcome {
        /// The answer.
        outcome: Outcome,
        /// Its part of the memory for results, if it is not small.
        share: Option<ByteShare>,
        /// The file, if the answer is one.
        file: Option<OutputFile>,
    },
    /// The agent's answer is none.
    BadResult(BadResult),
    /// There was none in time.
    Deadline,
    /// The agent does not run.
    AgentDown,
}

/// Tasks that were submitted and are not cleaned up yet.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    tasks: HashMap<TaskId, Task>,
    calls: usize,
    streams: usize,
}

#[derive(Debug)]
struct Task {
    lane: Lane,
    submitted_ns: u64,
    deadline_ns: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A request waits.
    Waited(oneshot::Sender<Told>),
    /// Nobody waits; the agent was asked to end it.
    Cancelled { since_ns: u64 },
}

/// What time demands for a task without a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing yet.
    Patience,
    /// The deadline passed.
    Deadline,
    /// The agent has not run for too long.
    AgentDown,
    /// The agent was asked to end the task, and did not.
    GiveUp,
}

impl Waiters {
    /// Adds a task; `None` if as many as allowed are there. Streams and calls are counted apart: what lasts long
    /// takes no place of what is short.
    pub(super) fn add(
        &mut self,
        id: TaskId,
        lane: Lane,
        submitted_ns: u64,
        deadline_ns: u64,
    ) -> Option<oneshot::Receiver<Told>> {
        let (count, limit) = if lane == Lane::Stream {
            (&mut self.streams, STREAMS_PER_AGENT)
        } else {
            (&mut self.calls, IN_FLIGHT_PER_AGENT)
        };
        if limit <= *count {
            return None;
        }
        *count += 1;
        let (sender, receiver) = oneshot::channel();
        let state = State::Waited(sender);
        self.tasks.insert(id, Task { lane, submitted_ns, deadline_ns, state });
        Some(receiver)
    }

    /// Where the task is if it is one of ours; names that a stranger invents are not.
    pub(super) fn lane_of(&self, id: TaskId) -> Option<Lane> {
        self.tasks.get(&id).map(|task| task.lane)
    }

    /// Whether one of these is one of ours.
    pub(super) fn has_any(&self, ids: &[TaskId]) -> bool {
        ids.iter().any(|id| self.tasks.contains_key(id))
    }

    /// The call goes another way.
    pub(super) fn divert(&mut self, id: TaskId, lane: Lane) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.lane = lane;
        }
    }

    /// Whether no task is there.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Forgets a task and tells the request that waits for it, if one does; whether one did.
    pub(super) fn settle(&mut self, id: TaskId, told: Told) -> bool {
        let Some(Task { state: State::Waited(sender), .. }) = self.remove(id) else {
            return false;
        };
        // The request may have gone away just now.
        drop(sender.send(told));
        true
    }

    /// Forgets a task.
    pub(super) fn forget(&mut self, id: TaskId) {
        self.remove(id);
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        let count = if task.lane == Lane::Stream { &mut self.streams } else { &mut self.calls };
        *count -= 1;
        Some(task)
    }

    /// Tells the request that waits, if one does, and keeps the task until the agent has ended it.
    pub(super) fn cancel(&mut self, id: TaskId, now_ns: u64, told: Option<Told>) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let cancelled = State::Cancelled { since_ns: now_ns };
            if let (State::Waited(sender), Some(told)) =
                (std::mem::replace(&mut task.state, cancelled), told)
            {
                // The request may have gone away just now.
                drop(sender.send(told));
            }
        }
    }

    /// All tasks.
    pub(super) fn all(&self) -> Vec<TaskId> {
        self.tasks.keys().copied().collect()
    }

    /// Tasks that have waited so long that a hint may have been lost.
    pub(super) fn overdue(&self, now_ns: u64) -> Vec<(TaskId, Lane)> {
        let is_old = |task: &Task| ns(RESULT_POLL) <= now_ns.saturating_sub(task.submitted_ns);
        self.tasks
            .iter()
            .filter(|(_, task)| is_old(task))
            .map(|(id, task)| (*id, task.lane))
            .collect()
    }

    /// What time demands for a task that has no result. `down_since_ns`: the agent is known not to run.
    pub(super) fn due(&self, id: TaskId, now_ns: u64, down_since_ns: Option<u64>) -> Due {
        let Some(Task { lane: _, submitted_ns, deadline_ns, state }) = self.tasks.get(&id) else {
            return Due::Patience;
        };
        match (state, down_since_ns) {
            (State::Cancelled { since_ns }, _) => {
                if ns(CANCEL_GRACE) <= now_ns.saturating_sub(*since_ns) {
                    Due::GiveUp
                } else {
                    Due::Patience
                }
            }
            (State::Waited(_), _) if *deadline_ns <= now_ns => Due::Deadline,
            (State::Waited(_), Some(down_since_ns))
                if ns(AGENT_DOWN_GRACE)
                    <= now_ns.saturating_sub(down_since_ns.max(*submitted_ns)) =>
            {
                Due::AgentDown
            }
            (State::Waited(_), _) => Due::Patience,
        }
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn id(n: u8) -> TaskId {
        TaskId::from_random([n; 16])
    }

    #[test]
    fn no_more_tasks_are_taken_than_allowed() {
        let mut waiters = Waiters::default();
        let random = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            TaskId::from_random(bytes)
        };
        for n in 0..IN_FLIGHT_PER_AGENT {
            assert!(waiters.add(random(n), Lane::Disk, 0, SECOND).is_some());
        }
        assert!(waiters.add(random(IN_FLIGHT_PER_AGENT), Lane::Disk, 0, SECOND).is_none());
        waiters.cancel(random(0), 0, None);
        assert!(waiters.add(random(IN_FLIGHT_PER_AGENT), Lane::Disk, 0, SECOND).is_none());
        waiters.forget(random(0));
        assert!(waiters.add(random(IN_FLIGHT_PER_AGENT), Lane::Disk, 0, SECOND).is_some());
    }

    #[test]
    fn streams_and_calls_have_places_of_their_own() {
        let mut waiters = Waiters::default();
        let numbered = |n: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            TaskId::from_random(bytes)
        };
        let mut add = |n, lane| waiters.add(numbered(n), lane, 0, SECOND).is_some();
        for n in 0..STREAMS_PER_AGENT {
            assert!(add(n, Lane::Stream));
        }
        assert!(!add(1000, Lane::Stream));
        for n in 0..IN_FLIGHT_PER_AGENT {
            assert!(add(2000 + n, Lane::Memory));
        }
        assert!(!add(1000, Lane::Stream) && !add(1000, Lane::Memory));
        // A stream that ends makes room for a stream, and for nothing else.
        waiters.settle(numbered(0), Told::Deadline);
        let mut add = |n, lane| waiters.add(numbered(n), lane, 0, SECOND).is_some();
        assert!(!add(1000, Lane::Memory) && add(1000, Lane::Stream) && !add(1001, Lane::Stream));
        waiters.forget(numbered(2000));
        let mut add = |n, lane| waiters.add(numbered(n), lane, 0, SECOND).is_some();
        assert!(!add(1001, Lane::Stream) && add(1001, Lane::Disk) && !add(1002, Lane::Files));
    }

    #[test]
    fn time_ends_what_the_agent_does_not() {
        let mut waiters = Waiters::default();
        let _receiver = waiters.add(id(1), Lane::Disk, 10 * SECOND, 40 * SECOND).unwrap();
        for (now, down_since, expected) in [
            (10, None, Due::Patience),
            (39, None, Due::Patience),
            (40, None, Due::Deadline),
            (40, Some(1), Due::Deadline),
            (12, Some(1), Due::Patience),
            (13, Some(1), Due::AgentDown),
            (22, Some(20), Due::Patience),
            (23, Some(20), Due::AgentDown),
        ] {
            let due = waiters.due(id(1), now * SECOND, down_since.map(|s: u64| s * SECOND));
            assert_eq!(due, expected, "at {now} s, down since {down_since:?}");
        }
        waiters.cancel(id(1), 20 * SECOND, None);
        assert_eq!(waiters.due(id(1), 26 * SECOND, Some(0)), Due::Patience);
        assert_eq!(waiters.due(id(1), 27 * SECOND, None), Due::GiveUp);
        assert_eq!(waiters.due(id(2), 99 * SECOND, Some(0)), Due::Patience);
    }

    #[test]
    fn only_old_tasks_are_looked_for() {
        let mut waiters = Waiters::default();
        let _first = waiters.add(id(1), Lane::Memory, 0, SECOND).unwrap();
        let _second = waiters.add(id(2), Lane::Disk, SECOND, 2 * SECOND).unwrap();
        assert_eq!(waiters.overdue(SECOND), [(id(1), Lane::Memory)]);
        assert_eq!(waiters.overdue(0), []);
    }

    #[test]
    fn a_request_is_told_once() {
        let mut waiters = Waiters::default();
        let mut first = waiters.add(id(1), Lane::Memory, 0, SECOND).unwrap();
        waiters.cancel(id(1), 5, Some(Told::Deadline));
        assert!(!waiters.settle(id(1), Told::AgentDown));
        assert!(matches!(first.try_recv(), Ok(Told::Deadline)));
        assert!(waiters.is_empty() && waiters.lane_of(id(1)).is_none());
    }
}
