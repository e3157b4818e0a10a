//! What has to be on the disk before a promise is made: the only calls of `fsync`.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstatfs, fsync, openat};

use crate::directories::DIRECTORY;

/// `f_type` of xfs, `XFSB`.
const XFS: u32 = 0x5846_5342;
/// `f_type` of ext4, and of ext2 and ext3, which only it mounts any more.
const EXT4: u32 = 0xef53;

/// The file system of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// After xfs has shut itself down for an I/O error, `fsync` of a directory says that all is well; only
    /// making a file tells.
    is_probed: bool,
    /// Whether of two names the later one is never durable without the earlier one.
    keeps_order: bool,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<crate::scratch::Faults>,
}

/// What is made durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    File,
    Directory,
}

impl Disk {
    /// The file system that `directory` is on. What cannot be told is probed.
    pub(crate) fn of(directory: &OwnedFd) -> Self {
        let kind =
            fstatfs(directory).ok().and_then(|about| i128::from(about.f_type).try_into().ok());
        Self {
            is_probed: kind.is_none_or(|kind: u32| kind == XFS),
            keeps_order: kind.is_some_and(|kind| matches!(kind, XFS | EXT4)),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// Whether a sync of one directory makes every name durable that was made or removed before in any
    /// directory, as one journal does.
    pub(crate) fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    /// Makes the bytes of a file durable. After an error the file has to be given up: a second try may
    /// succeed although the bytes are lost.
    pub(crate) fn sync_file(&self, file: &OwnedFd) -> io::Result<()> {
        self.fault(Step::File)?;
        Ok(fsync(file)?)
    }

    /// Makes the names in a directory durable. After an error use [`reopen`].
    pub(crate) fn sync_directory(&self, directory: &OwnedFd) -> io::Result<()> {
        self.fault(Step::Directory)?;
        fsync(directory)?;
        if self.is_probed {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(directory, c".", flags, Mode::from_raw_mode(0o600))?);
        }
        Ok(())
    }

    #[cfg(test)]
    fn fault(&self, step: Step) -> io::Result<()> {
        self.faults.next(step)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make it fail")]
    fn fault(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

/// The same directory by a new descriptor: the kernel tells each descriptor of an error once.
pub(crate) fn reopen(directory: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(openat(directory, c".", DIRECTORY | OFlags::RDONLY, Mode::empty())?)
}
