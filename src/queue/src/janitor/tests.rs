//! What a pass removes and what it leaves.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::*;
use crate::boot_id;
use crate::scratch::{Scratch, id, raw, request};

const NOBODY: &dyn Fn(&Submitter) -> bool = &|_| false;
const EVERYBODY: &dyn Fn(&Submitter) -> bool = &|_| true;

fn try_pass(
    queue: &Scratch,
    is_alive: &dyn Fn(&Submitter) -> bool,
    limit: usize,
) -> io::Result<Swept> {
    let rules = Rules {
        boot_id: &boot_id().unwrap(),
        is_alive,
        limit,
        task_retention: Duration::MAX,
        dead_task_retention: Duration::MAX,
    };
    queue.producer.sweep(&rules)
}

fn pass(queue: &Scratch, is_alive: &dyn Fn(&Submitter) -> bool) -> Swept {
    try_pass(queue, is_alive, 1000).unwrap()
}

fn make_old(queue: &Scratch, directory: &str, name: &str) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(queue.path(directory, name))
        .and_then(|file| file.set_modified(long_ago))
        .unwrap();
}

#[test]
fn tasks_of_the_living_are_left_alone() {
    let queue = Scratch::new();
    let waiting = queue.submit(1);
    let claim = queue.claim(queue.submit(2));
    queue.consumer.complete(&queue.claim(queue.submit(3)), &raw("1")).unwrap();
    make_old(&queue, "responses", id(3).as_str());
    assert_eq!(pass(&queue, EVERYBODY), Swept { looked: 5, ..Swept::default() });
    queue.consumer.complete(&claim, &raw("2")).unwrap();
    drop(queue.claim(waiting));
    assert_eq!(queue.outcome(id(3)).as_deref(), Some("1"));
}

#[test]
fn a_queue_in_which_nothing_happens_is_listed_once() {
    let queue = Scratch::new();
    let directories = ["requests", "urgent", "responses", "errors", "locks", "outputs", "files"];
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for directory in directories {
        fs::create_dir(queue.path(directory, "junk")).unwrap();
        File::open(queue.path(directory, "")).and_then(|d| d.set_modified(long_ago)).unwrap();
    }
    let looked = || pass(&queue, EVERYBODY).looked;
    assert_eq!([looked(), looked()], [directories.len(), 0]);
    // A change is seen, and as long as it is young it does not count as the last one.
    queue.put("errors", id(7).as_str(), b"x");
    assert_eq!([looked(), looked()], [2, 2]);
    make_old(&queue, "errors", id(7).as_str());
    assert_eq!(pass(&queue, EVERYBODY).strays, 1);
    assert_eq!([looked(), looked()], [1, 1]);
}

#[test]
fn tasks_of_the_dead_are_ended() {
    let queue = Scratch::new();
    let waiting = queue.submit(1);
    let claim = queue.claim(queue.submit(2));
    queue.consumer.complete(&queue.claim(queue.submit(3)), &raw("1")).unwrap();
    let swept = pass(&queue, NOBODY);
    assert_eq!((swept.tasks, swept.asked), (2, 1), "{swept:?}");
    assert_eq!(queue.names("urgent"), [id(2).as_str()]);
    queue.consumer.fail(&claim, &TaskError::new(code::CANCELLED, "")).unwrap();
    assert_eq!(pass(&queue, NOBODY).tasks, 1);
    assert!(matches!(queue.consumer.claim(waiting).unwrap(), crate::Claimed::Not(_)));
    for directory in ["requests", "urgent", "responses", "errors", "locks"] {
        assert_eq!(queue.names(directory), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn a_task_that_its_agent_never_ends_is_over_after_the_deadline() {
    let queue = Scratch::new();
    let mut late = request(1);
    late.deadline_boot_ns = 1;
    queue.producer.submit(&late).unwrap();
    fs::create_dir(queue.path("locks", late.id.as_str())).unwrap();
    assert_eq!(pass(&queue, NOBODY).tasks, 1);
    assert_eq!(queue.names("requests"), Vec::<String>::new());
}

#[test]
fn a_task_that_cannot_be_ended_stops_nothing() {
    let queue = Scratch::new();
    let waiting = queue.submit(1);
    let mut late = request(2);
    late.deadline_boot_ns = 1;
    queue.producer.submit(&late).unwrap();
    make_old(&queue, "responses", id(3).as_str());
    // Nothing can be made in a directory that is gone, as on a full disk.
    fs::remove_dir(queue.path("locks", "")).unwrap();
    let swept = try_pass(&queue, NOBODY, 1000);
    assert!(swept.is_err(), "{swept:?}");
    assert_eq!(queue.names("requests"), [waiting.as_str()]);
    assert_eq!(queue.names("responses"), Vec::<String>::new());
}

#[test]
fn what_is_of_another_boot_or_no_request_is_removed() {
    let queue = Scratch::new();
    let mut old = request(1);
    old.boot_id = "f".repeat(32);
    queue.producer.submit(&old).unwrap();
    make_old(&queue, "requests", id(2).as_str());
    File::create(queue.path("requests", id(3).as_str())).unwrap();
    make_old(&queue, "requests", ".tmp-old");
    File::create(queue.path("requests", ".tmp-new")).unwrap();
    let swept = pass(&queue, EVERYBODY);
    assert_eq!((swept.tasks, swept.strays), (2, 1), "{swept:?}");
    // Somebody may wait for what only this version cannot read.
    assert_eq!(queue.names("requests"), [".tmp-new", id(3).as_str()]);
}

#[test]
fn results_of_no_task_are_removed_when_they_are_old() {
    let queue = Scratch::new();
    make_old(&queue, "responses", id(1).as_str());
    make_old(&queue, "errors", id(2).as_str());
    File::create(queue.path("responses", id(3).as_str())).unwrap();
    File::create(queue.path("urgent", id(4).as_str())).unwrap();
    File::create(queue.path("responses", "junk")).unwrap();
    assert_eq!(pass(&queue, NOBODY).strays, 3);
    assert_eq!(queue.names("responses"), [id(3).as_str(), "junk"]);
    assert_eq!(queue.names("urgent"), Vec::<String>::new());
}

#[test]
fn a_pass_looks_at_no_more_than_its_limit() {
    let queue = Scratch::new();
    for number in 0..20 {
        queue.submit(number);
    }
    let swept = try_pass(&queue, NOBODY, 5).unwrap();
    assert_eq!((swept.tasks, swept.more, queue.names("requests").len()), (5, true, 15));
}
