//! What a handler said last of its progress.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use ploinky_contract::check_depth;
use ploinky_contract::limits::{JSON_DEPTH_MAX, PROGRESS_MAX_BYTES};
use rustix::fs::Mode;
use serde_json::value::RawValue;

use crate::publish::replace;
use crate::read_result::{BadResult, read_named};

/// The server has to read it.
const PROGRESS_MODE: Mode = Mode::from_raw_mode(0o644);

/// The name of the progress of a task among the locks.
pub(crate) fn progress_name(id: TaskId) -> String {
    format!("{id}.progress")
}

/// Puts the progress of a task in the place of the one before.
pub(crate) fn write_progress(locks: &OwnedFd, id: TaskId, progress: &RawValue) -> io::Result<()> {
    let bytes = progress.get().as_bytes();
    if PROGRESS_MAX_BYTES < bytes.len() {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    replace(locks, &progress_name(id), bytes, PROGRESS_MODE, None)
}

/// The progress of a task; what is no progress counts as none, as it is only shown.
pub(crate) fn read_progress(
    locks: &OwnedFd,
    id: TaskId,
) -> Result<Option<Box<RawValue>>, BadResult> {
    match read_named(locks, &progress_name(id), PROGRESS_MAX_BYTES) {
        Ok(Some((bytes, _about))) => Ok(check_depth(&bytes, JSON_DEPTH_MAX)
            .is_ok()
            .then(|| serde_json::from_slice(&bytes).ok())
            .flatten()),
        Ok(None) => Ok(None),
        Err(e) if e.is_fault_of_agent() => Ok(None),
        Err(e) => Err(e),
    }
}
