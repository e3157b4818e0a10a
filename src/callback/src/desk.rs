//! Which outcomes wait for what. Pure: no clock of its own, no disk.

use std::collections::HashMap;
use std::time::Instant;

use ploinky_contract::{AgentId, TaskId};
use ploinky_queue::Callback;

/// Outcomes of one agent that are posted at the same time; one slow receiver leaves threads for the others.
const AT_ONCE_PER_AGENT: usize = 2;

/// Everything that is to be posted.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    jobs: HashMap<TaskId, Job>,
}

#[derive(Debug)]
struct Job {
    callback: Callback,
    agent: AgentId,
    tries: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The task goes on.
    Open,
    /// Its outcome is there; not before this time.
    Due(Instant),
    /// A messenger has it.
    Away,
}

/// One try.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    /// Where the outcome goes.
    pub(crate) callback: Callback,
    /// Whose outcome it is.
    pub(crate) agent: AgentId,
    /// The number of this try, the first one is 1.
    pub(crate) tries: u32,
}

impl Desk {
    /// Adds an outcome that is to be posted; one that is known stays as it is.
    pub(crate) fn add(&mut self, callback: Callback, agent: AgentId) {
        self.jobs.entry(callback.id).or_insert(Job {
            callback,
            agent,
            tries: 0,
            state: State::Open,
        });
    }

    /// Whether it is known.
    pub(crate) fn knows(&self, id: TaskId) -> bool {
        self.jobs.contains_key(&id)
    }

    /// Whether the end of the task is news.
    pub(crate) fn waits_for(&self, id: TaskId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.state == State::Open)
    }

    /// Whether nothing is to be posted.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The task has come to its end.
    pub(crate) fn ended(&mut self, id: TaskId, now: Instant) {
        if let Some(job @ Job { state: State::Open, .. }) = self.jobs.get_mut(&id) {
            job.state = State::Due(now);
        }
    }

    /// It is over, one way or the other.
    pub(crate) fn forget(&mut self, id: TaskId) {
        self.jobs.remove(&id);
    }

    /// The try failed; the next one is not before `due`.
    pub(crate) fn put_off(&mut self, id: TaskId, due: Instant) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Due(due);
        }
    }

    /// Agents whose outcomes are to be posted; one may come several times.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.jobs.values().map(|job| &job.agent)
    }

    /// At most `room` tries that are due; they are away then.
    pub(crate) fn take_due(&mut self, now: Instant, room: usize) -> Vec<Errand> {
        let mut away = HashMap::<AgentId, usize>::new();
        for job in self.jobs.values().filter(|job| job.state == State::Away) {
            *away.entry(job.agent.clone()).or_default() += 1;
        }
        let mut due: Vec<(Instant, TaskId)> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| match job.state {
                State::Due(at) if at <= now => Some((at, *id)),
                State::Due(_) | State::Open | State::Away => None,
            })
            .collect();
        due.sort_unstable();
        let mut errands = Vec::new();
        for (_, id) in due {
            if room <= errands.len() {
                break;
            }
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let busy = away.entry(job.agent.clone()).or_default();
            if *busy < AT_ONCE_PER_AGENT {
                *busy += 1;
                job.tries += 1;
                job.state = State::Away;
                let (callback, agent) = (job.callback.clone(), job.agent.clone());
                errands.push(Errand { callback, agent, tries: job.tries });
            }
        }
        errands
    }

    /// When the next try is due that is not yet.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let due = self.jobs.values().filter_map(|job| match job.state {
            State::Due(at) if now < at => Some(at),
            State::Due(_) | State::Open | State::Away => None,
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ploinky_contract::Domain;

    use super::*;

    fn id(number: u8) -> TaskId {
        TaskId::from_random([number; 16])
    }

    fn desk(numbers: &[(u8, &str)]) -> Desk {
        let mut desk = Desk::default();
        for (number, path) in numbers {
            let (domain, path) = (Domain::localhost(), path.parse().unwrap());
            let agent = AgentId::new(&domain, &path).unwrap();
            let url = "https://x".to_owned();
            desk.add(Callback { id: id(*number), domain, path, url }, agent);
        }
        desk
    }

    fn taken(desk: &mut Desk, now: Instant, room: usize) -> Vec<(TaskId, u32)> {
        let errands = desk.take_due(now, room);
        errands.into_iter().map(|errand| (errand.callback.id, errand.tries)).collect()
    }

    #[test]
    fn a_task_that_goes_on_is_not_posted_and_one_that_is_away_not_again() {
        let now = Instant::now();
        let mut desk = desk(&[(1, "/a")]);
        assert_eq!(taken(&mut desk, now, 9), []);
        assert!(desk.waits_for(id(1)) && !desk.waits_for(id(2)));
        desk.ended(id(1), now);
        assert!(desk.knows(id(1)) && !desk.waits_for(id(1)));
        assert_eq!(taken(&mut desk, now, 9), [(id(1), 1)]);
        desk.ended(id(1), now);
        assert_eq!(taken(&mut desk, now, 9), []);
        desk.put_off(id(1), now + Duration::from_secs(5));
        assert_eq!(
            (taken(&mut desk, now, 9), desk.next_due(now)),
            (vec![], Some(now + Duration::from_secs(5)))
        );
        assert_eq!(taken(&mut desk, now + Duration::from_secs(5), 9), [(id(1), 2)]);
        desk.forget(id(1));
        assert!(desk.is_empty());
    }

    #[test]
    fn an_agent_does_not_take_all_messengers() {
        let now = Instant::now();
        let mut desk = desk(&[(1, "/a"), (2, "/a"), (3, "/a"), (4, "/b")]);
        for (number, late) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
            desk.ended(id(number), now + Duration::from_millis(late));
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&mut desk, later, 9), [(id(1), 1), (id(2), 1), (id(4), 1)]);
        assert_eq!(taken(&mut desk, later, 9), []);
        desk.forget(id(2));
        assert_eq!(taken(&mut desk, later, 9), [(id(3), 1)]);
    }
}
