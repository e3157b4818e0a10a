//! Tells when somebody changed `config.json`: a hint, after which the file itself is looked at.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// How long the file has to be left alone: an editor writes, renames and sets modes one after the other.
const QUIET: Duration = Duration::from_millis(100);
/// How often the wait begins anew, so that somebody who writes without end does not stop it for ever.
const PATIENCE: usize = 20;

/// Watches the directory of one file, as editors replace the file itself.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Ends with the value.
    _watcher: notify::RecommendedWatcher,
    touched: Arc<Notify>,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the kernel gives no watch.
    pub(crate) fn new(file: &Path) -> notify::Result<Self> {
        let touched = Arc::new(Notify::new());
        let name = file.file_name().unwrap_or_default().to_owned();
        let wake = Arc::clone(&touched);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // After an overflow or an error nobody knows what was missed.
                if event.is_ok_and(|event| !concerns(&event, &name)) {
                    return;
                }
                wake.notify_one();
            })?;
        watcher.watch(file.parent().unwrap_or(file), RecursiveMode::NonRecursive)?;
        Ok(Self { _watcher: watcher, touched })
    }

    /// Waits until the file was touched and then left alone for a moment.
    pub(crate) async fn changed(&self) {
        self.touched.notified().await;
        for _ in 0..PATIENCE {
            if tokio::time::timeout(QUIET, self.touched.notified()).await.is_err() {
                return;
            }
        }
    }
}

fn concerns(event: &notify::Event, name: &OsStr) -> bool {
    let notify::Event { kind, paths, .. } = event;
    let reads = kind.is_access()
        && *kind
            != notify::EventKind::Access(notify::event::AccessKind::Close(
                notify::event::AccessMode::Write,
            ));
    let is_it = |path: &std::path::PathBuf| path.file_name() == Some(name);
    event.need_rescan() || (!reads && paths.iter().any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_file;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn every_way_of_changing_the_file_is_noticed_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let watch = Watch::new(&file).unwrap();
        state_file::write(&dir.path().join("uidmap.json"), b"{}", 0o644).unwrap();
        state_file::write(&file, b"{}", 0o644).unwrap();
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("a replaced file is noticed");
        let mut in_place = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut in_place, b" ").unwrap();
        drop(in_place);
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("a write in place is noticed");
        state_file::delete(&file).unwrap();
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("a removed file is noticed");
        state_file::write(&dir.path().join("uidmap.json"), b"{}", 0o644).unwrap();
        assert!(state_file::read(&file, 9).unwrap().is_none());
        let quiet = tokio::time::timeout(2 * QUIET, watch.changed()).await;
        assert!(quiet.is_err(), "another file counted as the configuration");
    }
}
