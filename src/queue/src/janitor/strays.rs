//! Files that belong to no task.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::SYNC_TIMEOUT_MAX;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use super::slice::{Name, Slice};
use super::{Janitor, STRAY_AGE, Swept};
use crate::Producer;
use crate::clock::wall_clock_s;
use crate::directories::{DIRECTORY, Directories, exists, unless_absent};
use crate::files::remove_upload;
use crate::gate::Gate;
use crate::producer::remove_result;

/// Age from which an upload that nobody writes to, or that no task followed, was given up.
const UPLOAD_AGE: Duration = Duration::from_secs(600);

/// Age from which a result that is a file belongs to no call either: requests of those are not here, but in
/// memory, and their handlers may write long before they end.
const OUTPUT_AGE: Duration = Duration::from_secs(SYNC_TIMEOUT_MAX.as_secs() + STRAY_AGE.as_secs());

/// The second half of a pass.
pub(super) struct Strays<'a> {
    producer: &'a Producer,
    /// Taken with the first removal: that there is no request has to be durable before its outcome goes, and
    /// no new task may get the id meanwhile.
    gate: Option<Gate>,
}

impl<'a> Strays<'a> {
    pub(super) fn new(producer: &'a Producer) -> Self {
        Self { producer, gate: None }
    }

    /// One pass over all but the requests. The outer error ends the pass, the inner one is the first of those
    /// that do not.
    pub(super) fn sweep(
        &mut self,
        janitor: &mut Janitor,
        limit: usize,
        swept: &mut Swept,
    ) -> io::Result<io::Result<()>> {
        let Directories { urgent, responses, errors, locks, .. } = &self.producer.directories;
        let Janitor { requests: _, urgent: in_urgent, responses: in_responses, .. } = janitor;
        let mut all = Ok(());
        for (directory, place, is_ours) in [
            (urgent, in_urgent, true),
            (responses, in_responses, false),
            (errors, &mut janitor.errors, false),
        ] {
            for name in Slice::of(directory, place, limit, swept)?.names {
                all = all.and(match name {
                    Name::Task(id) => self.result(directory, id, is_ours, swept),
                    Name::Staged(name) | Name::OfTask(_, name) => {
                        remove_staged(directory, &name, swept)
                    }
                });
            }
        }
        for name in Slice::of(locks, &mut janitor.locks, limit, swept)?.names {
            all = all.and(match name {
                Name::Task(id) => self.lock(id, swept),
                Name::OfTask(id, name) => self.note(id, &name, swept),
                Name::Staged(name) => remove_staged(locks, &name, swept),
            });
        }
        if let Some(outputs) = if_there(self.producer.directories.outputs())? {
            for name in Slice::of(outputs, &mut janitor.outputs, limit, swept)?.names {
                if let Name::Task(id) = name
                    && is_older(outputs, id.as_str(), OUTPUT_AGE)?
                {
                    all = all.and(self.result(outputs, id, false, swept));
                }
            }
        }
        if let Some(files) = if_there(self.producer.directories.files())? {
            for name in Slice::of(files, &mut janitor.files, limit, swept)?.names {
                all = all.and(match name {
                    Name::Task(id) => self.upload(files, Some(id), id.as_str(), swept),
                    Name::Staged(name) => self.upload(files, None, &name, swept),
                    Name::OfTask(..) => Ok(()),
                });
            }
        }
        Ok(all)
    }

    /// What stands at the name of a task.
    fn result(
        &mut self,
        directory: &OwnedFd,
        id: TaskId,
        is_ours: bool,
        swept: &mut Swept,
    ) -> io::Result<()> {
        let requests = &self.producer.directories.requests;
        if !exists(requests, id)? && (is_ours || is_older(directory, id.as_str(), STRAY_AGE)?) {
            self.begin()?;
            remove_stray(requests, directory, id, is_ours, swept)?;
        }
        Ok(())
    }

    fn lock(&mut self, id: TaskId, swept: &mut Swept) -> io::Result<()> {
        let Directories { requests, locks, .. } = &self.producer.directories;
        if exists(requests, id)? || !is_older(locks, id.as_str(), STRAY_AGE)? {
            return Ok(());
        }
        self.begin()?;
        if !exists(requests, id)? && self.producer.directories.unlock(id)? {
            swept.strays += 1;
        }
        Ok(())
    }

    fn note(&mut self, id: TaskId, name: &str, swept: &mut Swept) -> io::Result<()> {
        let Directories { requests, locks, .. } = &self.producer.directories;
        if exists(requests, id)? || !is_older(locks, name, STRAY_AGE)? {
            return Ok(());
        }
        self.begin()?;
        if exists(requests, id)? { Ok(()) } else { remove_staged(locks, name, swept) }
    }

    /// An upload that was given up, or that no task has.
    fn upload(
        &mut self,
        files: &OwnedFd,
        id: Option<TaskId>,
        name: &str,
        swept: &mut Swept,
    ) -> io::Result<()> {
        let requests = &self.producer.directories.requests;
        let is_of_task = || id.map_or(Ok(false), |id| exists(requests, id));
        if is_of_task()? || !is_older(files, name, UPLOAD_AGE)? || is_written(files, name)? {
            return Ok(());
        }
        self.begin()?;
        if !is_of_task()? {
            remove_upload(files, name)?;
            swept.strays += 1;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.gate.is_none() {
            let Directories { disk, requests, requests_sync, tasks, .. } =
                &self.producer.directories;
            self.gate = Some(Gate::remove(tasks)?);
            requests_sync.sync(disk, requests)?;
        }
        Ok(())
    }
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

/// Removes a file that was not finished, if it is old.
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

/// Whether what stands at a name is older than `age`.
pub(crate) fn is_older(directory: &OwnedFd, name: &str, age: Duration) -> io::Result<bool> {
    let age_s = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(about.st_mtime.saturating_add(age_s) < wall_clock_s()),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether a file of an upload was written to lately.
fn is_written(files: &OwnedFd, name: &str) -> io::Result<bool> {
    let upload = match openat(files, name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
        Ok(upload) => upload,
        Err(Errno::NOENT) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    for entry in Dir::read_from(&upload)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !matches!(name, "." | "..") && !is_older(&upload, name, UPLOAD_AGE)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn if_there(directory: io::Result<&OwnedFd>) -> io::Result<Option<&OwnedFd>> {
    match directory {
        Ok(directory) => Ok(Some(directory)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
