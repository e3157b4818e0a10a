//! Measures a queue without HTTP: `ping_pong TASKS-DIR COMMAND COUNT IN-FLIGHT`, while agent-core serves it.
//!
//! Prints tasks per second and the median and 99th percentile of the time from submission to the outcome.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ploinky_contract::TaskId;
use ploinky_queue::{Outcome, Producer, Request, Submitter, Terms, boot_id, boottime_ns};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::value::RawValue;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [tasks, command, count, in_flight] = words.try_into().unwrap();
    let (count, in_flight): (u64, usize) = (count.parse().unwrap(), in_flight.parse().unwrap());
    let producer = Producer::open(tasks.as_ref()).unwrap();
    let mut watch = producer.watch().unwrap();
    let boot_id = boot_id().unwrap();
    let salt = boottime_ns();
    let payload = RawValue::from_string(format!("\"{}\"", "x".repeat(100))).unwrap();
    let user = RawValue::from_string("\"bench\"".to_owned()).unwrap();
    let submit = |number: u64| {
        let id = u128::from(salt) << 64 | u128::from(number);
        let seq = boottime_ns();
        let request = Request {
            id: TaskId::from_random(id.to_be_bytes()),
            command: command.parse().unwrap(),
            params: vec![user.clone(), payload.clone()],
            owner: "bench".parse().unwrap(),
            seq,
            deadline_boot_ns: seq + 30_000_000_000,
            boot_id: boot_id.clone(),
            submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
            attempt: 1,
            terms: Terms::default(),
        };
        producer.submit(&request).unwrap();
        request.id
    };
    let (mut sent, mut waiting, mut times) = (0, HashMap::new(), Vec::<Duration>::new());
    let start = Instant::now();
    while times.len() < usize::try_from(count).unwrap() {
        while sent < count && waiting.len() < in_flight {
            let now = Instant::now();
            waiting.insert(submit(sent), now);
            sent += 1;
        }
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        let mut seen = Vec::new();
        watch.drain(&mut |id| seen.push(id)).unwrap();
        for id in seen {
            if let Some(since) = waiting.remove(&id) {
                let outcome = producer.collect(id).unwrap();
                assert!(matches!(outcome, Some(Outcome::Done(_))), "{outcome:?}");
                times.push(since.elapsed());
                producer.clean(id).unwrap();
            }
        }
    }
    let rate = f64::from(u32::try_from(count).unwrap()) / start.elapsed().as_secs_f64();
    times.sort_unstable();
    let part = |percent: usize| times.get((times.len() - 1) * percent / 100).unwrap();
    println!("{rate:.0} tasks/s, p50 {:?}, p99 {:?}", part(50), part(99));
}
