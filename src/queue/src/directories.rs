//! The directories of a queue, opened once; every later name is a single checked component.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use ploinky_contract::{Space, TaskId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, fstatvfs, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::disk::Disk;
use crate::group_sync::GroupSync;
use crate::lock::try_lock;
use crate::publish::{Recorded, publish, publish_synced};

/// A directory of the queue cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the directory {} without following links", .path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Handles of the directories.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) requests: OwnedFd,
    pub(crate) urgent: OwnedFd,
    pub(crate) responses: OwnedFd,
    pub(crate) errors: OwnedFd,
    pub(crate) locks: OwnedFd,
    /// What makes promises durable.
    pub(crate) disk: Disk,
    pub(crate) requests_sync: GroupSync,
    pub(crate) responses_sync: GroupSync,
    pub(crate) locks_sync: GroupSync,
    /// Opened when they are needed: queues of earlier versions lack them until the supervisor has made them.
    files: OnceLock<OwnedFd>,
    outputs: OnceLock<OwnedFd>,
    /// `.tasks` itself: as long as it is open, no other directory gets its inode number.
    pub(crate) tasks: OwnedFd,
}

impl Directories {
    /// Opens the queue at `tasks`, component by component.
    pub(crate) fn open(tasks: &Path) -> Result<Self, OpenError> {
        let tasks = Opened::walk(tasks)?;
        let requests = tasks.directory("requests")?;
        Ok(Self {
            disk: Disk::of(&requests),
            requests,
            urgent: tasks.directory("urgent")?,
            responses: tasks.directory("responses")?,
            errors: tasks.directory("errors")?,
            locks: tasks.directory("locks")?,
            requests_sync: GroupSync::default(),
            responses_sync: GroupSync::default(),
            locks_sync: GroupSync::default(),
            files: OnceLock::new(),
            outputs: OnceLock::new(),
            tasks: tasks.handle,
        })
    }

    /// Device and inode of `.tasks`. No other directory has them as long as this value lives.
    pub(crate) fn place(&self) -> io::Result<(u64, u64)> {
        place(&self.tasks)
    }

    /// `files`, where uploads lie; not found in a queue that the supervisor has not brought up to date.
    pub(crate) fn files(&self) -> io::Result<&OwnedFd> {
        self.later("files", &self.files)
    }

    /// `outputs`, where results lie that are files; not found as above.
    pub(crate) fn outputs(&self) -> io::Result<&OwnedFd> {
        self.later("outputs", &self.outputs)
    }

    fn later<'a>(&'a self, name: &str, place: &'a OnceLock<OwnedFd>) -> io::Result<&'a OwnedFd> {
        if let Some(open) = place.get() {
            return Ok(open);
        }
        let opened = openat(&self.tasks, name, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        Ok(place.get_or_init(|| opened))
    }

    /// Publishes the outcome of a task, unless it has one. There is one name for outcomes of all kinds, so
    /// two can never be published; `errors` holds only what programs of the first protocol wrote.
    ///
    /// # Errors
    /// No outcome of ours is visible then.
    pub(crate) fn record(&self, id: TaskId, bytes: &[u8], mode: Mode) -> io::Result<Recorded> {
        if exists(&self.errors, id)? {
            return Ok(Recorded::AlreadySo);
        }
        publish(&self.responses, id, bytes, mode)
    }

    /// The same, durable when it returns, whoever published it.
    ///
    /// # Errors
    /// An outcome may be visible or not, and may get lost; try again.
    pub(crate) fn record_synced(
        &self,
        id: TaskId,
        bytes: &[u8],
        mode: Mode,
    ) -> io::Result<Recorded> {
        let recorded = if exists(&self.errors, id)? {
            Recorded::AlreadySo
        } else {
            publish_synced(&self.disk, &self.responses, id, bytes, mode)?
        };
        self.responses_sync.sync(&self.disk, &self.responses)?;
        Ok(recorded)
    }

    /// Removes the lock of a task, unless a runner holds it: then it is his to remove. Whether it is gone.
    ///
    /// # Errors
    /// When it is there, nobody holds it, and it cannot be removed all the same.
    pub(crate) fn unlock(&self, id: TaskId) -> io::Result<bool> {
        let lock = match openat(&self.locks, id.as_str(), DIRECTORY | OFlags::RDONLY, Mode::empty())
        {
            Ok(lock) => lock,
            Err(Errno::NOENT) => return Ok(true),
            // Litter of the agent.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        if !try_lock(&lock)? {
            return Ok(false);
        }
        match unlinkat(&self.locks, id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether somebody holds the lock of a task.
    ///
    /// # Errors
    /// When it cannot be told.
    pub(crate) fn is_locked(&self, id: TaskId) -> io::Result<bool> {
        match openat(&self.locks, id.as_str(), DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(lock) => Ok(!try_lock(&lock)?),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(e) => Err(e.into()),
        }
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

/// The room of the file system of a directory.
pub(crate) fn space_of(directory: &OwnedFd) -> io::Result<Space> {
    let found = fstatvfs(directory)?;
    let (blocks, inodes) = ((found.f_blocks, found.f_bavail), (found.f_files, found.f_favail));
    Ok(Space::of(blocks, found.f_frsize, inodes))
}

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
