//! The queue in memory of one agent: made when its unit starts, removed when it is undeployed.
//!
//! The unit makes it, by `ExecStartPre=` and this program, because after a boot a container may start before
//! the supervisor. Between two starts it stays: what the last container left is there to be answered.
//!
//! ```text
//! /run/ploinky/sync/AGENT/   the queue, in memory that all agents share
//! /run/ploinky/lane/AGENT    what its container mounts: a link to the queue, or an empty directory
//! ```
//! The second one is not in that memory, so that an agent starts even if others have filled it.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ploinky_contract::paths::RuntimeDir;
use ploinky_contract::{AgentId, Floor, Space};
use rustix::fs::AtFlags;
use rustix::io::Errno;

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

/// The first file of agent-core in a lane.
const CLAIMS: &str = "locks/claims";

/// All lanes of a host.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    runtime: RuntimeDir,
    accounts: Accounts,
}

/// What there is for an agent to mount.
#[derive(Debug)]
pub(crate) enum Made {
    /// The queue.
    Queue,
    /// An empty directory; all calls go through the disk.
    Nothing(NoQueue),
}

/// Why there is no queue in memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoQueue {
    /// It would be in `/run` itself, which must not be an agent's to fill.
    #[error("run-ploinky-sync.mount is not active")]
    NotMounted,
    /// The memory is full, or was meddled with.
    #[error("cannot make {}", .path.display())]
    NotMade { path: PathBuf, source: io::Error },
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

    /// Makes the lane of `id` for the range that begins with `uid_first`, or repairs it, and what the container
    /// mounts. A lane that belongs to another range is removed before.
    ///
    /// # Errors
    /// When not even an empty directory can be made.
    pub(crate) fn make(&self, id: &AgentId, uid_first: u32) -> Result<Made, LaneError> {
        let made = match self.parent() {
            Ok((sync, true)) => {
                match has_room(&sync, id).and_then(|()| self.fill(&sync, id, uid_first)) {
                    Ok(()) => Made::Queue,
                    Err(source) => Made::Nothing(self.not_made(id, source)),
                }
            }
            Ok((_sync, false)) => Made::Nothing(NoQueue::NotMounted),
            Err(source) => Made::Nothing(self.not_made(id, source)),
        };
        self.offer(id, matches!(made, Made::Queue)).map_err(|source| LaneError {
            verb: "make",
            path: self.runtime.lane_of(id),
            source,
        })?;
        Ok(made)
    }

    /// Removes the lane of `id` with all that is in it. The container must be gone.
    ///
    /// # Errors
    /// When something cannot be removed; it can be tried again.
    pub(crate) fn remove(&self, id: &AgentId) -> Result<(), LaneError> {
        for (parent, path) in [
            (self.runtime.lanes(), self.runtime.lane_of(id)),
            (self.runtime.sync(), self.runtime.sync_of(id)),
        ] {
            let removed = match directory::open(&parent) {
                Ok(parent) => clear(&parent, id.as_str()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            removed.map_err(|source| LaneError { verb: "remove", path, source })?;
        }
        Ok(())
    }

    /// Puts the link to the queue, or an empty directory, where the container looks.
    fn offer(&self, id: &AgentId, queue: bool) -> io::Result<()> {
        let runtime = directory::open(self.runtime.root())?;
        let lanes = self.make_directory(&runtime, "lane", PASS_THROUGH, Owner::myself())?;
        clear(&lanes, id.as_str())?;
        if queue {
            Ok(rustix::fs::symlinkat(self.runtime.sync_of(id), &lanes, id.as_str())?)
        } else {
            let name = id.as_str();
            self.make_directory(&lanes, name, PASS_THROUGH, Owner::myself()).map(drop)
        }
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

    fn not_made(&self, id: &AgentId, source: io::Error) -> NoQueue {
        NoQueue::NotMade { path: self.runtime.sync_of(id), source }
    }
}

/// Refuses a lane that would lack the memory to be served. One that agent-core has served before has what it
/// needs, and there may be calls in it.
fn has_room(sync: &OwnedFd, id: &AgentId) -> io::Result<()> {
    let claims = format!("{id}/{CLAIMS}");
    let found = rustix::fs::statat(sync, claims, AtFlags::SYMLINK_NOFOLLOW);
    if found.is_ok_and(|found| 0 < found.st_blocks) {
        return Ok(());
    }
    let found = rustix::fs::fstatvfs(sync)?;
    let (blocks, inodes) = ((found.f_blocks, found.f_bavail), (found.f_files, found.f_favail));
    let space = Space::of(blocks, found.f_frsize, inodes);
    // Not the floor of the workers, who keep room for results (`queue/sync_lane`): a lane needs its directories
    // and the slots of agent-core.
    if space.is_below(Floor::USABLE) { Err(Errno::NOSPC.into()) } else { Ok(()) }
}

/// Removes what has this name, a directory with all that is in it.
fn clear(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => tree::remove(parent, name),
        Err(error) => Err(error.into()),
    }
}
