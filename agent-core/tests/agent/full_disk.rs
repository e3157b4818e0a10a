//! A disk without room: nothing is lost, and nothing runs twice.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use ploinky_queue::Terms;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::agent::Agent;

/// A file system of its own below the queue.
struct Small(PathBuf);

impl Small {
    fn mount(agent: &Agent, directory: &str) -> Self {
        let path = agent.tasks(directory);
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
    let mut fillers = Vec::new();
    while let Ok(file) = File::create(disk.0.join(format!("filler-{}", fillers.len()))) {
        fillers.push(file);
        assert!(fillers.len() < 100_000, "the file system has no bound on names");
    }
    let id = agent.keep(&[], Terms::default());
    let trouble = format!("cannot claim task {id}: ");
    agent.wait_for("there is no room", || agent.log().contains(&trouble));
    assert_eq!(agent.lines_of("runs"), 0);
    let count = fillers.len();
    drop(fillers);
    for number in 0..count {
        std::fs::remove_file(disk.0.join(format!("filler-{number}"))).unwrap();
    }
    assert_eq!(agent.kept_outcome(id), "null");
    assert_eq!(agent.lines_of("runs"), 1);
}
