//! The secret of the workers: ids of idempotent tasks and the keys of callbacks are made from it.
//!
//! It is made once. Another one in its place would make two tasks of one: the client that repeats a request
//! with its `Idempotency-Key` would not meet the task it has.

use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::{TASK_KEY_DIGITS, is_task_key};
use rustix::fs::{Mode, OFlags};

use crate::accounts::Accounts;
use crate::{random, state_file};

/// Bytes of randomness.
const BYTES: usize = TASK_KEY_DIGITS / 2;
/// Bytes of the file: hexadecimal digits and a line feed.
const FILE_BYTES: usize = TASK_KEY_DIGITS + 1;
/// root writes, the workers read as their group, others nothing.
const MODE: u32 = 0o640;

/// Why there is no key that can be used. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskKeyError {
    /// It is there, and is no key.
    #[error(
        "{} {reason}; restore it from a backup, or remove it and restart the supervisor: then requests that are \
         repeated with an Idempotency-Key from before run again", .path.display()
    )]
    Broken { path: PathBuf, reason: String },
    /// It cannot be made.
    #[error("cannot make {}", .path.display())]
    Make { path: PathBuf, source: io::Error },
    /// Its owner or mode is wrong and cannot be set.
    #[error("cannot keep {} to the workers", .path.display())]
    Protect { path: PathBuf, source: io::Error },
}

/// Makes the key if there is none; gives the one that is there its owner and mode.
///
/// # Errors
/// When what is there is no key, or the host does not let it.
pub(crate) fn ensure(path: &Path, accounts: Accounts) -> Result<(), TaskKeyError> {
    let broken = |reason: String| TaskKeyError::Broken { path: path.to_owned(), reason };
    match state_file::read(path, FILE_BYTES) {
        Ok(Some(text)) if is_key(&text) => protect(path, accounts)
            .map_err(|source| TaskKeyError::Protect { path: path.to_owned(), source }),
        Ok(Some(_)) => Err(broken(format!("does not hold {TASK_KEY_DIGITS} hexadecimal digits"))),
        Ok(None) => make(path, accounts)
            .map_err(|source| TaskKeyError::Make { path: path.to_owned(), source }),
        Err(error) => Err(broken(error.to_string())),
    }
}

fn is_key(text: &[u8]) -> bool {
    is_task_key(text.strip_suffix(b"\n").unwrap_or(text))
}

fn make(path: &Path, accounts: Accounts) -> io::Result<()> {
    let key: [u8; BYTES] = random::bytes()?;
    let digits = key.iter().flat_map(|byte| [u32::from(byte >> 4), u32::from(byte & 15)]);
    let mut text: String = digits.filter_map(|digit| char::from_digit(digit, 16)).collect();
    text.push('\n');
    let owner = accounts.root_and_workers();
    state_file::write_for(path, text.as_bytes(), MODE, |file| accounts.give(file, owner))
}

fn protect(path: &Path, accounts: Accounts) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    let owner = accounts.effective(accounts.root_and_workers());
    if (found.st_uid, found.st_gid) != (owner.uid, owner.gid) {
        accounts.give(&file, owner)?;
    }
    if found.st_mode & 0o7777 != MODE {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(path: &Path, text: &[u8]) {
        state_file::write(path, text, 0o600).unwrap();
    }

    #[test]
    fn what_is_no_key_is_told_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.key");
        let short = [b'a'; 63];
        let wrong = [b'g'; 64];
        for text in [b"".as_slice(), b"\n", &short, &wrong, &[b'a'; 66], &[0; 999]] {
            put(&path, text);
            let error = ensure(&path, Accounts::kept()).unwrap_err();
            assert!(matches!(error, TaskKeyError::Broken { .. }), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(ensure(&path, Accounts::kept()).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_key_is_made_once_and_kept_to_the_workers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.key");
        ensure(&path, Accounts::kept()).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert!(is_key(&first) && first.len() == FILE_BYTES);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        ensure(&path, Accounts::kept()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        // By hand, without a line feed.
        put(&path, &[b'F'; 64]);
        ensure(&path, Accounts::kept()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [b'F'; 64]);
        let other = dir.path().join("other.key");
        ensure(&other, Accounts::kept()).unwrap();
        assert_ne!(std::fs::read(&other).unwrap(), first);
    }

    #[test]
    fn the_workers_read_it_as_their_group() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.key");
        ensure(&path, Accounts::of(991, 992)).unwrap();
        let found = std::os::unix::fs::MetadataExt::gid(&path.metadata().unwrap());
        assert_eq!(found, 992);
    }
}
