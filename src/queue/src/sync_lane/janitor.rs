//! Removes what dead workers and dead agents leave in the lane.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, Dir, fstat, statat, unlinkat};
use rustix::io::Errno;

use super::SyncProducer;
use super::directories::{SyncDirectories, instance_of};
use crate::directories::unless_absent;
use crate::janitor::{
    Name, Place, Slice, UNREADABLE_AGE, changed, is_older, remove_staged, remove_stray, settled,
};
use crate::read_result::read;
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::{Cancel, Request, Submitter, Swept};

/// What the passes before found, so that a lane in which nothing happens is not listed again.
#[derive(Debug, Default)]
pub(super) struct SyncJanitor {
    requests: Place,
    urgent: Place,
    streams: Place,
    workers: Workers,
    /// The directories of the workers.
    responses: BTreeMap<u16, Place>,
}

/// The workers that have a directory, listed anew when their parent has changed.
#[derive(Debug, Default)]
struct Workers {
    instances: Vec<u16>,
    listed_at: Option<(i64, u64)>,
}

impl Workers {
    fn look(&mut self, responses: &OwnedFd) -> io::Result<&[u16]> {
        // Before the listing: what comes meanwhile has a later time.
        let about = fstat(responses)?;
        if self.listed_at.is_none_or(|at| at != changed(&about)) {
            self.instances = instances(responses)?;
            self.listed_at = settled(&about);
        }
        Ok(&self.instances)
    }
}

/// One pass over a lane. `boot_id` is the current boot; `is_alive` tells whether the worker that submitted a
/// task still lives; `limit` bounds the names looked at in each directory. Several processes may sweep at once.
///
/// # Errors
/// When a directory cannot be listed, where the pass ends, or something cannot be ended or removed; the pass
/// goes on then and gives the first error.
pub fn sweep_sync(
    producer: &SyncProducer,
    boot_id: &str,
    is_alive: &dyn Fn(&Submitter) -> bool,
    limit: usize,
) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let directories = &producer.directories;
    let mut janitor = producer.janitor.lock().unwrap_or_else(PoisonError::into_inner);
    let SyncJanitor { requests, urgent, streams, workers, responses } = &mut *janitor;
    let mut all = Ok(());
    let before = swept;
    for name in Slice::of(&directories.requests, requests, limit, &mut swept)?.names {
        let done = match name {
            Name::Task(id) => sweep_task(directories, id, boot_id, is_alive, &mut swept),
            Name::Staged(name) => remove_staged(&directories.requests, &name, &mut swept),
            Name::OfTask(..) => Ok(()),
        };
        all = all.and(done);
    }
    begin_again_if_changed(requests, before, swept);
    for (directory, place) in [(&directories.urgent, urgent), (&directories.streams, streams)] {
        all = all.and(sweep_strays(directories, directory, place, limit, &mut swept));
    }
    for instance in workers.look(&directories.responses)?.iter().copied() {
        let place = responses.entry(instance).or_default();
        let name = instance.to_string();
        match statat(&directories.responses, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) if place.is_still_empty(&about) => continue,
            Ok(_) => {}
            Err(Errno::NOENT) => continue,
            Err(e) => all = all.and(Err(e.into())),
        }
        match directories.responses_of(instance) {
            Ok(responses) => {
                all = all.and(sweep_strays(directories, &responses, place, limit, &mut swept));
            }
            Err(e) => all = all.and(Err(e.into())),
        }
    }
    all.map(|()| swept)
}

/// In memory a place may be a number of names, which says nothing once some of those before it were removed;
/// else the next slice goes on there, so that what stays does not hide what is to go.
fn begin_again_if_changed(place: &mut Place, before: Swept, now: Swept) {
    if (before.tasks, before.asked, before.strays) != (now.tasks, now.asked, now.strays) {
        place.begin_again();
    }
}

/// Takes away what nobody waits for.
fn sweep_task(
    directories: &SyncDirectories,
    id: TaskId,
    boot_id: &str,
    is_alive: &dyn Fn(&Submitter) -> bool,
    swept: &mut Swept,
) -> io::Result<()> {
    let requests = &directories.requests;
    let bytes = match read(requests, id, REQUEST_FILE_MAX_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(()),
        Err(e) if e.is_fault_of_agent() => Vec::new(),
        Err(e) => return Err(io::Error::other(e)),
    };
    match Request::decode(&bytes) {
        Ok(request) if request.boot_id == boot_id && is_alive(&request.submitter) => {}
        // Its record, if it had one, is a stray now.
        Ok(_) => match directories.cancel(id)? {
            Cancel::Asked => swept.asked += 1,
            Cancel::NeverStarted | Cancel::Finished => swept.tasks += 1,
        },
        Err(_) if is_older(requests, id.as_str(), UNREADABLE_AGE)? => {
            unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
            swept.tasks += 1;
        }
        Err(_) => {}
    }
    Ok(())
}

/// Removes old files of tasks that are not there.
fn sweep_strays(
    directories: &SyncDirectories,
    directory: &OwnedFd,
    place: &mut Place,
    limit: usize,
    swept: &mut Swept,
) -> io::Result<()> {
    let mut all = Ok(());
    let before = *swept;
    for name in Slice::of(directory, place, limit, swept)?.names {
        let done = match name {
            Name::Task(id) => remove_stray(&directories.requests, directory, id, false, swept),
            Name::Staged(name) => remove_staged(directory, &name, swept),
            Name::OfTask(..) => Ok(()),
        };
        all = all.and(done);
    }
    begin_again_if_changed(place, before, *swept);
    all
}

/// The workers that have a directory; the agent cannot make one.
fn instances(responses: &OwnedFd) -> io::Result<Vec<u16>> {
    let mut instances = Vec::new();
    for entry in Dir::read_from(responses)? {
        instances.extend(instance_of(entry?.file_name().to_bytes()));
    }
    Ok(instances)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::boot_id;
    use crate::scratch::{id, raw, request};
    use crate::sync_lane::scratch::Lane;

    const NOBODY: &dyn Fn(&Submitter) -> bool = &|_| false;
    const EVERYBODY: &dyn Fn(&Submitter) -> bool = &|_| true;

    fn pass(lane: &Lane, is_alive: &dyn Fn(&Submitter) -> bool) -> Swept {
        sweep_sync(&lane.producer, &boot_id().unwrap(), is_alive, 1000).unwrap()
    }

    fn make_old(lane: &Lane, directory: &str, name: &str) {
        #[expect(clippy::disallowed_methods, reason = "the age of a file is in wall-clock time")]
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::create(lane.path(directory, name)).and_then(|f| f.set_modified(long_ago)).unwrap();
    }

    #[test]
    fn tasks_of_living_workers_stay() {
        let lane = Lane::new();
        let waits = lane.submit(1);
        drop(lane.claim(0, lane.submit(2)));
        lane.consumer.complete(&lane.claim(1, lane.submit(3)), &raw("1")).unwrap();
        drop(lane.producer.make_stream(waits).unwrap());
        let swept = pass(&lane, EVERYBODY);
        assert_eq!((swept.tasks, swept.asked, swept.strays), (0, 0, 0), "{swept:?}");
        assert_eq!(lane.names("requests"), [1, 2, 3].map(|n| id(n).as_str().to_owned()));
        assert_eq!(lane.names("streams"), [waits.as_str()]);
    }

    #[test]
    fn tasks_of_dead_workers_and_other_boots_do_not_run() {
        let lane = Lane::new();
        let waits = lane.submit(1);
        let mut old = request(2);
        old.boot_id = "f".repeat(32);
        lane.producer.submit(&old).unwrap();
        let runs = lane.submit(3);
        drop(lane.claim(0, runs));
        let swept = pass(&lane, NOBODY);
        assert_eq!((swept.tasks, swept.asked), (2, 1), "{swept:?}");
        assert_eq!(lane.names("requests"), Vec::<String>::new());
        assert_eq!(lane.consumer.urgent().unwrap(), [runs]);
        for id in [waits, old.id] {
            assert!(matches!(lane.consumer.claim(1, id).unwrap(), crate::Claimed::Not(_)));
        }
    }

    #[test]
    fn what_stays_does_not_hide_what_is_to_go() {
        let lane = Lane::new();
        for number in 0..300 {
            // No names of ours, and such that are too young.
            drop(File::create(lane.path("responses/1", &format!("x{number}"))).unwrap());
            drop(File::create(lane.path("streams", &format!("{number:032x}"))).unwrap());
        }
        for n in 1..=3 {
            make_old(&lane, "responses/1", id(n).as_str());
            make_old(&lane, "streams", id(n).as_str());
        }
        let mut strays = 0;
        // Five times as many as the names need.
        for _ in 0..5 * 303 / 10 {
            let boot_id = boot_id().unwrap();
            let swept = sweep_sync(&lane.producer, &boot_id, EVERYBODY, 10).unwrap();
            strays += swept.strays;
        }
        assert_eq!(strays, 6);
    }

    #[test]
    fn old_files_of_no_task_are_removed_for_every_worker() {
        let lane = Lane::new();
        drop(lane.another_producer(2));
        std::fs::create_dir(lane.path("responses", "junk")).unwrap();
        let known = lane.submit(1);
        for directory in ["urgent", "streams", "responses/1", "responses/2", "responses/junk"] {
            make_old(&lane, directory, id(7).as_str());
            drop(File::create(lane.path(directory, id(8).as_str())).unwrap());
        }
        make_old(&lane, "responses/2", known.as_str());
        make_old(&lane, "responses/2", ".tmp-x");
        make_old(&lane, "requests", id(9).as_str());
        let swept = pass(&lane, EVERYBODY);
        assert_eq!((swept.tasks, swept.strays), (1, 5), "{swept:?}");
        assert_eq!(lane.names("responses/2"), [known.as_str(), id(8).as_str()]);
        assert_eq!(lane.names("responses/junk").len(), 2);
    }

    #[test]
    fn workers_are_listed_again_when_one_came() {
        let lane = Lane::new();
        let set_parent = || {
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            File::open(lane.path("responses", "")).and_then(|d| d.set_modified(long_ago)).unwrap();
        };
        set_parent();
        assert_eq!(pass(&lane, EVERYBODY).strays, 0);
        drop(lane.another_producer(2));
        make_old(&lane, "responses/2", id(7).as_str());
        set_parent();
        assert_eq!(pass(&lane, EVERYBODY).strays, 0, "an unchanged parent was listed");
        drop(lane.another_producer(3));
        assert_eq!(pass(&lane, EVERYBODY).strays, 1);
    }
}
