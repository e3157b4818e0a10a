//! Accepted is only what stays.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::Step;
use crate::gate::Gate;
use crate::scratch::{Scratch, id, kept, keyed, raw};
use crate::{Accepted, Claimed, Outcome, SubmitError};

#[test]
fn a_request_whose_bytes_are_not_on_the_disk_is_refused_alone() {
    let queue = Scratch::new();
    queue.producer.directories.disk.faults.fail(Step::File);
    let results = queue.producer.submit_durable(&[kept(1, 1), kept(2, 1)]);
    assert!(matches!(results[0], Err(SubmitError::Publish { .. })), "{results:?}");
    assert!(matches!(results[1], Ok(Accepted::New)), "{results:?}");
    assert_eq!(queue.names("requests"), [id(2).as_str()]);
}

#[test]
fn when_the_directory_is_not_on_the_disk_nothing_is_accepted_and_nothing_runs() {
    let queue = Scratch::new();
    queue.producer.directories.disk.faults.fail(Step::Directory);
    let results = queue.producer.submit_durable(&[kept(1, 1), kept(2, 1)]);
    assert!(
        results.iter().all(|result| matches!(result, Err(SubmitError::Publish { .. }))),
        "{results:?}"
    );
    queue.assert_empty();
    assert_eq!(queue.accept(&kept(1, 1)).unwrap(), Accepted::New);
}

#[test]
fn what_the_agent_took_before_the_disk_failed_is_unknown() {
    let queue = Scratch::new();
    let consumer = Arc::new(queue.another_consumer());
    let (claims, claim) = std::sync::mpsc::channel();
    let takes = Arc::clone(&consumer);
    queue.producer.directories.disk.faults.at(Step::Directory, move || {
        let Claimed::Ours(claim) = takes.claim(id(1)).unwrap() else { panic!("not claimed") };
        claims.send(claim).unwrap();
        Err(Errno::IO.into())
    });
    let refused = queue.accept(&kept(1, 1));
    assert!(matches!(refused, Err(SubmitError::Unknown { .. })), "{refused:?}");
    consumer.complete(&claim.recv().unwrap(), &raw("1")).unwrap();
    assert_eq!(queue.kept_outcome(id(1)).as_deref(), Some("1"));
}

#[test]
fn a_keyed_request_is_not_taken_back_as_somebody_else_may_have_the_promise() {
    let queue = Scratch::new();
    queue.producer.directories.disk.faults.fail(Step::Directory);
    let refused = queue.accept(&keyed(1));
    assert!(matches!(refused, Err(SubmitError::Unknown { .. })), "{refused:?}");
    assert_eq!(queue.names("requests"), [id(1).as_str()]);
    assert_eq!(queue.names("locks"), Vec::<String>::new());
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::Exists);
}

#[test]
fn a_repeat_is_accepted_only_when_the_first_is_on_the_disk() {
    let queue = Scratch::new();
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    queue.producer.directories.disk.faults.fail(Step::Directory);
    let refused = queue.accept(&keyed(1));
    assert!(matches!(refused, Err(SubmitError::Unknown { .. })), "{refused:?}");
    assert_eq!(queue.names("requests"), [id(1).as_str()]);
}

#[test]
fn what_is_left_of_an_earlier_task_does_not_become_part_of_the_next() {
    let queue = Scratch::new();
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    let claim = queue.claim(id(1));
    queue.consumer.progress(id(1), &raw("1")).unwrap();
    queue.consumer.complete(&claim, &raw("\"old\"")).unwrap();
    // The remover died after its first step.
    std::fs::remove_file(queue.path("requests", id(1).as_str())).unwrap();
    std::fs::create_dir(queue.path("locks", id(1).as_str())).unwrap();
    queue.put("urgent", id(1).as_str(), b"");
    queue.put("outputs", id(1).as_str(), b"old");
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    assert_eq!(queue.kept_outcome(id(1)), None);
    for directory in ["urgent", "responses", "errors", "locks", "outputs"] {
        assert_eq!(queue.names(directory), Vec::<String>::new(), "{directory}");
    }
    queue.consumer.complete(&queue.claim(id(1)), &raw("\"new\"")).unwrap();
    assert_eq!(queue.kept_outcome(id(1)).as_deref(), Some("\"new\""));
}

#[test]
fn a_key_is_not_used_again_while_a_runner_or_a_removal_has_the_earlier_task() {
    let queue = Scratch::new();
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    let claim = queue.claim(id(1));
    std::fs::remove_file(queue.path("requests", id(1).as_str())).unwrap();
    let refused = queue.accept(&keyed(1));
    assert!(matches!(refused, Err(SubmitError::BeingRemoved { .. })), "{refused:?}");
    queue.consumer.complete(&claim, &raw("1")).unwrap();
    let gate = Gate::remove(&queue.producer.directories.tasks).unwrap();
    let refused = queue.accept(&keyed(1));
    assert!(matches!(refused, Err(SubmitError::BeingRemoved { .. })), "{refused:?}");
    // An id of its own is in nobody's way.
    assert_eq!(queue.accept(&kept(2, 1)).unwrap(), Accepted::New);
    drop(gate);
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    assert_eq!(queue.kept_outcome(id(1)), None);
}

#[test]
fn a_full_disk_accepts_nothing_and_keeps_what_runs() {
    let Some((queue, _mount)) = Scratch::on_tmpfs("size=32k,nr_inodes=24") else { return };
    let once = queue.accept_once(1);
    let again = queue.accept_retried(2, 2);
    let claims = [queue.claim(once), queue.claim(again)];
    let mut big = kept(3, 1);
    big.params.push(raw(&format!("\"{}\"", "x".repeat(64 * 1024))));
    let results = queue.producer.submit_durable(&[big, kept(4, 1)]);
    assert!(matches!(results[0], Err(SubmitError::NoSpace { .. })), "{results:?}");
    assert!(matches!(results[1], Ok(Accepted::New)), "{results:?}");
    let mut fill = std::fs::File::create(queue.path("", "fill")).unwrap();
    while io::Write::write_all(&mut fill, &[0; 512]).is_ok() {}
    let refused = queue.accept(&kept(5, 1));
    assert!(matches!(refused, Err(SubmitError::NoSpace { .. })), "{refused:?}");
    let value = raw(&format!("\"{}\"", "x".repeat(8192)));
    assert!(queue.consumer.complete(&claims[0], &value).is_err());
    let why = crate::TaskError::new("X", "x".repeat(8192));
    assert!(queue.consumer.put_off(&claims[1], &why, std::time::Duration::ZERO).is_err());
    // Both are locked still, and have no outcome.
    assert_eq!(queue.names("locks"), [once.as_str(), again.as_str()]);
    assert_eq!(queue.names("responses"), Vec::<String>::new());
    assert!(queue.producer.cancel_durable(id(4), &why).is_err());
    fill.set_len(0).unwrap();
    queue.consumer.complete(&claims[0], &raw("1")).unwrap();
    queue.consumer.put_off(&claims[1], &why, std::time::Duration::ZERO).unwrap();
    assert_eq!(queue.kept_outcome(once).as_deref(), Some("1"));
    assert_eq!(queue.names("locks"), [format!("{again}.note").as_str(), id(4).as_str()]);
}

#[test]
fn quota_and_space_are_told_apart_from_other_trouble() {
    for (errno, is_space) in [(Errno::DQUOT, true), (Errno::NOSPC, true), (Errno::IO, false)] {
        let queue = Scratch::new();
        queue.producer.directories.disk.faults.at(Step::File, move || Err(errno.into()));
        let refused = queue.accept(&kept(1, 1)).unwrap_err();
        assert_eq!(matches!(refused, SubmitError::NoSpace { .. }), is_space, "{refused:?}");
        queue.assert_empty();
    }
}

#[test]
fn the_head_of_a_long_request_is_read_without_its_parameters() {
    let queue = Scratch::new();
    let mut long = kept(1, 3);
    long.terms.callback = Some(format!("https://example.org/{}", "x".repeat(2000)));
    long.params.push(raw(&format!("\",\\\"params\\\":[{}\"", "y".repeat(500_000))));
    queue.accept(&long).unwrap();
    let inspected = queue.producer.inspect(id(1)).unwrap().unwrap();
    assert_eq!(inspected.head.terms, long.terms);
    assert_eq!(queue.consumer.waiting_task(id(1)).unwrap().unwrap().attempts, 3);
    let whole = queue.producer.request(id(1)).unwrap().unwrap();
    assert_eq!(whole.encode(), long.encode());
    let claim = queue.claim(id(1));
    assert_eq!(claim.request().unwrap().params.len(), 3);
    assert!(Outcome::decode(id(1), claim.bytes()).is_err());
}

#[test]
fn a_keyed_request_that_is_there_is_known_when_nothing_new_is_taken() {
    let queue = Scratch::new();
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    assert_eq!(queue.accept(&kept(2, 1)).unwrap(), Accepted::New);
    let find = |requests: &[_]| queue.producer.find_durable(requests);
    let found = find(&[keyed(1), kept(2, 1), keyed(3)]);
    assert!(matches!(found[0], Ok(Accepted::Exists)), "{found:?}");
    // An id that nobody repeats is none of an earlier task.
    assert!(matches!(found[1], Err(SubmitError::NoSpace { .. })), "{found:?}");
    assert!(matches!(found[2], Err(SubmitError::NoSpace { .. })), "{found:?}");
    // Who made it may have died before it was on the disk.
    queue.producer.directories.disk.faults.fail(Step::Directory);
    let found = find(&[keyed(1)]);
    assert!(matches!(found[0], Err(SubmitError::Unknown { .. })), "{found:?}");
    assert_eq!(queue.names("requests").len(), 2);
}

#[test]
fn a_full_disk_does_not_hide_a_keyed_request_that_is_there() {
    let Some((queue, _mounted)) = Scratch::on_tmpfs("size=64k,nr_inodes=40") else { return };
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::New);
    let fill = std::fs::File::create(queue.path("files", "fill")).unwrap();
    while rustix::io::pwrite(&fill, &[1; 4096], fill.metadata().unwrap().len()).is_ok() {}
    assert_eq!(queue.accept(&keyed(1)).unwrap(), Accepted::Exists);
    let refused = queue.accept(&keyed(2));
    assert!(matches!(refused, Err(SubmitError::NoSpace { .. })), "{refused:?}");
}
