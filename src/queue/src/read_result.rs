//! Reads a file that a stranger may have made: never waits, never follows, never reads more than allowed.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::publish::open_plain;
use crate::record::RecordError;

/// Why what stands at the name of a result is none.
#[derive(Debug, thiserror::Error)]
pub enum BadResult {
    /// It does not open as a plain file: a link, a socket, a lease, no permission.
    #[error("the result does not open as a plain file")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// It opens, but is something else than a regular file.
    #[error("the result is a {kind:?}, not a regular file")]
    NotAFile {
        /// What it is.
        kind: FileType,
    },
    /// It has another name somewhere.
    #[error("the result has {links} links instead of one")]
    Links {
        /// How many names it has.
        links: u64,
    },
    /// Its bytes are not the record of the task.
    #[error("the result is no record of the task")]
    Record(#[source] RecordError),
    /// Not the agent's fault: this process or the disk has trouble. Nothing was removed.
    #[error("the result cannot be read at present")]
    Trouble {
        /// What the kernel said.
        source: io::Error,
    },
}

impl BadResult {
    /// Whether the agent is to blame; otherwise it is worth trying again.
    pub fn is_fault_of_agent(&self) -> bool {
        !matches!(self, Self::Trouble { .. })
    }
}

/// A private copy of the file at `id`, or `None` if nothing is there.
pub(crate) fn read(
    directory: &OwnedFd,
    id: TaskId,
    limit: usize,
) -> Result<Option<Vec<u8>>, BadResult> {
    use std::os::fd::AsFd;
    let file = match open_plain(directory.as_fd(), id) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(
            e @ (Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV
            | Errno::WOULDBLOCK
            | Errno::ACCESS
            | Errno::PERM),
        ) => return Err(BadResult::Open { source: e.into() }),
        Err(e) => return Err(BadResult::Trouble { source: e.into() }),
    };
    let about = fstat(&file).map_err(|e| BadResult::Trouble { source: e.into() })?;
    let kind = FileType::from_raw_mode(about.st_mode);
    if kind != FileType::RegularFile {
        return Err(BadResult::NotAFile { kind });
    }
    let too_long = |length| BadResult::Record(RecordError::TooLong { length, limit });
    let length = u64::try_from(about.st_size).unwrap_or(u64::MAX);
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if limit < size {
        return Err(too_long(length));
    }
    #[expect(clippy::useless_conversion, reason = "its width depends on the architecture")]
    let links = u64::from(about.st_nlink);
    if links != 1 {
        return Err(BadResult::Links { links });
    }
    // What is added or cut off after this look makes the copy no record; it is never read twice.
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        match rustix::io::read(&file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(BadResult::Trouble { source: e.into() }),
        }
        if limit < bytes.len() {
            return Err(too_long(bytes.len() as u64));
        }
    }
    Ok(Some(bytes))
}
