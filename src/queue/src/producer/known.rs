//! Which outcomes are on the disk for sure. Telling one that a power cut takes back would be a lie.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ploinky_contract::TaskId;

use super::Producer;

/// Ids that are remembered. For one that was forgotten the directory is synced once more.
const KNOWN_MAX: usize = 8192;

/// The tasks whose outcome is known to be durable.
#[derive(Debug, Default)]
pub(super) struct KnownDurable {
    ids: Mutex<Ids>,
}

#[derive(Debug, Default)]
struct Ids {
    all: HashSet<TaskId>,
    in_order: VecDeque<TaskId>,
}

impl KnownDurable {
    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.lock().all.contains(&id)
    }

    pub(super) fn add(&self, id: TaskId) {
        let mut ids = self.lock();
        if ids.all.insert(id) {
            ids.in_order.push_back(id);
            if KNOWN_MAX < ids.in_order.len()
                && let Some(oldest) = ids.in_order.pop_front()
            {
                ids.all.remove(&oldest);
            }
        }
    }

    /// The outcome is about to be removed; the id may come back with another one.
    pub(super) fn forget(&self, id: TaskId) {
        let mut ids = self.lock();
        if ids.all.remove(&id) {
            ids.in_order.retain(|known| *known != id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    /// Makes the outcomes of these tasks durable, which were seen before this call.
    pub(super) fn make_durable(&self, ids: &[TaskId]) -> io::Result<()> {
        if ids.iter().all(|id| self.known.contains(*id)) {
            return Ok(());
        }
        let directories = &self.directories;
        directories.responses_sync.sync(&directories.disk, &directories.responses)?;
        for id in ids {
            self.known.add(*id);
        }
        Ok(())
    }
}
