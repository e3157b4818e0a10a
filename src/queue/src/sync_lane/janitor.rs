//! Removes what dead workers and dead agents leave in the lane.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, Dir, unlinkat};

use super::SyncProducer;
use super::directories::{SyncDirectories, instance_of};
use crate::directories::unless_absent;
use crate::janitor::{Name, UNREADABLE_AGE, is_older, names_in, remove_staged, remove_stray};
use crate::read_result::read;
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::{Cancel, Request, Submitter, Swept};

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
    let mut all = Ok(());
    for name in names_in(&directories.requests, limit, &mut swept)? {
        let done = match name {
            Name::Task(id) => sweep_task(directories, id, boot_id, is_alive, &mut swept),
            Name::Staged(name) => remove_staged(&directories.requests, &name, &mut swept),
        };
        all = all.and(done);
    }
    for directory in [&directories.urgent, &directories.streams] {
        all = all.and(sweep_strays(directories, directory, limit, &mut swept));
    }
    for instance in instances(&directories.responses)? {
        match directories.responses_of(instance) {
            Ok(responses) => {
                all = all.and(sweep_strays(directories, &responses, limit, &mut swept));
            }
            Err(e) => all = all.and(Err(e.into())),
        }
    }
    all.map(|()| swept)
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
    limit: usize,
    swept: &mut Swept,
) -> io::Result<()> {
    let mut all = Ok(());
    for name in names_in(directory, limit, swept)? {
        let done = match name {
            Name::Task(id) => remove_stray(&directories.requests, directory, id, false, swept),
            Name::Staged(name) => remove_staged(directory, &name, swept),
        };
        all = all.and(done);
    }
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
