//! What the kernel tells of the directories of grants. Only a hint: who uses a grant looks again in any case.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, RemoveKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use ploinky_contract::TokenDigest;

use super::memory::Memory;

/// Time between two tries to watch a directory that is not there.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The watches, as far as the directories are there.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Mutex<Option<RecommendedWatcher>>,
    missing: Arc<Mutex<Missing>>,
}

#[derive(Debug)]
struct Missing {
    directories: Vec<PathBuf>,
    tried: Option<Instant>,
}

impl Watch {
    /// Watches `directories`; what happens in them is forgotten by `memory`.
    pub(super) fn start(directories: Vec<PathBuf>, memory: &Arc<Memory>) -> Self {
        let missing = Missing { directories: directories.clone(), tried: None };
        let missing = Arc::new(Mutex::new(missing));
        let (told, lost) = (Arc::clone(memory), Arc::clone(&missing));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            tell(event, &told, &lost, &directories);
        });
        if let Err(error) = &watcher {
            tracing::warn!("cannot watch sessions and tokens, looking instead: {error}");
        }
        let watch = Self { watcher: Mutex::new(watcher.ok()), missing };
        watch.mend(Instant::now());
        watch
    }

    /// Watches directories that were not there before, if the last try is not of just now.
    pub(super) fn mend(&self, now: Instant) {
        let is_early = |tried| now.saturating_duration_since(tried) < TRY_AGAIN;
        let mut wanted = {
            let mut missing = lock(&self.missing);
            if missing.directories.is_empty() || missing.tried.is_some_and(is_early) {
                return;
            }
            missing.tried = Some(now);
            std::mem::take(&mut missing.directories)
        };
        // Not under the lock: the thread that answers here may wait for it to tell of something.
        if let Some(watcher) = &mut *lock(&self.watcher) {
            wanted.retain(|path| watcher.watch(path, RecursiveMode::NonRecursive).is_err());
        }
        lock(&self.missing).directories.append(&mut wanted);
    }

    #[cfg(test)]
    pub(super) fn watcher(&self) -> MutexGuard<'_, Option<RecommendedWatcher>> {
        lock(&self.watcher)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(
    event: notify::Result<Event>,
    memory: &Memory,
    missing: &Mutex<Missing>,
    directories: &[PathBuf],
) {
    match event {
        // What is lost may have been anything.
        Err(_lost) => memory.forget_all(),
        Ok(event) if event.need_rescan() => memory.forget_all(),
        Ok(event) if event.kind.is_access() => {}
        Ok(event) => {
            for path in &event.paths {
                match digest_of(path) {
                    Some(digest) => memory.forget(&digest),
                    None if directories.contains(path) => {
                        memory.forget_all();
                        if event.kind == EventKind::Remove(RemoveKind::Folder) {
                            lock(missing).directories.push(path.clone());
                        }
                    }
                    None => {}
                }
            }
        }
    }
}

fn digest_of(path: &Path) -> Option<TokenDigest> {
    path.file_name()?.to_str()?.parse().ok()
}
