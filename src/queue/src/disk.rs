//! What has to be on the disk before a promise is made: the only calls of `fsync`.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstatfs, fsync, openat};

use crate::directories::DIRECTORY;

/// `f_type` of xfs, `XFSB`.
const XFS: u64 = 0x5846_5342;

/// The file system of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// After xfs has shut itself down for an I/O error, `fsync` of a directory says that all is well; only
    /// making a file tells.
    is_probed: bool,
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
        let is_probed = fstatfs(directory).map_or(true, |about| {
            #[expect(clippy::cast_sign_loss, reason = "its sign depends on the architecture")]
            #[expect(clippy::allow_attributes, reason = "as above")]
            let kind = about.f_type as u64;
            kind == XFS
        });
        Self {
            is_probed,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
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
    #[expect(clippy::unused_self, reason = "tests make it fail")]
    fn fault(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

/// The same directory by a new descriptor: the kernel tells each descriptor of an error once.
pub(crate) fn reopen(directory: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(openat(directory, c".", DIRECTORY | OFlags::RDONLY, Mode::empty())?)
}
