//! Removes what crashes leave behind. It lists only what the server owns, and strangers' files in slices.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use rustix::io::Errno;

use crate::clock::wall_clock_s;
use crate::directories::{Directories, exists, unless_absent};
use crate::producer::remove_result;
use crate::read_result::read;
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::{Cancel, Producer, Request, Submitter, TaskError, boottime_ns, code};

/// Seconds after which a file that belongs to no task is litter: far longer than any step takes.
const STRAY_AGE_S: i64 = 60;
/// How long after the deadline the agent may still say how a task ended.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Names looked at.
    pub looked: usize,
    /// Tasks of dead servers, of other boots and files that are no requests: removed.
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
/// When a directory cannot be listed or something cannot be removed; the pass ends there.
pub fn sweep(
    producer: &Producer,
    boot_id: &str,
    is_alive: &dyn Fn(&Submitter) -> bool,
    limit: usize,
) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let Directories { requests, urgent, responses, errors, locks: _ } = &producer.directories;
    for name in names_in(requests, limit, &mut swept)? {
        match name {
            Name::Task(id) => sweep_task(producer, id, boot_id, is_alive, &mut swept)?,
            Name::Staged(name) => remove_staged(requests, &name, &mut swept)?,
        }
    }
    for (directory, is_ours) in [(urgent, true), (responses, false), (errors, false)] {
        for name in names_in(directory, limit, &mut swept)? {
            match name {
                Name::Task(id) => {
                    if !exists(requests, id)?
                        && (is_ours || is_old(directory, id.as_str())?)
                        && remove_result(directory, id)?
                    {
                        swept.strays += 1;
                    }
                }
                Name::Staged(name) => remove_staged(directory, &name, &mut swept)?,
            }
        }
    }
    Ok(swept)
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
        Ok(request) if request.boot_id != boot_id => true,
        Ok(request) if is_alive(&request.submitter) => return Ok(()),
        Ok(request) => end(producer, &request)?,
        Err(_) => true,
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
    let last_word = u64::try_from(LAST_WORD.as_nanos()).unwrap_or(u64::MAX);
    if boottime_ns() < request.deadline_boot_ns.saturating_add(last_word) {
        return Ok(false);
    }
    producer
        .give_up(id, &TaskError::new(code::DEADLINE, "the agent did not end the task in time"))?;
    Ok(true)
}

enum Name {
    Task(TaskId),
    Staged(String),
}

/// Names of tasks and of files that were not finished; others are none of ours.
fn names_in(directory: &OwnedFd, limit: usize, swept: &mut Swept) -> io::Result<Vec<Name>> {
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

fn remove_staged(directory: &OwnedFd, name: &str, swept: &mut Swept) -> io::Result<()> {
    if is_old(directory, name)? {
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

fn is_old(directory: &OwnedFd, name: &str) -> io::Result<bool> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(about.st_mtime.saturating_add(STRAY_AGE_S) < wall_clock_s()),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
