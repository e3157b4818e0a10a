//! `uidmap.json`: which 65,536 host uids and gids belong to which agent.
//!
//! Owners on disk depend on it, so a file that is broken, or missing although agents have directories, is an
//! error that names it, never a reason to begin anew. A range is free again when the agent's tree is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::AgentId;
use ploinky_contract::limits::{DEPLOYMENTS_MAX, UID_RANGE_FIRST, UID_RANGE_SIZE};
use serde::{Deserialize, Serialize};

use crate::state_file;

/// Ranges that exist: as many as deployments, and some for trees whose removal failed.
const RANGES_MAX: u32 = 4096;
/// Bytes of the file: an entry is at most an id and a number.
const UID_MAP_MAX_BYTES: usize = 1 << 20;
const _: () = assert!(DEPLOYMENTS_MAX < RANGES_MAX as usize);

/// The ranges of all agents that have, or had until their removal, a container.
#[derive(Debug)]
pub(crate) struct UidMap {
    path: PathBuf,
    ranges: BTreeMap<AgentId, u32>,
}

/// Why a range cannot be told, given or freed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UidMapError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is not what this module writes.
    #[error("{} is broken: {reason}; owners on disk depend on it: restore it from a backup", .path.display())]
    Broken { path: PathBuf, reason: String },
    /// There is no file, but there are agents whose owners it should tell.
    #[error("{} is missing although agents have directories; restore it from a backup", .path.display())]
    Lost { path: PathBuf },
    /// The file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Every range belongs to somebody.
    #[error("all {RANGES_MAX} ranges of host uids are in use")]
    Full,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    ranges: BTreeMap<AgentId, u32>,
}

impl UidMap {
    /// Reads the map. `has_agents` tells whether any agent has a directory, so that a lost file is noticed.
    ///
    /// # Errors
    /// When the file is broken, or missing although `has_agents`.
    pub(crate) fn load(path: &Path, has_agents: bool) -> Result<Self, UidMapError> {
        let path = path.to_owned();
        let bytes = match state_file::read(&path, UID_MAP_MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if has_agents => return Err(UidMapError::Lost { path }),
            Ok(None) => return Ok(Self { path, ranges: BTreeMap::new() }),
            Err(source) => return Err(UidMapError::Read { path, source }),
        };
        let broken = |reason: String| UidMapError::Broken { path: path.clone(), reason };
        let Raw { ranges } = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        let mut seen = BTreeSet::new();
        for (id, first) in &ranges {
            let is_range = first
                .checked_sub(UID_RANGE_FIRST)
                .is_some_and(|d| d % UID_RANGE_SIZE == 0 && d / UID_RANGE_SIZE < RANGES_MAX);
            if !is_range {
                return Err(broken(format!("`{id}` has {first}, which no range begins with")));
            }
            if !seen.insert(first) {
                return Err(broken(format!("`{id}` shares the range {first} with another agent")));
            }
        }
        Ok(Self { path, ranges })
    }

    /// First uid of the agent's range.
    pub(crate) fn range(&self, id: &AgentId) -> Option<u32> {
        self.ranges.get(id).copied()
    }

    /// All agents with a range.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.ranges.keys()
    }

    /// The agent's range: the one it has, else the lowest free one, which is then on disk.
    ///
    /// # Errors
    /// When none is free, or the file cannot be written; then nothing is given.
    pub(crate) fn allot(&mut self, id: &AgentId) -> Result<u32, UidMapError> {
        if let Some(first) = self.range(id) {
            return Ok(first);
        }
        let taken: BTreeSet<u32> = self.ranges.values().copied().collect();
        let first = (0..RANGES_MAX)
            .map(|index| UID_RANGE_FIRST + index * UID_RANGE_SIZE)
            .find(|first| !taken.contains(first))
            .ok_or(UidMapError::Full)?;
        let mut ranges = self.ranges.clone();
        ranges.insert(id.clone(), first);
        self.save(ranges)?;
        Ok(first)
    }

    /// Gives the agent's range back. Its tree must be gone.
    ///
    /// # Errors
    /// When the file cannot be written; then the agent still has it.
    pub(crate) fn free(&mut self, id: &AgentId) -> Result<(), UidMapError> {
        let mut ranges = self.ranges.clone();
        match ranges.remove(id) {
            Some(_) => self.save(ranges),
            None => Ok(()),
        }
    }

    fn save(&mut self, ranges: BTreeMap<AgentId, u32>) -> Result<(), UidMapError> {
        let raw = Raw { ranges };
        // A map with string keys and numbers cannot fail to serialise.
        let mut text = serde_json::to_string_pretty(&raw).unwrap_or_default();
        text.push('\n');
        state_file::write(&self.path, text.as_bytes(), 0o644)
            .map_err(|source| UidMapError::Write { path: self.path.clone(), source })?;
        self.ranges = raw.ranges;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentId {
        text.parse().unwrap()
    }

    #[test]
    fn a_broken_or_lost_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uidmap.json");
        let lost = UidMap::load(&path, true).unwrap_err().to_string();
        assert_eq!(
            lost,
            format!(
                "{} is missing although agents have directories; restore it from a backup",
                path.display()
            )
        );
        for (text, reason) in [
            ("", "EOF"),
            ("{}", "missing field `ranges`"),
            (r#"{"ranges":{},"x":1}"#, "unknown field"),
            (r#"{"ranges":{"../x":1073741824}}"#, "not an agent id"),
            (r#"{"ranges":{"a":0}}"#, "which no range begins with"),
            (r#"{"ranges":{"a":1073741825}}"#, "which no range begins with"),
            (r#"{"ranges":{"a":4294901760}}"#, "which no range begins with"),
            (r#"{"ranges":{"a":1073741824,"b":1073741824}}"#, "`b` shares the range"),
        ] {
            state_file::write(&path, text.as_bytes(), 0o644).unwrap();
            let error = UidMap::load(&path, true).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("uidmap.json"), "{text}: {error}");
            assert_eq!(state_file::read(&path, 1024).unwrap().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn ranges_never_overlap_and_the_lowest_free_one_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uidmap.json");
        let mut map = UidMap::load(&path, false).unwrap();
        assert_eq!(map.allot(&id("a")).unwrap(), 1 << 30);
        assert_eq!(map.allot(&id("b")).unwrap(), (1 << 30) + 65_536);
        assert_eq!(map.allot(&id("c")).unwrap(), (1 << 30) + 2 * 65_536);
        assert_eq!(map.allot(&id("a")).unwrap(), 1 << 30);
        map.free(&id("b")).unwrap();
        map.free(&id("b")).unwrap();
        assert_eq!(map.allot(&id("d")).unwrap(), (1 << 30) + 65_536);
        let again = UidMap::load(&path, true).unwrap();
        assert_eq!(again.ranges, map.ranges);
        assert_eq!(again.agents().map(AgentId::as_str).collect::<Vec<_>>(), ["a", "c", "d"]);
    }

    #[test]
    fn a_range_that_cannot_be_written_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no-such-directory/uidmap.json");
        let mut map = UidMap { path, ranges: BTreeMap::new() };
        assert!(matches!(map.allot(&id("a")), Err(UidMapError::Write { .. })));
        assert_eq!(map.range(&id("a")), None);
    }
}
