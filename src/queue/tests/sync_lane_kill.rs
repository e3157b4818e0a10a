//! A runner is killed again and again, at any of its steps: no task runs twice, and each has one outcome.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says by ending that something is wrong"
)]

use std::collections::{HashMap, VecDeque};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use ploinky_contract::TaskId;
use ploinky_queue::{
    Cancel, Claimed, Outcome, Request, Submitter, SyncConsumer, SyncProducer, boot_id, boottime_ns,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use serde_json::value::RawValue;

/// Tells the second process of the test where the lane is.
const LANE: &str = "SYNC_LANE_KILL";
/// How often the runner is killed, unless the variable says otherwise.
const KILLS: u32 = 60;
const KILLS_VARIABLE: &str = "SYNC_LANE_KILLS";
const IN_FLIGHT: usize = 12;
const MILLISECOND: u64 = 1_000_000;
/// Nothing may take longer.
const LIMIT_NS: u64 = 600_000 * MILLISECOND;
const THREADS: usize = 3;

/// The second process: serves until it is killed.
#[test]
#[ignore = "a part of the other test"]
fn runner() {
    let Some(lane) = std::env::var_os(LANE).map(PathBuf::from) else { return };
    let consumer = SyncConsumer::open(&lane, boot_id().unwrap()).unwrap();
    let _lock = loop {
        if let Some(lock) = consumer.become_runner().unwrap() {
            break lock;
        }
    };
    while consumer.recover().unwrap().left != 0 {}
    let watch = Mutex::new(consumer.watch_requests().unwrap());
    let held = Mutex::new(VecDeque::from(consumer.waiting(&|_| false).unwrap()));
    std::thread::scope(|scope| {
        for slot in 0..THREADS {
            let (consumer, watch, held, lane) = (&consumer, &watch, &held, &lane);
            scope.spawn(move || serve(slot, consumer, watch, held, lane));
        }
    });
}

fn serve(
    slot: usize,
    consumer: &SyncConsumer,
    watch: &Mutex<ploinky_queue::Watch>,
    held: &Mutex<VecDeque<TaskId>>,
    lane: &Path,
) {
    let mut effects = OpenOptions::new().append(true).open(lane.join("effects")).unwrap();
    for round in 0_u32.. {
        let next = held.lock().unwrap().pop_front();
        if let Some(id) = next {
            if let Claimed::Ours(claim) = consumer.claim(slot, id).unwrap() {
                effects.write_all(format!("{id}\n").as_bytes()).unwrap();
                consumer.complete(&claim, &RawValue::from_string("1".to_owned()).unwrap()).unwrap();
            }
            continue;
        }
        let mut watch = watch.lock().unwrap();
        let mut fds = [PollFd::new(&*watch, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
        watch.drain(&mut |id| held.lock().unwrap().push_back(id)).unwrap();
        drop(watch);
        // Listings come in between and name tasks again.
        if round % 3 == 0 {
            held.lock().unwrap().extend(consumer.waiting(&|_| false).unwrap());
        }
    }
}

fn start(lane: &Path) -> Child {
    #[expect(clippy::disallowed_methods, reason = "this program itself")]
    let mut command = Command::new(std::env::current_exe().unwrap());
    let words = ["--exact", "runner", "--ignored", "--nocapture", "--test-threads=1"];
    command.args(words).env(LANE, lane).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// A small generator; the seed is told, so that a failure can be looked at again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    NeverStarted,
    Asked,
    Done,
    Failed(String),
}

#[test]
fn no_task_runs_twice_however_often_the_runner_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let lane = directory.path();
    for name in ["requests", "urgent", "streams", "responses", "locks"] {
        std::fs::create_dir(lane.join(name)).unwrap();
    }
    drop(std::fs::File::create(lane.join("effects")).unwrap());
    let wanted = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().unwrap());
    let seed = boottime_ns() | 1;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let producer = SyncProducer::open(lane, 1).unwrap();
    let begin = boottime_ns();
    let (mut waiting, mut ends) = (Vec::new(), HashMap::new());
    let (mut runner, mut kills, mut kill_at) = (start(lane), 0, None);
    // A task of this life was done, so nothing of the last one is to be recovered any more.
    let (mut submitted, mut submitted_before, mut is_settled) = (0_u64, 0, false);
    while kills < wanted || !waiting.is_empty() {
        assert!(boottime_ns() - begin < LIMIT_NS, "{} wait, {} ended", waiting.len(), ends.len());
        while kills < wanted && waiting.len() < IN_FLIGHT {
            submitted += 1;
            let request = request(seed, submitted);
            producer.submit(&request).unwrap();
            waiting.push((request.id, submitted));
        }
        waiting.retain(|(id, number)| {
            let cancelled = is_settled && dice.below(1000) == 0;
            let ended = end_of(&producer, *id, cancelled);
            if let Some(end) = ended {
                is_settled |= end == End::Done && submitted_before < *number;
                assert_eq!(ends.insert(*id, end), None);
                // It serves: it may die from now on, within some tasks.
                kill_at.get_or_insert_with(|| boottime_ns() + dice.below(8 * MILLISECOND));
                return false;
            }
            true
        });
        if kills < wanted && kill_at.is_some_and(|at| at <= boottime_ns()) {
            runner.kill().unwrap();
            runner.wait().unwrap();
            (submitted_before, is_settled) = (submitted, false);
            (runner, kills, kill_at) = (start(lane), kills + 1, None);
        }
    }
    runner.kill().unwrap();
    runner.wait().unwrap();
    producer.flush().unwrap();
    check(lane, &ends, submitted);
}

fn end_of(producer: &SyncProducer, id: TaskId, is_cancelled: bool) -> Option<End> {
    if is_cancelled {
        match producer.cancel(id).unwrap() {
            Cancel::NeverStarted => {
                producer.clean(id).unwrap();
                return Some(End::NeverStarted);
            }
            // It may still run, but nobody waits.
            Cancel::Asked => return Some(End::Asked),
            Cancel::Finished => {}
        }
    }
    let end = match producer.collect(id).unwrap()? {
        Outcome::Done(_) => End::Done,
        Outcome::Failed(error) => End::Failed(error.code),
        #[allow(unreachable_patterns, clippy::allow_attributes, reason = "other kinds may come")]
        other @ Outcome::File(_) => panic!("{other:?}"),
    };
    producer.clean_collected(id).unwrap();
    Some(end)
}

fn request(seed: u64, number: u64) -> Request {
    let now = boottime_ns();
    Request {
        id: TaskId::from_random((u128::from(seed) << 64 | u128::from(number)).to_be_bytes()),
        command: "ns.echo".parse().unwrap(),
        params: vec![RawValue::from_string("\"alice\"".to_owned()).unwrap()],
        owner: "alice".parse().unwrap(),
        seq: now,
        deadline_boot_ns: now + LIMIT_NS,
        boot_id: boot_id().unwrap(),
        submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
        attempt: 1,
        terms: ploinky_queue::Terms::default(),
    }
}

fn check(lane: &Path, ends: &HashMap<TaskId, End>, submitted: u64) {
    let effects = std::fs::read_to_string(lane.join("effects")).unwrap();
    let mut runs = HashMap::<TaskId, u32>::new();
    for line in effects.lines() {
        *runs.entry(line.parse().unwrap()).or_default() += 1;
    }
    assert_eq!(ends.len() as u64, submitted);
    let mut crashed = 0;
    for (id, end) in ends {
        let ran = runs.get(id).copied().unwrap_or_default();
        match end {
            End::NeverStarted => assert_eq!(ran, 0, "{id}"),
            End::Asked => assert!(ran <= 1, "{id}"),
            End::Done => assert_eq!(ran, 1, "{id}"),
            End::Failed(code) => {
                assert_eq!(code, "AGENT_CRASHED", "{id}");
                assert!(ran <= 1, "{id}");
                crashed += 1;
            }
        }
    }
    eprintln!("{submitted} tasks, {crashed} crashed");
    assert!(crashed != 0, "no kill met a task");
    assert_eq!(std::fs::read_dir(lane.join("requests")).unwrap().count(), 0);
}
