//! What a runner leaves in its slots when it dies, and what the next one makes of it.

use std::io;

use super::SyncConsumer;
use super::consumer::instance_in;
use crate::{Recorded, Recovered, TaskError, code};
use ploinky_contract::TaskId;

impl SyncConsumer {
    /// Ends what a runner left when it died. Only the runner may call this, before it claims; again if some
    /// tasks were left.
    ///
    /// # Errors
    /// When the slots cannot be read or emptied.
    pub fn recover(&self) -> io::Result<Recovered> {
        let mut recovered = Recovered::default();
        for id in self.claims.read()? {
            match self.recover_task(id) {
                Ok(true) => recovered.crashed += 1,
                Ok(false) => recovered.released += 1,
                Err(_) => recovered.left += 1,
            }
        }
        if recovered.left == 0 {
            // Only now: until then another death must find them.
            self.claims.clear()?;
        }
        Ok(recovered)
    }

    /// Whether it got an outcome just now.
    fn recover_task(&self, id: TaskId) -> io::Result<bool> {
        let Some(bytes) = self.read(id)? else { return Ok(false) };
        // What does not say who waits cannot have been run.
        let Some(instance) = instance_in(&bytes) else { return Ok(false) };
        if self.has_ended(id, instance)? {
            return Ok(false);
        }
        let crashed = TaskError::new(
            code::AGENT_CRASHED,
            "the agent ended while the task ran; whether it had effects is unknown",
        );
        Ok(self.publish(instance, id, &crashed.encode(id))? == Recorded::Made)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::scratch::{id, raw, request};
    use crate::sync_lane::scratch::Lane;
    use crate::{Cancel, Claimed, NotClaimed, boottime_ns};

    fn nothing_done() -> Recovered {
        Recovered::default()
    }

    fn fill(path: &Path, bytes: &[u8]) {
        File::create(path).and_then(|mut file| file.write_all(bytes)).unwrap();
    }

    #[test]
    fn a_runner_that_died_before_its_slot_was_written_leaves_the_task_to_the_next_one() {
        let lane = Lane::new();
        let id = lane.submit(1);
        let next = lane.another_consumer();
        assert_eq!(next.recover().unwrap(), nothing_done());
        assert_eq!(next.waiting(&|_| false).unwrap(), [id]);
        assert!(matches!(next.claim(0, id).unwrap(), Claimed::Ours(_)));
    }

    #[test]
    fn a_runner_that_died_between_slot_and_record_has_crashed() {
        // Whether it had opened the request, or run the handler, nobody can tell.
        for has_read in [false, true] {
            let lane = Lane::new();
            let id = lane.submit(1);
            if has_read {
                drop(lane.claim(3, id));
            } else {
                lane.consumer.claims.put(3, id).unwrap();
            }
            let next = lane.another_consumer();
            assert_eq!(next.recover().unwrap(), Recovered { crashed: 1, released: 0, left: 0 });
            assert!(lane.outcome(id).unwrap().starts_with("AGENT_CRASHED: "));
            let again = next.claim(0, id).unwrap();
            assert!(matches!(again, Claimed::Not(NotClaimed::Taken)), "{again:?}");
            assert_eq!(lane.another_consumer().recover().unwrap().crashed, 0);
        }
    }

    #[test]
    fn a_runner_that_died_after_the_record_has_not_crashed() {
        for steps_of_the_server in 0..3 {
            let lane = Lane::new();
            let id = lane.submit(1);
            lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
            if 0 < steps_of_the_server {
                std::fs::remove_file(lane.path("requests", id.as_str())).unwrap();
            }
            if 1 < steps_of_the_server {
                lane.producer.clean(id).unwrap();
            }
            let next = lane.another_consumer();
            assert_eq!(next.recover().unwrap(), Recovered { crashed: 0, released: 1, left: 0 });
            assert_eq!(next.waiting(&|_| false).unwrap(), []);
            assert!(matches!(next.claim(0, id).unwrap(), Claimed::Not(NotClaimed::Taken)));
            let expected = (steps_of_the_server < 2).then_some("1");
            assert_eq!(lane.outcome(id).as_deref(), expected);
        }
    }

    #[test]
    fn a_cancelled_task_of_a_dead_runner_is_over() {
        let lane = Lane::new();
        let id = lane.submit(1);
        drop(lane.claim(0, id));
        assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::Asked);
        let next = lane.another_consumer();
        assert_eq!(next.recover().unwrap(), Recovered { crashed: 0, released: 1, left: 0 });
        assert!(matches!(next.claim(0, id).unwrap(), Claimed::Not(NotClaimed::Taken)));
    }

    #[test]
    fn what_cannot_be_recorded_stays_in_its_slot() {
        let lane = Lane::new();
        let id = lane.submit(1);
        drop(lane.claim(0, id));
        // The worker's directory is away for a moment.
        let away = lane.path("responses", "away");
        rustix::fs::rename(lane.path("responses", "1"), &away).unwrap();
        let next = lane.another_consumer();
        assert_eq!(next.recover().unwrap(), Recovered { crashed: 0, released: 0, left: 1 });
        rustix::fs::rename(&away, lane.path("responses", "1")).unwrap();
        // By this runner, or by the one after its death.
        assert_eq!(lane.another_consumer().recover().unwrap().crashed, 1);
        assert!(lane.outcome(id).unwrap().starts_with("AGENT_CRASHED: "));
    }

    #[test]
    fn what_stands_in_the_slots_besides_tasks_is_ignored() {
        let lane = Lane::new();
        let claims = lane.path("locks", "claims");
        for junk in [&b""[..], b"x", &[b'g'; 5000], &[0; 64], id(9).as_str().as_bytes()] {
            fill(&claims, junk);
            let recovered = lane.another_consumer().recover().unwrap();
            assert_eq!((recovered.crashed, recovered.left), (0, 0), "{junk:?}");
        }
        let torn = lane.submit(1);
        fill(&claims, torn.as_str().as_bytes().split_at(20).0);
        assert_eq!(lane.another_consumer().recover().unwrap(), nothing_done());
        assert_eq!(lane.another_consumer().waiting(&|_| false).unwrap(), [torn]);
    }

    #[test]
    fn a_slot_is_not_given_away_while_its_task_may_run_again() {
        let lane = Lane::new();
        let (first, second) = (lane.submit(1), lane.submit(2));
        drop(lane.claim(0, first));
        assert!(lane.consumer.claim(0, second).is_err());
        // No other thread takes the task that has no outcome.
        assert!(matches!(lane.consumer.claim(1, first).unwrap(), Claimed::Not(NotClaimed::Taken)));
        assert_eq!(lane.consumer.waiting(&|_| false).unwrap(), [second]);
        let mut short = request(3);
        short.deadline_boot_ns = boottime_ns() + 2_000_000_000;
        lane.producer.submit(&short).unwrap();
        drop(lane.claim(1, short.id));
        while boottime_ns() < short.deadline_boot_ns {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        drop(lane.claim(1, second));
        // It gets an outcome, but is not run again.
        let again = lane.consumer.claim(2, short.id).unwrap();
        assert!(matches!(again, Claimed::Not(NotClaimed::Stale)), "{again:?}");
    }
}
