//! The directories of a queue, opened once; every later name is a single checked component.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use ploinky_contract::TaskId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

/// A directory of the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the directory {} without following links", .path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Handles of the five directories.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) requests: OwnedFd,
    pub(crate) urgent: OwnedFd,
    pub(crate) responses: OwnedFd,
    pub(crate) errors: OwnedFd,
    pub(crate) locks: OwnedFd,
    /// `.tasks` itself: as long as it is open, no other directory gets its inode number.
    tasks: OwnedFd,
}

impl Directories {
    /// Opens the queue at `tasks`, component by component.
    pub(crate) fn open(tasks: &Path) -> Result<Self, OpenError> {
        let tasks = Opened::walk(tasks)?;
        Ok(Self {
            requests: tasks.directory("requests")?,
            urgent: tasks.directory("urgent")?,
            responses: tasks.directory("responses")?,
            errors: tasks.directory("errors")?,
            locks: tasks.directory("locks")?,
            tasks: tasks.handle,
        })
    }

    /// Device and inode of `.tasks`. No other directory has them as long as this value lives.
    pub(crate) fn place(&self) -> io::Result<(u64, u64)> {
        place(&self.tasks)
    }

    /// Whether the task has an outcome: something is at its name in `responses` or `errors`.
    pub(crate) fn has_outcome(&self, id: TaskId) -> io::Result<bool> {
        Ok(exists(&self.responses, id)? || exists(&self.errors, id)?)
    }
}

/// The parent of the directories of a queue.
pub(crate) struct Opened {
    pub(crate) handle: OwnedFd,
    path: PathBuf,
}

impl Opened {
    /// Opens `path` component by component.
    pub(crate) fn walk(whole: &Path) -> Result<Self, OpenError> {
        let mut at: Option<OwnedFd> = None;
        let mut path = PathBuf::new();
        for component in whole.components() {
            path.push(component);
            let name = match component {
                Component::CurDir => continue,
                Component::RootDir | Component::Normal(_) => component.as_os_str(),
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(OpenError { path, source: Errno::INVAL.into() });
                }
            };
            let opened = match &at {
                Some(parent) => openat(parent, name, DIRECTORY | OFlags::PATH, Mode::empty()),
                None => openat(CWD, name, DIRECTORY | OFlags::PATH, Mode::empty()),
            };
            at = Some(opened.map_err(|e| OpenError { path: path.clone(), source: e.into() })?);
        }
        match at {
            Some(handle) => Ok(Self { handle, path }),
            None => Err(OpenError { path, source: Errno::INVAL.into() }),
        }
    }

    /// Opens the directory `name` in it.
    pub(crate) fn directory(&self, name: &str) -> Result<OwnedFd, OpenError> {
        openat(&self.handle, name, DIRECTORY | OFlags::RDONLY, Mode::empty())
            .map_err(|e| self.error(name, e.into()))
    }

    /// That `name` in it cannot be used.
    pub(crate) fn error(&self, name: &str, source: io::Error) -> OpenError {
        OpenError { path: self.path.join(name), source }
    }
}

/// Device and inode of a directory.
pub(crate) fn place(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let about = fstat(directory)?;
    Ok((about.st_dev, about.st_ino))
}

/// How every directory is opened.
pub(crate) const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether something, of whatever kind, is at the name.
pub(crate) fn exists(directory: &OwnedFd, id: TaskId) -> io::Result<bool> {
    match statat(directory, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Turns "is not there" into success.
pub(crate) fn unless_absent(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
