//! What the server sees of a plain call.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::scratch::{Scratch, id, raw, request};
use crate::{Claimed, Recorded, TaskError, code};

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[test]
fn a_link_on_the_way_to_the_queue_is_refused() {
    let queue = Scratch::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let tasks = queue.path("errors", "").parent().unwrap().to_owned();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&tasks, &link).unwrap();
    let error = Producer::open(&link).unwrap_err();
    assert!(error.to_string().starts_with("cannot open the directory"), "{error}");
    fs::remove_dir(tasks.join("errors")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), tasks.join("errors")).unwrap();
    assert!(Producer::open(&tasks).is_err());
    assert!(Producer::open(&elsewhere.path().join("..")).is_err());
    assert!(Producer::open(Path::new("")).is_err());
}

#[test]
fn a_directory_that_is_open_keeps_its_place_for_itself() {
    let root = tempfile::tempdir().unwrap();
    let tasks = root.path().join("tasks");
    let open = || {
        for name in ["requests", "urgent", "responses", "errors", "locks"] {
            fs::create_dir_all(tasks.join(name)).unwrap();
        }
        Producer::open(&tasks).unwrap()
    };
    let mut known = Vec::new();
    for _ in 0..20 {
        known.push(open());
        fs::remove_dir_all(&tasks).unwrap();
    }
    let places: std::collections::HashSet<_> =
        known.iter().map(|producer| producer.place().unwrap()).collect();
    assert_eq!(places.len(), known.len());
}

#[test]
fn a_task_is_never_submitted_twice() {
    let queue = Scratch::new();
    queue.submit(1);
    let inode = fs::metadata(queue.path("requests", id(1).as_str())).unwrap().ino();
    let again = queue.producer.submit(&request(1));
    assert!(matches!(again, Err(SubmitError::Exists { .. })), "{again:?}");
    assert_eq!(fs::metadata(queue.path("requests", id(1).as_str())).unwrap().ino(), inode);
}

#[test]
fn a_request_that_is_too_long_is_not_submitted() {
    let queue = Scratch::new();
    let mut long = request(1);
    long.params.push(raw(&format!("\"{}\"", "x".repeat(REQUEST_FILE_MAX_BYTES))));
    assert!(matches!(queue.producer.submit(&long), Err(SubmitError::TooLong { .. })));
    assert_eq!(queue.names("requests"), Vec::<String>::new());
}

#[test]
fn a_task_goes_there_and_back_and_leaves_nothing() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    assert_eq!(queue.outcome(id), None);
    let claim = queue.claim(id);
    assert_eq!(claim.command().as_str(), "ns.echo");
    assert_eq!(claim.request().unwrap().encode(), claim.bytes());
    assert_eq!(queue.consumer.complete(&claim, &raw("[1, 2]")).unwrap(), Recorded::Made);
    assert_eq!(queue.outcome(id).as_deref(), Some("[1, 2]"));
    assert_eq!(queue.outcome(id).as_deref(), Some("[1, 2]"));
    queue.producer.clean(id).unwrap();
    queue.producer.clean(id).unwrap();
    for directory in ["requests", "urgent", "responses", "errors", "locks"] {
        assert_eq!(queue.names(directory), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn a_cancelled_task_that_nobody_claimed_never_runs() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let why = TaskError::new(code::CANCELLED, "gone");
    assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::NeverStarted);
    assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(_)));
    assert_eq!(queue.outcome(id).as_deref(), Some("CANCELLED: gone"));
    queue.producer.clean(id).unwrap();
    assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(_)));
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}

#[test]
fn a_cancelled_task_that_is_claimed_is_asked_to_end() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let claim = queue.claim(id);
    let mut urgent = queue.consumer.watch_urgent().unwrap();
    let why = TaskError::new(code::CANCELLED, "gone");
    assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Asked);
    assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Asked);
    let mut seen = Vec::new();
    urgent.drain(&mut |id| seen.push(id)).unwrap();
    assert_eq!((seen, queue.consumer.urgent().unwrap()), (vec![id], vec![id]));
    queue.consumer.fail(&claim, &why).unwrap();
    assert_eq!(queue.outcome(id).as_deref(), Some("CANCELLED: gone"));
    queue.producer.clean(id).unwrap();
    assert_eq!(queue.names("urgent"), Vec::<String>::new());
}

#[test]
fn a_task_that_is_over_is_not_cancelled() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    queue.consumer.complete(&queue.claim(id), &raw("1")).unwrap();
    let why = TaskError::new(code::CANCELLED, "gone");
    assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Finished);
    assert_eq!(queue.outcome(id).as_deref(), Some("1"));
    assert_eq!(queue.names("locks"), Vec::<String>::new());
}

#[test]
fn the_first_record_of_a_task_wins() {
    let queue = Scratch::new();
    let id = queue.submit(1);
    let claim = queue.claim(id);
    queue.producer.give_up(id, &TaskError::new(code::DEADLINE, "first")).unwrap();
    let late = TaskError::new(code::HANDLER_FAILED, "second");
    assert_eq!(queue.consumer.fail(&claim, &late).unwrap(), Recorded::AlreadySo);
    queue.producer.give_up(id, &TaskError::new(code::DEADLINE, "third")).unwrap();
    assert_eq!(queue.outcome(id).as_deref(), Some("DEADLINE: first"));
}

#[test]
fn a_file_system_without_space_refuses_the_whole_task() {
    let directory = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let mounted = rustix::mount::mount(
        "tmpfs",
        directory.path(),
        "tmpfs",
        flags,
        Some(c"size=32k,nr_inodes=12"),
    );
    if let Err(e) = mounted {
        eprintln!("skipped: cannot mount a tmpfs here ({e})");
        return;
    }
    let path = directory.path().to_owned();
    let queue = Scratch::within(directory);
    let mount = Mounted(path);
    let claim = {
        queue.submit(1);
        queue.claim(id(1))
    };
    assert!(queue.producer.has_room().unwrap());
    let mut big = request(2);
    big.params.push(raw(&format!("\"{}\"", "x".repeat(64 * 1024))));
    let refused = queue.producer.submit(&big);
    assert!(matches!(refused, Err(SubmitError::NoSpace { .. })), "{refused:?}");
    assert_eq!(queue.names("requests"), [id(1).as_str()]);
    let value = raw(&format!("\"{}\"", "x".repeat(64 * 1024)));
    assert!(queue.consumer.complete(&claim, &value).is_err());
    assert_eq!((queue.names("locks").len(), queue.names("responses").len()), (1, 0));
    // The claim is still ours, and a smaller record fits.
    queue.consumer.complete(&claim, &raw("1")).unwrap();
    assert_eq!(queue.outcome(id(1)).as_deref(), Some("1"));
    let filled = fs::File::create(mount.0.join("fill"))
        .and_then(|mut file| io::Write::write_all(&mut file, &vec![0; 64 * 1024]));
    assert!(filled.is_err());
    assert!(!queue.producer.has_room().unwrap());
}

#[test]
fn a_runner_is_alive_as_long_as_it_holds_its_lock() {
    let queue = Scratch::new();
    assert!(!queue.producer.runner_is_alive());
    let lock = queue.consumer.become_runner().unwrap().unwrap();
    assert!(queue.producer.runner_is_alive());
    assert!(queue.another_consumer().become_runner().unwrap().is_none());
    drop(lock);
    assert!(!queue.producer.runner_is_alive());
    assert!(queue.another_consumer().become_runner().unwrap().is_some());
}
