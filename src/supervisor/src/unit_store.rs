//! The Quadlet directory: lists, writes and removes the files of agents, and no others.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::AgentId;

use crate::state_file;

/// Bytes of a file that is read back; what [`crate::unit_text`] writes is shorter.
const UNIT_MAX_BYTES: usize = 1 << 20;

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct UnitStore {
    root: PathBuf,
}

/// Why a file could not be listed, written or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnitStoreError {
    /// The directory or a file in it cannot be read.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    /// A file cannot be removed.
    #[error("cannot remove {}", .path.display())]
    Remove { path: PathBuf, source: io::Error },
}

impl UnitStore {
    /// The files in `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The texts of all agents' units. What a crash left half-written is removed on the way.
    ///
    /// # Errors
    /// When the directory or a file of an agent cannot be read.
    pub(crate) fn list(&self) -> Result<BTreeMap<AgentId, String>, UnitStoreError> {
        let failed = |path: &Path, source| UnitStoreError::Read { path: path.to_owned(), source };
        let mut units = BTreeMap::new();
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(units),
            Err(error) => return Err(failed(&self.root, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| failed(&self.root, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".ploinky-agent-") {
                state_file::delete(&path)
                    .map_err(|source| UnitStoreError::Remove { path: path.clone(), source })?;
            }
            let id = name
                .strip_prefix("ploinky-agent-")
                .and_then(|rest| rest.strip_suffix(".container"))
                .and_then(|id| id.parse::<AgentId>().ok());
            let Some(id) = id else { continue };
            let bytes = state_file::read(&path, UNIT_MAX_BYTES).map_err(|e| failed(&path, e))?;
            let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
            units.insert(id, text);
        }
        Ok(units)
    }

    /// The text of one agent's unit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self, id: &AgentId) -> Result<Option<String>, UnitStoreError> {
        let path = self.path(id);
        let bytes = state_file::read(&path, UNIT_MAX_BYTES)
            .map_err(|source| UnitStoreError::Read { path, source })?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes one agent's unit, whole.
    ///
    /// # Errors
    /// When it cannot be written; the old text is still there.
    pub(crate) fn write(&self, id: &AgentId, text: &str) -> Result<(), UnitStoreError> {
        let path = self.path(id);
        // The directory comes with the package; in its absence it is made like the package makes it.
        if !self.root.is_dir() {
            let made = std::fs::create_dir_all(&self.root).and_then(|()| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(&self.root, mode)
            });
            made.map_err(|source| UnitStoreError::Write { path: self.root.clone(), source })?;
        }
        state_file::write(&path, text.as_bytes(), 0o644)
            .map_err(|source| UnitStoreError::Write { path, source })
    }

    /// Removes one agent's unit if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&self, id: &AgentId) -> Result<(), UnitStoreError> {
        let path = self.path(id);
        state_file::delete(&path).map_err(|source| UnitStoreError::Remove { path, source })
    }

    fn path(&self, id: &AgentId) -> PathBuf {
        self.root.join(id.quadlet_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ploinky");
        let store = UnitStore::new(&root);
        assert_eq!(store.list().unwrap(), BTreeMap::new());
        let id: AgentId = "localhost-a".parse().unwrap();
        store.write(&id, "one").unwrap();
        store.write(&id, "two").unwrap();
        let others = [
            "mine.container",
            "ploinky-agent-.container",
            "ploinky-agent-x.network",
            "ploinky.network",
        ];
        for name in others.into_iter().chain([".ploinky-agent-x.container.tmp"]) {
            state_file::write(&root.join(name), b"x", 0o644).unwrap();
        }
        assert_eq!(store.list().unwrap(), BTreeMap::from([(id.clone(), "two".to_owned())]));
        assert_eq!(store.read(&id).unwrap().as_deref(), Some("two"));
        store.remove(&id).unwrap();
        store.remove(&id).unwrap();
        assert_eq!(store.read(&id).unwrap(), None);
        let mut left: Vec<_> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, others);
    }
}
