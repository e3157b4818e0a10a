//! What an agent leaves in its directories harms nobody else, and ends its own task for good.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use ploinky_contract::TaskState;
use ploinky_contract::limits::{PROGRESS_MAX_BYTES, RESULT_MAX_BYTES};
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::scratch::{Scratch, kept, raw};
use crate::{BadResult, Claimed, FileResult, NotClaimed, StagedUpload};

type Leave = fn(&Scratch, &str, &str);

/// Everything but a regular file with one name.
const NO_FILES: [Leave; 6] = [
    |queue, directory, name| symlink("/etc/passwd", queue.path(directory, name)).unwrap(),
    |queue, directory, name| {
        mkfifoat(CWD, queue.path(directory, name), Mode::from_raw_mode(0o644)).unwrap();
    },
    |queue, directory, name| drop(UnixListener::bind(queue.path(directory, name)).unwrap()),
    |queue, directory, name| fs::create_dir(queue.path(directory, name)).unwrap(),
    |queue, directory, name| {
        fs::create_dir(queue.path(directory, name)).unwrap();
        queue.put(directory, &format!("{name}/x"), b"x");
    },
    |queue, directory, name| {
        queue.put(directory, "other", b"{}");
        fs::hard_link(queue.path(directory, "other"), queue.path(directory, name)).unwrap();
    },
];

#[test]
fn what_is_no_result_becomes_an_error_that_stays() {
    let garbage: [Leave; 3] = [
        |queue, directory, name| queue.put(directory, name, b""),
        |queue, directory, name| queue.put(directory, name, &vec![b'['; 100_000]),
        |queue, directory, name| {
            File::create(queue.path(directory, name)).unwrap().set_len(1 << 33).unwrap();
        },
    ];
    for leave in NO_FILES.into_iter().chain(garbage) {
        for directory in ["responses", "errors"] {
            let queue = Scratch::new();
            let task = queue.accept_retried(1, 3);
            leave(&queue, directory, task.as_str());
            assert_eq!(queue.state(task), Some(TaskState::Dead));
            let first = queue.kept_outcome(task).unwrap();
            assert!(first.starts_with("AGENT_BAD_RESULT: "), "{first}");
            assert_eq!(queue.kept_outcome(task).unwrap(), first);
            assert!(matches!(queue.consumer.claim(task).unwrap(), Claimed::Not(NotClaimed::Taken)));
            let dead = queue.producer.inspect(task).unwrap().unwrap();
            assert_eq!(dead.state, TaskState::Dead);
            assert_eq!(dead.last_error.unwrap().code, "AGENT_BAD_RESULT");
            assert!(queue.producer.remove(task).unwrap());
            assert_eq!(queue.names("requests"), Vec::<String>::new());
        }
    }
    assert!(fs::metadata("/etc/passwd").is_ok());
}

#[test]
fn what_is_no_note_is_no_run_and_what_is_no_progress_is_none() {
    for leave in NO_FILES {
        let queue = Scratch::new();
        let task = queue.accept_retried(1, 2);
        leave(&queue, "locks", &format!("{task}.note"));
        leave(&queue, "locks", &format!("{task}.progress"));
        let inspected = queue.producer.inspect(task).unwrap().unwrap();
        assert_eq!((inspected.state, inspected.attempt), (TaskState::Queued, 0));
        assert!(inspected.progress.is_none());
        assert_eq!(queue.claim(task).attempt(), 1);
    }
    let deep = vec![b'['; 200_000];
    for bytes in [b"".as_slice(), b"{", &deep, b"{\"v\":1,\"id\":\"0\"}"] {
        let queue = Scratch::new();
        let task = queue.accept_retried(1, 2);
        for word in ["note", "progress"] {
            queue.put("locks", &format!("{task}.{word}"), bytes);
        }
        let inspected = queue.producer.inspect(task).unwrap().unwrap();
        assert_eq!((inspected.state, inspected.attempt), (TaskState::Queued, 0));
        assert_eq!(queue.consumer.waiting_task(task).unwrap().unwrap().failed, 0);
        assert_eq!(queue.claim(task).attempt(), 1);
        queue.consumer.progress(task, &raw("7")).unwrap();
        let inspected = queue.producer.inspect(task).unwrap().unwrap();
        assert_eq!(inspected.progress.unwrap().get(), "7");
    }
}

#[test]
fn progress_is_bounded_and_the_last_one_stays() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let claim = queue.claim(task);
    let text = |length: usize| raw(&format!("\"{}\"", "x".repeat(length - 2)));
    queue.consumer.progress(task, &text(PROGRESS_MAX_BYTES)).unwrap();
    assert!(queue.consumer.progress(task, &text(PROGRESS_MAX_BYTES + 1)).is_err());
    queue.consumer.complete(&claim, &raw("1")).unwrap();
    let progress = queue.producer.inspect(task).unwrap().unwrap().progress.unwrap();
    assert_eq!(progress.get().len(), PROGRESS_MAX_BYTES);
}

#[test]
fn a_file_that_is_no_file_is_no_result() {
    for leave in NO_FILES {
        let queue = Scratch::new();
        let task = queue.accept_once(1);
        let claim = queue.claim(task);
        assert!(queue.consumer.seal_output(&claim, "x", "text/plain").unwrap().is_none());
        leave(&queue, "outputs", task.as_str());
        let refused = queue.consumer.seal_output(&claim, "x", "text/plain").unwrap_err();
        assert!(refused.is_fault_of_agent(), "{refused:?}");
        let said = FileResult::new("x", "text/plain", 2).unwrap();
        queue.consumer.complete_file(&claim, &said).unwrap();
        assert!(queue.producer.open_output(task, &said).unwrap_err().is_fault_of_agent());
        assert!(queue.producer.remove(task).unwrap());
    }
}

#[test]
fn a_result_that_is_a_file_goes_there_and_back() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let claim = queue.claim(task);
    queue.put("outputs", task.as_str(), b"hello");
    let sealed = queue.consumer.seal_output(&claim, "a \"b\".txt", "text/plain").unwrap().unwrap();
    queue.consumer.complete_file(&claim, &sealed).unwrap();
    assert_eq!(queue.kept_outcome(task), Some(format!("{sealed:?}")));
    assert_eq!(queue.state(task), Some(TaskState::Done));
    let output = queue.producer.open_output(task, &sealed).unwrap().unwrap();
    assert_eq!(io::read_to_string(output.file).unwrap(), "hello");
    queue.put("outputs", task.as_str(), b"hello, world");
    let changed = queue.producer.open_output(task, &sealed).unwrap_err();
    assert!(matches!(changed, BadResult::Size { found: 12, recorded: 5 }), "{changed:?}");
    assert!(queue.producer.remove(task).unwrap());
    assert!(queue.producer.open_output(task, &sealed).unwrap().is_none());
    queue.assert_empty();
}

#[test]
fn a_value_that_is_too_long_is_the_end_of_the_task() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let value = raw(&format!("\"{}\"", "x".repeat(RESULT_MAX_BYTES)));
    queue.consumer.complete(&queue.claim(task), &value).unwrap();
    assert!(queue.kept_outcome(task).unwrap().starts_with("RESULT_TOO_LARGE: "));
}

#[test]
fn an_upload_appears_whole_or_not_at_all() {
    let queue = Scratch::new();
    let write = |upload: &StagedUpload, number: usize| {
        let mut file = upload.create(number).unwrap();
        io::Write::write_all(&mut file, b"x").unwrap();
        upload.sync(file).unwrap();
    };
    let task = kept(1, 1).id;
    let upload = queue.producer.stage_upload(task).unwrap();
    assert!(queue.producer.stage_upload(task).is_err());
    write(&upload, 0);
    assert!(upload.create(0).is_err());
    assert!(upload.create(1000).is_err());
    drop(upload);
    assert_eq!(queue.names("files"), Vec::<String>::new());
    for step in [crate::disk::Step::File, crate::disk::Step::Directory] {
        let upload = queue.producer.stage_upload(task).unwrap();
        let file = upload.create(0).unwrap();
        queue.producer.directories.disk.faults.fail(step);
        assert!(upload.sync(file).and_then(|()| upload.publish_as(task, true)).map(drop).is_err());
        assert_eq!(queue.names("files"), Vec::<String>::new());
    }
    let upload = queue.producer.stage_upload(task).unwrap();
    (0..3).for_each(|number| write(&upload, number));
    assert!(upload.publish_as(task, true).unwrap());
    assert_eq!(queue.names(&format!("files/{task}")), ["0", "1", "2"]);
    queue.producer.remove_files(task).unwrap();
    queue.producer.remove_files(task).unwrap();
    assert_eq!(queue.names("files"), Vec::<String>::new());
}

#[test]
fn the_files_of_a_task_that_is_submitted_once_more_outlive_the_first_one() {
    let queue = Scratch::new();
    let [old, new] = [kept(1, 1).id, kept(2, 1).id];
    assert!(queue.producer.stage_again(new, old, 1).unwrap().is_none());
    let upload = queue.producer.stage_upload(old).unwrap();
    for number in 0..2 {
        let mut file = upload.create(number).unwrap();
        io::Write::write_all(&mut file, &[b'0' + u8::try_from(number).unwrap()]).unwrap();
        upload.sync(file).unwrap();
    }
    assert!(upload.publish_as(old, true).unwrap());
    // One is missing: none is taken.
    assert!(queue.producer.stage_again(new, old, 3).unwrap().is_none());
    drop(queue.producer.stage_again(new, old, 2).unwrap().unwrap());
    assert_eq!(queue.names("files"), [old.as_str()]);
    let again = queue.producer.stage_again(new, old, 2).unwrap().unwrap();
    queue.producer.directories.disk.faults.fail(crate::disk::Step::Directory);
    assert!(again.publish_as(new, true).is_err());
    assert_eq!(queue.names("files"), [old.as_str()]);
    let again = queue.producer.stage_again(new, old, 2).unwrap().unwrap();
    assert!(again.publish_as(new, true).unwrap());
    queue.producer.remove_files(old).unwrap();
    assert_eq!(queue.names("files"), [new.as_str()]);
    for (name, content) in [("0", "0"), ("1", "1")] {
        let file = queue.path("files", new.as_str()).join(name);
        assert_eq!(fs::read_to_string(file).unwrap(), content);
    }
}
