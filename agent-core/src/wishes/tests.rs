//! When wishes are looked for whose hints were lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use ploinky_contract::{Manifest, Service, TaskId};
use ploinky_queue::boot_id;
use tempfile::TempDir;

use super::*;
use crate::interrupt::Why;
use crate::schedule::{Entry, number};

/// Nothing in these tests takes so long unless it is broken.
const LIMIT: Duration = Duration::from_secs(30);
const OFTEN: Duration = Duration::from_millis(1);

/// The queue of an agent, and who brings wishes without any hint on them.
struct Scene {
    directory: TempDir,
    lanes: Lanes,
    inbox: Inbox,
    interrupts: Interrupts,
    stop: Bell,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lanes = lanes(&directory.path().join("tasks"));
        let inbox = Inbox::open(&lanes, 1).unwrap();
        let (interrupts, stop) = (Interrupts::new(1).unwrap(), Bell::new().unwrap());
        Self { directory, lanes, inbox, interrupts, stop }
    }

    fn put(&self, directory: &str, id: TaskId) {
        File::create(self.directory.path().join("tasks").join(directory).join(id.as_str()))
            .unwrap();
    }

    /// The task that the inbox gives to the one thread that there is.
    fn next(&self) -> Option<TaskId> {
        let (done, is_done) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if is_done.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                    self.inbox.close();
                }
            });
            let next = self.inbox.next(0, &self.interrupts.all()[0], &self.lanes).unwrap();
            drop(done);
            next.map(|next| next.id)
        })
    }

    /// Does `work` while wishes are brought; `work` can ask how often the one who brings them slept.
    fn while_brought(&self, work: impl FnOnce(&dyn Fn() -> u64)) {
        let mut deaf = Wishes::open(&lanes(&self.directory.path().join("elsewhere"))).unwrap();
        deaf.every = OFTEN;
        let (told, thread) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                told.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
                deaf.bring(&self.lanes, &self.inbox, &self.interrupts, &self.stop).unwrap();
            });
            let status = PathBuf::from("/proc").join(thread.recv().unwrap()).join("status");
            let sleeps = || {
                let text = fs::read_to_string(&status).unwrap();
                let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
                line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
            };
            // Also when `work` panics, or the scope would never end.
            let _stops = Stops(&self.stop);
            work(&sleeps);
        });
    }
}

struct Stops<'a>(&'a Bell);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.ring();
    }
}

fn lanes(tasks: &Path) -> Lanes {
    for name in ["requests", "urgent", "responses", "errors", "locks"] {
        fs::create_dir_all(tasks.join(name)).unwrap();
    }
    let manifest = br#"{"name":"a","container":"localhost/a","commands":{"run":"run.sh"}}"#;
    let Service::Container(container) = Manifest::parse(manifest).unwrap().service else {
        panic!("an agent without a container")
    };
    Lanes::open(tasks, &tasks.join("none"), &container, boot_id().unwrap()).unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::park_timeout(OFTEN);
    }
}

/// Until nothing is looked for any more: a look is due many times in between.
fn wait_for_rest(sleeps: &dyn Fn() -> u64) {
    wait_for("a rest", || {
        let before = sleeps();
        thread::park_timeout(OFTEN * 100);
        sleeps() == before
    });
}

#[test]
fn who_brings_wishes_rests_while_there_is_nothing_to_do_and_hears_without_hints_while_there_is() {
    let scene = Scene::new();
    let interrupt = &scene.interrupts.all()[0];
    scene.while_brought(|sleeps| {
        for number in 1..=2 {
            wait_for_rest(sleeps);
            let id = TaskId::from_random([number; 16]);
            scene.put("requests", id);
            assert_eq!(scene.next(), Some(id));
            scene.put("urgent", id);
            wait_for("the wish", || interrupt.asked() == Some(Why::Cancelled));
            interrupt.end();
            scene.inbox.end(0);
        }
    });
}

#[test]
fn a_wish_that_came_in_a_rest_is_heard_by_a_task_that_starts_later() {
    let scene = Scene::new();
    let interrupt = &scene.interrupts.all()[0];
    scene.while_brought(|sleeps| {
        wait_for_rest(sleeps);
        let id = TaskId::from_random([1; 16]);
        scene.put("urgent", id);
        wait_for_rest(sleeps);
        scene.put("requests", id);
        assert_eq!(scene.next(), Some(id));
        wait_for("the wish", || interrupt.asked() == Some(Why::Cancelled));
    });
}

#[test]
fn a_wish_without_a_hint_is_heard_for_a_task_that_waits_for_its_time() {
    let scene = Scene::new();
    scene.while_brought(|sleeps| {
        wait_for_rest(sleeps);
        let id = TaskId::from_random([1; 16]);
        let entry = Entry { id: number(id), owner: 0, seq: 0, urgency: 0, class: 0 };
        scene.inbox.put_off(entry, BootTime::after(LIMIT * 100));
        scene.put("urgent", id);
        assert_eq!(scene.next(), Some(id));
    });
}
