//! Keeps the removal of a task and the next task of the same id apart. Ids that come from an
//! `Idempotency-Key` come back: a slow removal must not take away what belongs to the new task.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::lock::{lock_within, share_within};

/// Name of the lock file in `.tasks`. The agent cannot open it, so it cannot hold it either.
const GATE: &str = ".gate";
const GATE_MODE: Mode = Mode::from_raw_mode(0o600);
/// How long it is tried: who holds it does a few calls, and syncs a directory at most.
const WAIT: Duration = Duration::from_secs(1);

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Gate {
    _file: OwnedFd,
}

impl Gate {
    /// For a removal, together with other removals.
    ///
    /// # Errors
    /// `WouldBlock` if it is not to be had for a second.
    pub(crate) fn remove(tasks: &OwnedFd) -> io::Result<Self> {
        let file = open(tasks)?;
        taken(share_within(&file, WAIT)?, file)
    }

    /// To put a task in the place of one that was removed; alone.
    ///
    /// # Errors
    /// `WouldBlock` if it is not to be had for a second.
    pub(crate) fn reuse(tasks: &OwnedFd) -> io::Result<Self> {
        let file = open(tasks)?;
        taken(lock_within(&file, WAIT)?, file)
    }
}

fn open(tasks: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(tasks, GATE, flags, GATE_MODE)?)
}

fn taken(is_taken: bool, file: OwnedFd) -> io::Result<Gate> {
    if is_taken { Ok(Gate { _file: file }) } else { Err(Errno::WOULDBLOCK.into()) }
}
