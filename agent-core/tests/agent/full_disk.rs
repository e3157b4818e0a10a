//! A disk without room: nothing is lost, and nothing runs twice.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use ploinky_queue::{SyncProducer, Terms};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal};

use crate::agent::Agent;

/// A file system of its own below the queue.
struct Small(PathBuf);

impl Small {
    fn mount(agent: &Agent, directory: &str) -> Self {
        Self::mount_at(agent.tasks(directory))
    }

    fn mount_at(path: PathBuf) -> Self {
        let options = Some(c"size=256k,nr_inodes=60,mode=0777");
        // As root, like all of tests/check: a test that is left out would read as passed.
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options).unwrap();
        Self(path)
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Takes all inodes but those that are there.
    fn fill_with_names(&self) -> usize {
        let mut count = 0;
        while File::create(self.0.join(format!("filler-{count}"))).is_ok() {
            count += 1;
            assert!(count < 100_000, "the file system has no bound on names");
        }
        count
    }

    fn free_of_names(&self, count: usize) {
        for number in 0..count {
            std::fs::remove_file(self.0.join(format!("filler-{number}"))).unwrap();
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

#[test]
fn an_outcome_that_finds_no_room_is_recorded_when_there_is_some() {
    for terms in [Terms::default(), Terms { attempts: 2, ..Terms::default() }] {
        let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
        let disk = Small::mount(&agent, "responses");
        agent.put(
            "run.sh",
            "echo x >> runs; while [ ! -e go ]; do sleep 0.02; done; head -c 9000 /dev/zero | tr '\\0' x",
        );
        agent.reopen();
        agent.start();
        let id = agent.keep(&[], terms);
        agent.wait_for("it runs", || agent.lines_of("runs") == 1);
        disk.fill();
        agent.put("go", "");
        let trouble = format!("cannot record the outcome of task {id}: ");
        agent.wait_for("there is no room", || agent.log().contains(&trouble));
        assert!(agent.tasks("locks").join(id.as_str()).exists());
        assert!(agent.producer.collect(id).unwrap().is_none());
        disk.free();
        assert_eq!(agent.kept_outcome(id).len(), 9002);
        assert_eq!(agent.lines_of("runs"), 1);
    }
}

#[test]
fn a_task_whose_lock_finds_no_room_waits_for_it() {
    let mut agent = Agent::prepare(r#""commands":{"run":"run.sh"}"#);
    let disk = Small::mount(&agent, "locks");
    agent.put("run.sh", "echo x >> runs");
    agent.reopen();
    agent.start();
    // A directory takes none of the blocks, but a place among the inodes.
    let count = disk.fill_with_names();
    let id = agent.keep(&[], Terms::default());
    let trouble = format!("cannot claim task {id}: ");
    agent.wait_for("there is no room", || agent.log().contains(&trouble));
    assert_eq!(agent.lines_of("runs"), 0);
    disk.free_of_names(count);
    assert_eq!(agent.kept_outcome(id), "null");
    assert_eq!(agent.lines_of("runs"), 1);
}

/// An agent whose memory for calls is small, and that memory.
fn with_memory(script: &str) -> (Agent, Small) {
    let agent = Agent::prepare(r#""concurrency":1,"commands":{"run":"run.sh"}"#);
    agent.put("run.sh", script);
    std::fs::create_dir(agent.code("../sync")).unwrap();
    let memory = Small::mount_at(agent.code("../sync"));
    (agent, memory)
}

/// The agent starts and serves what comes through the disk, while no call can come through memory.
fn assert_serves_without_memory(agent: &mut Agent, lane: &SyncProducer) {
    agent.start();
    assert_eq!(agent.call(&[]), "null");
    assert!(!lane.runner_is_alive());
    let log = agent.log();
    assert!(log.contains("going on without memory: "), "{log}");
}

#[test]
fn an_agent_starts_without_the_memory_in_which_its_lock_finds_no_room() {
    let (mut agent, memory) = with_memory("true");
    let lane = agent.sync_lane();
    // From here on it is the lock that lacks room, not the slots.
    File::create(memory.0.join("locks/claims")).unwrap();
    memory.fill_with_names();
    assert_serves_without_memory(&mut agent, &lane);
}

#[test]
fn an_agent_starts_without_the_memory_in_which_its_slots_find_no_room() {
    let (mut agent, memory) = with_memory("true");
    let lane = agent.sync_lane();
    memory.fill();
    assert_serves_without_memory(&mut agent, &lane);
}

#[test]
fn a_call_whose_end_finds_no_room_at_a_start_is_ended_by_the_next_one() {
    let (mut agent, memory) = with_memory("echo $$ > pid; [ -e go ] || sleep 20");
    let lane = agent.sync_lane();
    agent.start();
    let call = agent.call_over(&lane, &[]);
    let handler: i32 = agent.line_of("pid").parse().unwrap();
    agent.signal(Signal::KILL);
    agent.ended();
    rustix::process::kill_process_group(Pid::from_raw(handler).unwrap(), Signal::KILL).unwrap();
    agent.put("go", "");
    let count = memory.fill_with_names();
    assert_serves_without_memory(&mut agent, &lane);
    assert!(lane.collect(call).unwrap().is_none());
    memory.free_of_names(count);
    agent.signal(Signal::TERM);
    agent.ended();
    agent.start();
    assert!(agent.outcome_of_call(&lane, call).starts_with("AGENT_CRASHED: "));
    assert!(lane.runner_is_alive());
    let next = agent.call_over(&lane, &[]);
    assert_eq!(agent.outcome_of_call(&lane, next), "null");
}
