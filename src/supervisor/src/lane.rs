//! The queue in memory of one agent: made when its unit starts, removed when it is undeployed.
//!
//! The unit makes it, by `ExecStartPre=` and this program, because after a boot a container may start before
//! the supervisor. Between two starts it stays: what the last container left is there to be answered.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ploinky_contract::AgentId;
use ploinky_contract::paths::RuntimeDir;

use crate::accounts::{Accounts, Owner};
use crate::{directory, tree};

/// Mode of the parent of all lanes, and of one that is not there: pass through, list nothing.
const PASS_THROUGH: u32 = 0o711;
/// Mode of a lane itself.
const LANE: u32 = 0o2750;
/// Directories of a lane and their modes (sticky where the agent may write).
const QUEUE: [(&str, u32); 5] = [
    ("requests", 0o2750),
    ("urgent", 0o2750),
    ("streams", 0o2750),
    // Each worker makes a directory for its results in it.
    ("responses", 0o2750),
    ("locks", 0o3770),
];

/// All lanes of a host.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    runtime: RuntimeDir,
    accounts: Accounts,
}

/// What there is for an agent to mount.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Made {
    /// The queue.
    Queue,
    /// An empty directory, as the memory is not mounted: the queue would be in `/run` itself, which must not
    /// be an agent's to fill. All calls go through the disk.
    Nothing,
}

/// The host did not let it be done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", .path.display())]
pub(crate) struct LaneError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Lanes {
    /// The lanes below `runtime`.
    pub(crate) fn new(runtime: RuntimeDir, accounts: Accounts) -> Self {
        Self { runtime, accounts }
    }

    /// Makes the lane of `id` for the range that begins with `uid_first`, or repairs it. One that belongs to
    /// another range is removed before.
    ///
    /// # Errors
    /// When the host does not let it.
    pub(crate) fn make(&self, id: &AgentId, uid_first: u32) -> Result<Made, LaneError> {
        let failed = |source| self.error("make", id, source);
        let (sync, is_mounted) = self.parent().map_err(failed)?;
        if is_mounted {
            self.fill(&sync, id, uid_first).map_err(failed)?;
            Ok(Made::Queue)
        } else {
            // What lies here was made while it was mounted elsewhere, or by nobody of us.
            tree::remove(&sync, id.as_str()).map_err(failed)?;
            self.make_directory(&sync, id.as_str(), PASS_THROUGH, Owner::myself())
                .map_err(failed)?;
            Ok(Made::Nothing)
        }
    }

    /// Removes the lane of `id` with all that is in it. The container must be gone.
    ///
    /// # Errors
    /// When something cannot be removed; it can be tried again.
    pub(crate) fn remove(&self, id: &AgentId) -> Result<(), LaneError> {
        let sync = match directory::open(&self.runtime.sync()) {
            Ok(sync) => sync,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.error("remove", id, error)),
        };
        tree::remove(&sync, id.as_str()).map_err(|error| self.error("remove", id, error))
    }

    /// The parent of all lanes, and whether it is a file system of its own.
    fn parent(&self) -> io::Result<(OwnedFd, bool)> {
        let runtime = directory::open(self.runtime.root())?;
        let sync = self.make_directory(&runtime, "sync", PASS_THROUGH, Owner::myself())?;
        let is_mounted = rustix::fs::fstat(&runtime)?.st_dev != rustix::fs::fstat(&sync)?.st_dev;
        Ok((sync, is_mounted))
    }

    fn fill(&self, sync: &OwnedFd, id: &AgentId, uid_first: u32) -> io::Result<()> {
        let owner = self.accounts.workers_and_agent(uid_first);
        let name = id.as_str();
        match directory::open_in(sync, name).map(rustix::fs::fstat) {
            Ok(found) if found?.st_gid == self.accounts.effective(owner).gid => {}
            // In it the old range has files that the new one could not remove.
            Ok(_) | Err(_) => tree::remove(sync, name)?,
        }
        let lane = self.make_directory(sync, name, LANE, owner)?;
        for (name, mode) in QUEUE {
            self.make_directory(&lane, name, mode, owner)?;
        }
        Ok(())
    }

    fn make_directory(
        &self,
        parent: &OwnedFd,
        name: &str,
        mode: u32,
        owner: Owner,
    ) -> io::Result<OwnedFd> {
        directory::make(parent, name, mode, owner, self.accounts)
    }

    fn error(&self, verb: &'static str, id: &AgentId, source: io::Error) -> LaneError {
        LaneError { verb, path: self.runtime.sync_of(id), source }
    }
}
