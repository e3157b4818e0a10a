//! The directories of the lane, opened once.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ploinky_contract::limits::WORKERS_MAX;
use rustix::fs::{Mode, OFlags, openat};

use crate::OpenError;
use crate::directories::{DIRECTORY, Opened, place};

/// Handles of the directories that both sides use.
#[derive(Debug)]
pub(crate) struct SyncDirectories {
    pub(crate) requests: OwnedFd,
    pub(crate) urgent: OwnedFd,
    pub(crate) streams: OwnedFd,
    /// Holds one directory per worker.
    pub(crate) responses: OwnedFd,
    pub(crate) locks: OwnedFd,
    /// The lane itself: as long as it is open, no other directory gets its inode number.
    lane: OwnedFd,
}

impl SyncDirectories {
    /// Opens the lane at `lane` without following links; also gives its parent handle for messages.
    pub(crate) fn open(lane: &Path) -> Result<(Self, Opened), OpenError> {
        let opened = Opened::walk(lane)?;
        let directories = Self {
            requests: opened.directory("requests")?,
            urgent: opened.directory("urgent")?,
            streams: opened.directory("streams")?,
            responses: opened.directory("responses")?,
            locks: opened.directory("locks")?,
            lane: opened.directory(".")?,
        };
        Ok((directories, opened))
    }

    /// Device and inode of the lane. No other directory has them as long as this value lives.
    pub(crate) fn place(&self) -> io::Result<(u64, u64)> {
        place(&self.lane)
    }

    /// The directory of the records that worker `instance` waits for.
    pub(crate) fn responses_of(&self, instance: u16) -> rustix::io::Result<OwnedFd> {
        openat(&self.responses, instance.to_string(), DIRECTORY | OFlags::RDONLY, Mode::empty())
    }
}

/// The number of the worker whose records lie in the directory `name`.
pub(crate) fn instance_of(name: &[u8]) -> Option<u16> {
    let number = std::str::from_utf8(name).ok()?.parse().ok()?;
    (1..=WORKERS_MAX).contains(&number).then_some(number)
}
