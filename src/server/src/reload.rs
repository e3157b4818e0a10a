//! Keeps the table in step with `config.json`. A hint of the kernel makes it quick, a look each second sure.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use ploinky_contract::chain;
use ploinky_contract::limits::{CONFIG_CHECK, RESULTS_MAX_BYTES};
use ploinky_contract::paths::{RuntimeDir, StateDir};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::byte_budget::ByteBudget;
use crate::orchestrator::{Callbacks, Origin, watch};
use crate::routes::{Complaint, LoadError, Loaded, Making, Routes, load};

/// How long the queues have at the end of the process to clean up after their last task.
const LAST_CLEANING: Duration = Duration::from_secs(1);

/// The table in use; requests take it, the reloader replaces it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    routes: Arc<RwLock<Arc<Routes>>>,
    hint: Arc<Notify>,
}

/// Replaces the table when the configuration changes; owns the watches of the queues.
#[derive(Debug)]
pub(crate) struct Reloader {
    state: StateDir,
    table: Table,
    watches: JoinSet<()>,
    seen: Option<Fingerprint>,
    lanes: LanesSeen,
    complaints: Vec<Complaint>,
    /// For all queues.
    making: Making,
    refused: Option<String>,
    /// Ends with the reloader; `None` if the kernel gave none.
    _hints: Option<RecommendedWatcher>,
}

/// Tells two states of the file apart: device, inode, bytes, time of change.
type Fingerprint = (u64, u64, u64, i64, i64);

/// Tells without a look at each of them whether lanes came or went: their parent has another time then, which is
/// as coarse as a tick of the clock. So the round after a change looks again.
#[derive(Debug, Default)]
struct LanesSeen {
    /// The parent in the last round, if it was there.
    parent: Option<Fingerprint>,
    /// In how many rounds it was so, as far as that matters.
    rounds: u8,
}

impl LanesSeen {
    /// Whether there may be other ones than in the round before. Rounds are longer than a tick.
    fn may_differ(&mut self, lanes: &Path) -> bool {
        let now = fingerprint(lanes);
        if now != self.parent {
            *self = Self { parent: now, rounds: 0 };
        }
        self.rounds = self.rounds.saturating_add(1);
        self.rounds <= 2
    }

    /// There are other ones than are in use: the next round looks whether that is still so.
    fn doubt(&mut self) {
        self.rounds = 0;
    }
}

impl Table {
    /// The table as it is now.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A table that nobody replaces.
    #[cfg(test)]
    pub(crate) fn of(routes: Routes) -> Self {
        Self { routes: Arc::new(RwLock::new(Arc::new(routes))), hint: Arc::default() }
    }

    /// Asks for a new look: something is not where the table says.
    pub(crate) fn doubt(&self) {
        self.hint.notify_one();
    }

    fn replace(&self, routes: Routes) -> Arc<Routes> {
        let mut current = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(routes))
    }
}

impl Reloader {
    /// Loads the table for the first time. A configuration that is refused leaves it empty.
    pub(crate) async fn start(
        state: StateDir,
        runtime: RuntimeDir,
        origin: Origin,
        table: Table,
    ) -> Self {
        let hints = match hints(state.root(), Arc::clone(&table.hint)) {
            Ok(hints) => Some(hints),
            Err(error) => {
                tracing::warn!("cannot watch {}, polling: {error}", state.root().display());
                None
            }
        };
        let making = Making {
            origin,
            runtime,
            results: ByteBudget::new(RESULTS_MAX_BYTES),
            callbacks: Callbacks::new(&state),
        };
        let mut reloader = Self {
            state,
            table,
            watches: JoinSet::new(),
            seen: None,
            lanes: LanesSeen::default(),
            complaints: Vec::new(),
            making,
            refused: None,
            _hints: hints,
        };
        reloader.reload().await;
        reloader
    }

    /// Works until `stop` is done, then lets the queues finish.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let hint = Arc::clone(&self.table.hint);
        loop {
            let is_hinted = tokio::select! {
                () = &mut stop => break,
                () = hint.notified() => true,
                () = tokio::time::sleep(CONFIG_CHECK) => false,
                Some(_ended) = self.watches.join_next() => continue,
            };
            if is_hinted
                || self.table.routes().has_broken()
                || self.has_other_lanes()
                || self.seen != fingerprint(&self.state.config())
            {
                self.reload().await;
            }
        }
        self.finish().await;
    }

    fn has_other_lanes(&mut self) -> bool {
        let has_other = self.lanes.may_differ(&self.making.runtime.sync())
            && self.table.routes().has_other_lanes();
        if has_other {
            self.lanes.doubt();
        }
        has_other
    }

    async fn reload(&mut self) {
        self.seen = fingerprint(&self.state.config());
        let (state, previous) = (self.state.clone(), self.table.routes());
        let making = self.making.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&state, &previous, &making)).await;
        match loaded {
            Ok(Ok(loaded)) => self.apply(loaded),
            Ok(Err(error)) => {
                if matches!(error, LoadError::Read { .. }) {
                    // The file may be the same when it can be read again.
                    self.seen = None;
                }
                let reason = chain(&error);
                if self.refused.as_ref() != Some(&reason) {
                    tracing::error!("{reason}; the configuration in use stays");
                }
                self.refused = Some(reason);
            }
            Err(error) => {
                self.seen = None;
                tracing::error!("cannot load the configuration: {error}");
            }
        }
    }

    fn apply(&mut self, loaded: Loaded) {
        let Loaded { routes, opened, complaints } = loaded;
        self.refused = None;
        for complaint in complaints.iter().filter(|new| !self.complaints.contains(new)) {
            let Complaint { place, reason } = complaint;
            tracing::error!("{place} cannot be used: {reason}");
        }
        self.complaints = complaints;
        for (queue, results) in opened {
            self.watches.spawn(watch(Arc::clone(queue.calls()), results));
        }
        let previous = self.table.replace(routes);
        let current = self.table.routes();
        for queue in previous.queues() {
            if !current.queues().any(|kept| Arc::ptr_eq(kept.calls(), queue.calls())) {
                queue.calls().retire();
            }
        }
    }

    async fn finish(mut self) {
        self.table.routes().queues().for_each(|queue| queue.calls().retire());
        let all = async { while self.watches.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CLEANING, all).await.is_err() {
            // Tasks that an agent does not end are the janitor's, in another process.
            self.watches.shutdown().await;
        }
    }
}

fn hints(state: &Path, hint: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost: look.
        let is_ours = event.map_or(true, |event| {
            !event.kind.is_access()
                && (event.need_rescan()
                    || event.paths.iter().any(|path| path.ends_with("config.json")))
        });
        if is_ours {
            hint.notify_one();
        }
    })?;
    watcher.watch(state, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    match std::fs::metadata(path) {
        Ok(about) => {
            Some((about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        // Whatever it is, loading says it.
        Err(_) => Some((0, 0, 0, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use ploinky_queue::Submitter;

    use super::*;

    #[test]
    fn lanes_are_looked_at_until_their_parent_was_the_same_twice() {
        let root = tempfile::tempdir().unwrap();
        let lanes = root.path().join("sync");
        let mut seen = LanesSeen::default();
        let mut look = || [(); 3].map(|()| seen.may_differ(&lanes));
        assert_eq!(look(), [true, true, false]);
        std::fs::create_dir(&lanes).unwrap();
        assert_eq!(look(), [true, true, false]);
        let long_ago = std::time::UNIX_EPOCH;
        File::open(&lanes).and_then(|lanes| lanes.set_modified(long_ago)).unwrap();
        assert_eq!(look(), [true, true, false]);
        std::fs::create_dir(lanes.join("a")).unwrap();
        assert_eq!(look(), [true, true, false]);
        seen.doubt();
        assert!(seen.may_differ(&lanes) && seen.may_differ(&lanes) && !seen.may_differ(&lanes));
    }

    #[tokio::test]
    async fn a_file_that_could_not_be_read_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path());
        // A directory opens, but does not read.
        std::fs::create_dir(state.config()).unwrap();
        let runtime = RuntimeDir::new(root.path());
        let submitter = Submitter { instance: 1, invocation: "0".repeat(32) };
        let origin = Origin { boot_id: "0".repeat(32), submitter };
        let mut reloader = Reloader::start(state.clone(), runtime, origin, Table::default()).await;
        assert_ne!(reloader.seen, fingerprint(&state.config()));
        std::fs::remove_dir(state.config()).unwrap();
        File::create(state.config()).and_then(|mut file| file.write_all(b"{")).unwrap();
        reloader.reload().await;
        // Nothing but another file makes this one better.
        assert_eq!(reloader.seen, fingerprint(&state.config()));
    }
}
