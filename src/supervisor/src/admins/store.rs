//! The file of accounts: read each time it is needed, written whole or not at all.

use std::io;
use std::path::PathBuf;

use ploinky_contract::limits::ADMIN_FILE_MAX_BYTES;
use rustix::fs::Mode;

use super::record::{self, Account, RecordError};
use crate::state_file;

/// The supervisor reads and writes it, and nobody else.
const MODE: u32 = 0o600;

/// Where the accounts are.
#[derive(Clone, Debug)]
pub(super) struct AccountStore {
    path: PathBuf,
}

/// Why the accounts cannot be used. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It is no list of accounts.
    #[error("{} is broken; until it is repaired no account is changed and nobody logs in", .path.display())]
    Broken { path: PathBuf, source: RecordError },
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be written.
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl AccountStore {
    /// The accounts at `path`; a file that is there is kept from others.
    ///
    /// # Errors
    /// When its mode is wrong and cannot be set.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let changed = match rustix::fs::lstat(&path) {
            Ok(found) if found.st_mode & 0o177 != 0 && is_regular(found.st_mode) => {
                tracing::warn!(
                    "{} could be read by others; its mode is set to 0600",
                    path.display()
                );
                rustix::fs::chmod(&path, Mode::from_raw_mode(MODE))
            }
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        };
        match changed {
            Ok(()) => Ok(Self { path }),
            Err(error) => Err(StoreError::Read { path, source: error.into() }),
        }
    }

    /// All accounts; none if there is no file.
    ///
    /// # Errors
    /// When the file is broken or cannot be read.
    pub(super) fn read(&self) -> Result<Vec<Account>, StoreError> {
        let text = state_file::read(&self.path, ADMIN_FILE_MAX_BYTES)
            .map_err(|source| StoreError::Read { path: self.path.clone(), source })?;
        match text {
            None => Ok(Vec::new()),
            Some(text) => record::parse(&text)
                .map_err(|source| StoreError::Broken { path: self.path.clone(), source }),
        }
    }

    /// Replaces all accounts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, accounts: &[Account]) -> Result<(), StoreError> {
        state_file::write(&self.path, record::text(accounts).as_bytes(), MODE)
            .map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }
}

fn is_regular(mode: u32) -> bool {
    rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_broken_file_is_named_with_its_reason_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".admin");
        let text = br#"[{"username":"ada"}]"#;
        state_file::write(&path, text, 0o600).unwrap();
        let store = AccountStore::open(path.clone()).unwrap();
        let told = store.read().err().map(|error| ploinky_contract::chain(&error)).unwrap();
        assert!(told.starts_with(&format!("{} is broken;", path.display())), "{told}");
        assert!(told.contains("`[0]`: missing field `passwordHash`"), "{told}");
        assert_eq!(std::fs::read(&path).unwrap(), text);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(AccountStore::open(link).unwrap().read().is_err());
    }

    #[test]
    fn accounts_are_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".admin");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
        assert!(AccountStore::open(path.clone()).unwrap().read().is_ok_and(|all| all.is_empty()));
        state_file::write(&path, b"[]", 0o644).unwrap();
        let store = AccountStore::open(path.clone()).unwrap();
        assert_eq!(mode(), 0o600);
        store.write(&[]).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
