use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::scratch::{id, raw, request};
use crate::sync_lane::scratch::Lane;
use crate::{Claimed, NotClaimed};

#[test]
fn what_is_too_long_for_memory_is_not_submitted() {
    let lane = Lane::new();
    let mut long = request(1);
    long.params.push(raw(&format!("\"{}\"", "x".repeat(SYNC_REQUEST_MAX_BYTES))));
    assert!(matches!(lane.producer.submit(&long), Err(SubmitError::TooLong { .. })));
    assert_eq!(lane.names("requests"), Vec::<String>::new());
}

#[test]
fn a_lane_that_is_nearly_full_takes_no_task() {
    let directory = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let (at, options) = (directory.path(), c"size=1m,nr_inodes=100");
    if rustix::mount::mount("tmpfs", at, "tmpfs", flags, options).is_err() {
        eprintln!("skipped: no permission to mount");
        return;
    }
    let lane = Lane::within(directory);
    let has_room = lane.producer.has_room().unwrap();
    let fill = |bytes| {
        let file = std::fs::File::create(lane.path("locks", "litter")).unwrap();
        rustix::io::pwrite(&file, &vec![1; bytes], 0).unwrap();
        lane.producer.has_room().unwrap()
    };
    let found = (has_room, fill(700 * 1024), fill(800 * 1024));
    for number in 0..80 {
        std::fs::create_dir(lane.path("locks", &format!("{number}"))).ok();
    }
    std::fs::remove_file(lane.path("locks", "litter")).unwrap();
    let found = (found, lane.producer.has_room().unwrap());
    rustix::mount::unmount(lane.path("", ""), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(found, ((true, true, false), false));
}

#[test]
fn a_task_is_never_submitted_twice() {
    let lane = Lane::new();
    lane.submit(1);
    let again = lane.producer.submit(&request(1));
    assert!(matches!(again, Err(SubmitError::Exists { .. })), "{again:?}");
}

#[test]
fn a_link_in_place_of_the_own_directory_is_refused() {
    let lane = Lane::new();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), lane.path("responses", "7")).unwrap();
    let error = SyncProducer::open(&lane.path("", ""), 7).unwrap_err();
    assert!(error.to_string().contains("responses/7"), "{error}");
    for instance in [0, 65] {
        assert!(SyncProducer::open(&lane.path("", ""), instance).is_err(), "{instance}");
    }
}

#[test]
fn the_agent_may_add_records_and_remove_only_its_own() {
    let lane = Lane::new();
    let about = std::fs::metadata(lane.path("responses", "1")).unwrap();
    assert_eq!(about.permissions().mode() & 0o1777, 0o1770);
    // Opening it again changes nothing.
    let ino = about.ino();
    lane.another_producer(1);
    assert_eq!(std::fs::metadata(lane.path("responses", "1")).unwrap().ino(), ino);
}

#[test]
fn a_task_goes_there_and_back_and_leaves_nothing() {
    let lane = Lane::new();
    let id = lane.submit(1);
    assert_eq!(lane.outcome(id), None);
    let claim = lane.claim(0, id);
    assert_eq!(claim.request().unwrap().encode(), claim.bytes());
    assert_eq!(lane.consumer.complete(&claim, &raw("[1, 2]")).unwrap(), Recorded::Made);
    assert_eq!(lane.outcome(id).as_deref(), Some("[1, 2]"));
    lane.producer.clean_collected(id).unwrap();
    lane.producer.flush().unwrap();
    lane.producer.clean(id).unwrap();
    lane.assert_empty();
}

#[test]
fn only_the_worker_that_waits_sees_and_hears_of_a_record() {
    let lane = Lane::new();
    let other = lane.another_producer(2);
    let (mut ours, mut theirs) = (lane.producer.watch().unwrap(), other.watch().unwrap());
    let id = lane.submit(1);
    lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
    let mut heard = (Vec::new(), Vec::new());
    ours.drain(&mut |id| heard.0.push(id)).unwrap();
    theirs.drain(&mut |id| heard.1.push(id)).unwrap();
    assert_eq!(heard, (vec![id], vec![]));
    assert!(other.collect(id).unwrap().is_none());
}

#[test]
fn a_cancelled_task_that_nobody_took_never_runs() {
    let lane = Lane::new();
    let id = lane.submit(1);
    assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::NeverStarted);
    let claimed = lane.consumer.claim(0, id).unwrap();
    assert!(matches!(claimed, Claimed::Not(NotClaimed::Taken)), "{claimed:?}");
    lane.assert_empty();
}

#[test]
fn a_cancelled_task_that_runs_is_asked_to_end() {
    let lane = Lane::new();
    let id = lane.submit(1);
    let mut urgent = lane.consumer.watch_urgent().unwrap();
    let claim = lane.claim(0, id);
    assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::Asked);
    let mut heard = Vec::new();
    urgent.drain(&mut |id| heard.push(id)).unwrap();
    assert_eq!((heard, lane.consumer.urgent().unwrap()), (vec![id], vec![id]));
    let why = crate::TaskError::new(crate::code::CANCELLED, "ended");
    lane.consumer.fail(&claim, &why).unwrap();
    // The slot goes to another task.
    drop(lane.claim(0, lane.submit(2)));
    assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::Finished);
    assert_eq!(lane.outcome(id).as_deref(), Some("CANCELLED: ended"));
    std::fs::remove_file(lane.path("requests", crate::scratch::id(2).as_str())).unwrap();
    lane.producer.clean(id).unwrap();
    lane.assert_empty();
}

#[test]
fn who_cancels_looks_for_a_record_before_it_asks_for_one() {
    let lane = Lane::new();
    let id = lane.submit(1);
    lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
    assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::Finished);
    // Asked first, an agent that is quick would seem to have finished by itself.
    assert_eq!(lane.names("urgent"), Vec::<String>::new());
}

#[test]
fn whatever_the_agent_makes_of_its_slots_a_task_it_may_have_counts_as_started() {
    for odd in ["directory", "pipe", "link"] {
        let lane = Lane::new();
        let claims = lane.path("locks", "claims");
        std::fs::remove_file(&claims).unwrap();
        match odd {
            "directory" => std::fs::create_dir(&claims).unwrap(),
            "pipe" => mkfifoat(rustix::fs::CWD, &claims, STREAM_MODE).unwrap(),
            _ => std::os::unix::fs::symlink("/dev/zero", &claims).unwrap(),
        }
        let id = lane.submit(1);
        assert_eq!(lane.producer.cancel(id).unwrap(), Cancel::Asked, "{odd}");
    }
}

#[test]
fn a_record_that_is_none_is_refused_and_its_task_is_gone() {
    let lane = Lane::new();
    let id = lane.submit(1);
    std::fs::create_dir(lane.path("responses/1", id.as_str())).unwrap();
    let error = lane.producer.collect(id).unwrap_err();
    assert!(error.is_fault_of_agent(), "{error}");
    lane.assert_empty();
}

#[test]
fn a_stream_ends_when_nobody_reads() {
    let lane = Lane::new();
    assert!(lane.consumer.open_stream(id(1)).unwrap().is_none());
    let reads = lane.producer.make_stream(id(1)).unwrap();
    assert!(lane.producer.make_stream(id(1)).is_err());
    let mut buffer = [0; 8];
    assert_eq!(rustix::io::read(&reads, &mut buffer), Err(Errno::AGAIN));
    let writes = lane.consumer.open_stream(id(1)).unwrap().unwrap();
    rustix::io::write(&writes, b"line\n").unwrap();
    assert_eq!(rustix::io::read(&reads, &mut buffer), Ok(5));
    drop(reads);
    assert_eq!(rustix::io::write(&writes, b"line\n"), Err(Errno::PIPE));
    assert!(lane.consumer.open_stream(id(1)).unwrap().is_none());
    lane.producer.remove_stream(id(1)).unwrap();
    lane.producer.remove_stream(id(1)).unwrap();
    lane.assert_empty();
}
