//! `locks/claims`: which task each thread of the runner took last. 32 digits per slot, spaces if none.
//!
//! A slot never crosses a page, and it is written before the request is opened: whatever was half written when
//! the process died had no effects. The server reads the file as a stranger's.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, pread, pwrite};

use crate::read_result::READ;

/// Threads that one runner may have: what fits into one page.
pub(crate) const SLOTS: usize = 128;
const SLOT_BYTES: usize = 32;
const FILE_BYTES: usize = SLOTS * SLOT_BYTES;
const NAME: &str = "claims";
const MODE: Mode = Mode::from_raw_mode(0o640);

/// The agent's handle.
#[derive(Debug)]
pub(crate) struct Claims {
    file: OwnedFd,
}

/// What the server makes of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// The task is in no slot, and since its request is gone it will never be run.
    Absent,
    /// It is, or the agent made something odd of the file.
    MaybeThere,
}

impl Claims {
    /// Opens the file in `locks`, or makes it. Only a runner writes to it.
    pub(crate) fn open(locks: &OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(locks, NAME, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match openat(locks, NAME, flags | OFlags::CREATE | OFlags::EXCL, MODE) {
                    // Another process was quicker.
                    Err(Errno::EXIST) => openat(locks, NAME, flags, Mode::empty())?,
                    made => made?,
                }
            }
            opened => opened?,
        };
        Ok(Self { file })
    }

    /// The tasks in the slots.
    pub(crate) fn read(&self) -> io::Result<Vec<TaskId>> {
        ids(&self.file)
    }

    /// Empties all slots; takes the memory for them, so that no later write lacks it.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.write_at(0, &[b' '; FILE_BYTES])
    }

    /// Writes the task into the slot.
    pub(crate) fn put(&self, slot: usize, id: TaskId) -> io::Result<()> {
        if SLOTS <= slot {
            return Err(Errno::INVAL.into());
        }
        self.write_at(slot * SLOT_BYTES, id.as_str().as_bytes())
    }

    fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        loop {
            match pwrite(&self.file, bytes, offset as u64) {
                Ok(written) if written == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Whether the task may be in a slot. To be asked *after* its request was removed.
pub(crate) fn look_for(locks: &OwnedFd, id: TaskId) -> Seen {
    let file = match openat(locks, NAME, READ, Mode::empty()) {
        Ok(file) => file,
        // There never was a runner.
        Err(Errno::NOENT) => return Seen::Absent,
        Err(_) => return Seen::MaybeThere,
    };
    let is_plain = fstat(&file)
        .is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::RegularFile);
    match ids(&file) {
        Ok(ids) if is_plain && !ids.contains(&id) => Seen::Absent,
        Ok(_) | Err(_) => Seen::MaybeThere,
    }
}

fn ids(file: &OwnedFd) -> io::Result<Vec<TaskId>> {
    let mut bytes = [0; FILE_BYTES];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..)
        && !rest.is_empty()
    {
        match pread(file, rest, length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let slots = bytes.get(..length).unwrap_or_default().chunks_exact(SLOT_BYTES);
    Ok(slots.filter_map(|slot| TaskId::from_bytes(slot).ok()).collect())
}
