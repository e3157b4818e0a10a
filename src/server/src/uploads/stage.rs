//! The files of one upload in a directory of their own, below a name that nobody looks for until all are
//! whole. What is not handed over is removed again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ploinky_contract::TaskId;
use ploinky_contract::limits::FREE_SPACE_FLOOR_PERCENT;
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fstatvfs, fsync, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use tokio::runtime::Handle;

/// The agent reads by its group, which the directory hands down.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// The directory of one upload. On drop it is removed with its files, away from the event loop.
#[derive(Debug)]
pub(crate) struct Stage {
    removal: Option<Removal>,
}

/// What is to be removed. Dropping it does that, and blocks.
#[derive(Debug)]
struct Removal {
    /// `.tasks/files`.
    parent: Arc<OwnedFd>,
    directory: OwnedFd,
    name: String,
    /// Files `0..count` were begun.
    count: usize,
}

impl Stage {
    /// An empty directory in `parent`, for `upload`, which has to be an id of its own.
    pub(super) fn make(parent: Arc<OwnedFd>, upload: TaskId) -> io::Result<Self> {
        let name = format!(".tmp-{upload}");
        mkdirat(&parent, &name, DIRECTORY_MODE)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&parent, &name, flags, Mode::empty()) {
            Ok(directory) => {
                Ok(Self { removal: Some(Removal { parent, directory, name, count: 0 }) })
            }
            Err(error) => {
                unlinkat(&parent, &name, AtFlags::REMOVEDIR).ok();
                Err(error.into())
            }
        }
    }

    /// The next file, which is called by its number.
    pub(super) fn create(&mut self) -> io::Result<File> {
        let inner = self.inner_mut()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&inner.directory, inner.count.to_string(), flags, FILE_MODE)?;
        inner.count += 1;
        Ok(File::from(file))
    }

    /// Removes the last file again.
    pub(super) fn forget_last(&mut self) -> io::Result<()> {
        let inner = self.inner_mut()?;
        if let Some(last) = inner.count.checked_sub(1) {
            unlinkat(&inner.directory, last.to_string(), AtFlags::empty())?;
            inner.count = last;
        }
        Ok(())
    }

    /// Bytes that may be written before the disk is as full as it may be; 0 if there are no inodes.
    pub(super) fn room_bytes(&mut self) -> io::Result<u64> {
        let about = fstatvfs(&self.inner_mut()?.directory)?;
        let floor = |all: u64| all / 100 * FREE_SPACE_FLOOR_PERCENT;
        if about.f_files != 0 && about.f_favail < floor(about.f_files) {
            return Ok(0);
        }
        let blocks = about.f_bavail.saturating_sub(floor(about.f_blocks));
        Ok(blocks.saturating_mul(about.f_frsize))
    }

    /// Gives the directory the name under which the agent finds it. `false`: there is one of that name, and
    /// this one keeps its own. With `is_durable` a power cut does not take it back.
    ///
    /// # Errors
    /// When the directory is not there, or not for sure.
    pub(crate) fn publish(&mut self, id: TaskId, is_durable: bool) -> io::Result<bool> {
        let Removal { parent, directory, name, count: _ } = self.inner_mut()?;
        if is_durable {
            fsync(&*directory)?;
        }
        let name_of_task = id.as_str();
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&*parent, &*name, &*parent, name_of_task, flags) {
            Ok(()) => name_of_task.clone_into(name),
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if is_durable {
            fsync(&*parent)?;
        }
        Ok(true)
    }

    /// The files are the task's now, and are removed with it.
    pub(crate) fn hand_over(mut self) {
        if let Some(removal) = self.removal.take() {
            removal.call_off();
        }
    }

    fn inner_mut(&mut self) -> io::Result<&mut Removal> {
        // It is there as long as the stage lives.
        self.removal.as_mut().ok_or_else(|| Errno::BADF.into())
    }
}

impl Removal {
    fn call_off(self) {
        let mut this = self;
        this.name.clear();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(removal) = self.removal.take() else { return };
        if let Ok(event_loop) = Handle::try_current() {
            // A long file takes long to remove. If the process ends, the closure is dropped here.
            event_loop.spawn_blocking(move || drop(removal));
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let Self { parent, directory, name, count } = self;
        if name.is_empty() {
            return;
        }
        for number in 0..*count {
            unlinkat(&*directory, number.to_string(), AtFlags::empty()).ok();
        }
        if let Err(error) = unlinkat(&*parent, &*name, AtFlags::REMOVEDIR) {
            // The janitor tries again.
            tracing::warn!("cannot remove the files of an upload, {name}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Arc<OwnedFd>) {
        let directory = tempfile::tempdir().unwrap();
        let fd = File::open(directory.path()).unwrap();
        (directory, Arc::new(fd.into()))
    }

    fn names(at: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn id(number: u8) -> TaskId {
        TaskId::from_random([number; 16])
    }

    #[test]
    fn what_is_not_handed_over_is_removed() {
        let (scratch, parent) = scratch();
        let mut stage = Stage::make(Arc::clone(&parent), id(1)).unwrap();
        stage.create().unwrap().write_all(b"x").unwrap();
        stage.create().unwrap();
        assert_eq!(names(scratch.path()), [format!(".tmp-{}", id(1))]);
        drop(stage);
        assert_eq!(names(scratch.path()), [""; 0]);
        let mut stage = Stage::make(parent, id(1)).unwrap();
        stage.create().unwrap();
        assert!(stage.publish(id(2), true).unwrap());
        drop(stage);
        assert_eq!(names(scratch.path()), [""; 0]);
    }

    #[test]
    fn the_files_of_another_task_are_not_touched() {
        let (scratch, parent) = scratch();
        let mut first = Stage::make(Arc::clone(&parent), id(1)).unwrap();
        first.create().unwrap().write_all(b"first").unwrap();
        assert!(first.publish(id(9), false).unwrap());
        first.hand_over();
        let mut second = Stage::make(parent, id(2)).unwrap();
        second.create().unwrap().write_all(b"second").unwrap();
        assert!(!second.publish(id(9), true).unwrap());
        drop(second);
        assert_eq!(names(scratch.path()), [id(9).as_str()]);
        let file = scratch.path().join(id(9).as_str()).join("0");
        assert_eq!(std::fs::read(file).unwrap(), b"first");
    }

    #[test]
    fn a_file_that_is_forgotten_leaves_its_number() {
        let (scratch, parent) = scratch();
        let mut stage = Stage::make(parent, id(1)).unwrap();
        stage.create().unwrap();
        stage.create().unwrap();
        stage.forget_last().unwrap();
        let directory = scratch.path().join(format!(".tmp-{}", id(1)));
        assert_eq!(names(&directory), ["0"]);
        stage.create().unwrap();
        assert_eq!(names(&directory), ["0", "1"]);
    }
}
