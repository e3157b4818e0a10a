//! Removes what crashes leave behind. It lists only what the server owns, and strangers' files in slices.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::SYNC_TIMEOUT_MAX;
use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use rustix::io::Errno;

use crate::clock::wall_clock_s;
use crate::directories::{Directories, exists, unless_absent};
use crate::producer::remove_result;
use crate::read_result::read;
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::{Cancel, Producer, Request, Submitter, TaskError, boottime_ns, code};

/// Age from which a request that cannot be read is removed: until then somebody may wait for its outcome.
pub(crate) const UNREADABLE_AGE: Duration = SYNC_TIMEOUT_MAX;
/// Age from which a file that belongs to no task is litter: far longer than any step takes.
pub(crate) const STRAY_AGE: Duration = Duration::from_secs(60);
/// How long after the deadline the agent may still say how a task ended.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Names looked at.
    pub looked: usize,
    /// Tasks of dead servers, of other boots and old files that are no requests: removed.
    pub tasks: usize,
    /// Tasks of dead servers that an agent still works on; it was asked to end them.
    pub asked: usize,
    /// Files that belong to no task: removed.
    pub strays: usize,
    /// There was more than one pass may look at.
    pub more: bool,
}

/// One pass over a queue. `boot_id` is the current boot; `is_alive` tells whether the server that submitted a
/// task still lives; `limit` bounds the names looked at in each directory. Several processes may sweep at once.
///
/// # Errors
/// When a directory cannot be listed, where the pass ends, or something cannot be ended or removed; the pass
/// goes on then and gives the first error.
pub fn sweep(
    producer: &Producer,
    boot_id: &str,
    is_alive: &dyn Fn(&Submitter) -> bool,
    limit: usize,
) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let Directories { requests, urgent, responses, errors, .. } = &producer.directories;
    let mut all = Ok(());
    for name in names_in(requests, limit, &mut swept)? {
        let done = match name {
            Name::Task(id) => sweep_task(producer, id, boot_id, is_alive, &mut swept),
            Name::Staged(name) => remove_staged(requests, &name, &mut swept),
        };
        all = all.and(done);
    }
    for (directory, is_ours) in [(urgent, true), (responses, false), (errors, false)] {
        for name in names_in(directory, limit, &mut swept)? {
            let done = match name {
                Name::Task(id) => remove_stray(requests, directory, id, is_ours, &mut swept),
                Name::Staged(name) => remove_staged(directory, &name, &mut swept),
            };
            all = all.and(done);
        }
    }
    all.map(|()| swept)
}

fn sweep_task(
    producer: &Producer,
    id: TaskId,
    boot_id: &str,
    is_alive: &dyn Fn(&Submitter) -> bool,
    swept: &mut Swept,
) -> io::Result<()> {
    let bytes = match read(&producer.directories.requests, id, REQUEST_FILE_MAX_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(()),
        Err(e) if e.is_fault_of_agent() => Vec::new(),
        Err(e) => return Err(io::Error::other(e)),
    };
    let is_over = match Request::decode(&bytes) {
        // It was accepted for good.
        Ok(request) if request.terms.is_async() => return Ok(()),
        Ok(request) if request.boot_id != boot_id => true,
        Ok(request) if is_alive(&request.submitter) => return Ok(()),
        Ok(request) => match end(producer, &request) {
            // A full disk keeps no record of the end, but nobody reads it; removing needs no space.
            Err(error) if is_past_last_word(&request) => {
                producer.clean(id)?;
                swept.tasks += 1;
                return Err(error);
            }
            ended => ended?,
        },
        Err(_) if is_older(&producer.directories.requests, id.as_str(), UNREADABLE_AGE)? => true,
        Err(_) => return Ok(()),
    };
    if is_over {
        producer.clean(id)?;
        swept.tasks += 1;
    } else {
        swept.asked += 1;
    }
    Ok(())
}

/// Ends the task of a dead server; `false` if the agent has still time to do so.
fn end(producer: &Producer, request: &Request) -> io::Result<bool> {
    let id = request.id;
    let cancelled = TaskError::new(code::CANCELLED, "the server that waited for the task ended");
    if producer.cancel(id, &cancelled)? != Cancel::Asked {
        return Ok(true);
    }
    if !is_past_last_word(request) {
        return Ok(false);
    }
    producer
        .give_up(id, &TaskError::new(code::DEADLINE, "the agent did not end the task in time"))?;
    Ok(true)
}

fn is_past_last_word(request: &Request) -> bool {
    let last_word = u64::try_from(LAST_WORD.as_nanos()).unwrap_or(u64::MAX);
    request.deadline_boot_ns.saturating_add(last_word) <= boottime_ns()
}

pub(crate) enum Name {
    Task(TaskId),
    Staged(String),
}

/// Names of tasks and of files that were not finished; others are none of ours.
pub(crate) fn names_in(
    directory: &OwnedFd,
    limit: usize,
    swept: &mut Swept,
) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    let mut looked = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if limit <= looked {
            swept.more = true;
            break;
        }
        looked += 1;
        if let Ok(id) = TaskId::from_bytes(name) {
            names.push(Name::Task(id));
        } else if name.starts_with(b".tmp-")
            && let Ok(name) = std::str::from_utf8(name)
        {
            names.push(Name::Staged(name.to_owned()));
        }
    }
    swept.looked += looked;
    Ok(names)
}

/// Removes what stands at the name of a task that is not there.
pub(crate) fn remove_stray(
    requests: &OwnedFd,
    directory: &OwnedFd,
    id: TaskId,
    is_ours: bool,
    swept: &mut Swept,
) -> io::Result<()> {
    if !exists(requests, id)?
        && (is_ours || is_older(directory, id.as_str(), STRAY_AGE)?)
        && remove_result(directory, id)?
    {
        swept.strays += 1;
    }
    Ok(())
}

pub(crate) fn remove_staged(directory: &OwnedFd, name: &str, swept: &mut Swept) -> io::Result<()> {
    if is_older(directory, name, STRAY_AGE)? {
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => {
                unless_absent(other)?;
                swept.strays += 1;
            }
        }
    }
    Ok(())
}

pub(crate) fn is_older(directory: &OwnedFd, name: &str, age: Duration) -> io::Result<bool> {
    let age_s = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(about.st_mtime.saturating_add(age_s) < wall_clock_s()),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::boot_id;
    use crate::scratch::{Scratch, id, raw, request};

    const NOBODY: &dyn Fn(&Submitter) -> bool = &|_| false;
    const EVERYBODY: &dyn Fn(&Submitter) -> bool = &|_| true;

    fn pass(queue: &Scratch, is_alive: &dyn Fn(&Submitter) -> bool) -> Swept {
        sweep(&queue.producer, &boot_id().unwrap(), is_alive, 1000).unwrap()
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
        assert_eq!(pass(&queue, EVERYBODY), Swept { looked: 4, ..Swept::default() });
        queue.consumer.complete(&claim, &raw("2")).unwrap();
        drop(queue.claim(waiting));
        assert_eq!(queue.outcome(id(3)).as_deref(), Some("1"));
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
        let swept = sweep(&queue.producer, &boot_id().unwrap(), NOBODY, 1000);
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
        let swept = sweep(&queue.producer, &boot_id().unwrap(), NOBODY, 5).unwrap();
        assert_eq!((swept.tasks, swept.more, queue.names("requests").len()), (5, true, 15));
    }
}
