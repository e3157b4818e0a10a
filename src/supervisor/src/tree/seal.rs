//! A received tree gets its owner and its fingerprint, and is made durable.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::{TreeError, shown};
use crate::accounts::{Accounts, Owner};

/// Hexadecimal digits of a fingerprint: enough to tell releases apart, short enough for a table.
const FINGERPRINT_DIGITS: usize = 16;

/// Gives everything below `top`, and `top` itself, to `owner`, and waits until it is on disk.
///
/// The fingerprint is made of names, modes, targets and contents, so that the same code has the same one
/// wherever it came from.
///
/// # Errors
/// When an entry cannot be read or given away.
pub(crate) fn seal(
    top: BorrowedFd<'_>,
    accounts: Accounts,
    owner: Owner,
) -> Result<String, TreeError> {
    let mut hash = Sha256::new();
    walk(top, "", accounts, owner, &mut hash)?;
    let whole = |source: io::Error| TreeError::Io { path: ".".to_owned(), source };
    accounts.give(top, owner).map_err(whole)?;
    rustix::fs::syncfs(top).map_err(|error| whole(error.into()))?;
    let digits = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits.take(FINGERPRINT_DIGITS).filter_map(|d| char::from_digit(d.into(), 16)).collect())
}

/// The tree was made by [`super::TreeWriter`], so its depth is bounded.
fn walk(
    directory: BorrowedFd<'_>,
    prefix: &str,
    accounts: Accounts,
    owner: Owner,
    hash: &mut Sha256,
) -> Result<(), TreeError> {
    let failed = |name: &std::ffi::CStr, source: io::Error| TreeError::Io {
        path: shown(format!("{prefix}{}", name.to_string_lossy()).as_bytes()),
        source,
    };
    let mut names = Vec::new();
    let here = |error: rustix::io::Errno| failed(c"", error.into());
    for entry in Dir::read_from(directory).map_err(here)? {
        let name = entry.map_err(here)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    for name in names {
        let name = name.as_c_str();
        let failed = |error: rustix::io::Errno| failed(name, error.into());
        let found =
            rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let path = format!("{prefix}{}", name.to_string_lossy());
        field(hash, path.as_bytes());
        hash.update((found.st_mode & 0o170_777).to_le_bytes());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let inner =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed)?;
                walk(inner.as_fd(), &format!("{path}/"), accounts, owner, hash)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(failed)?;
                field(hash, target.to_bytes());
            }
            FileType::RegularFile => {
                let fd =
                    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed)?;
                content(hash, &mut File::from(fd))
                    .map_err(|source| TreeError::Io { path: shown(path.as_bytes()), source })?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
        accounts
            .give_entry(directory, name, owner)
            .map_err(|source| TreeError::Io { path: shown(path.as_bytes()), source })?;
    }
    Ok(())
}

/// A length before each field keeps two fields from being read as others.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(bytes);
}

fn content(hash: &mut Sha256, file: &mut File) -> io::Result<()> {
    hash.update(file.metadata()?.len().to_le_bytes());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        match buffer.get(..count) {
            Some([]) | None => return Ok(()),
            Some(bytes) => hash.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["a", "b", "d/c"] {
            File::create(dir.path().join(name)).unwrap().write_all(name.as_bytes()).unwrap();
        }
        std::os::unix::fs::symlink("d/c", dir.path().join("l")).unwrap();
        dir
    }

    fn fingerprint(dir: &Path) -> String {
        let owner = Owner { uid: 0, gid: 0 };
        seal(File::open(dir).unwrap().as_fd(), Accounts::kept(), owner).unwrap()
    }

    #[test]
    fn the_fingerprint_tells_every_difference_and_no_other() {
        let first = fingerprint(tree().path());
        assert_eq!(first.len(), 16);
        assert_eq!(fingerprint(tree().path()), first);
        let edits: [fn(&Path); 6] = [
            |dir| File::create(dir.join("a")).unwrap().write_all(b"A").unwrap(),
            |dir| drop(File::create(dir.join("e")).unwrap()),
            |dir| std::fs::remove_file(dir.join("b")).unwrap(),
            |dir| {
                std::fs::set_permissions(dir.join("a"), std::fs::Permissions::from_mode(0o755))
                    .unwrap();
            },
            |dir| {
                std::fs::remove_file(dir.join("l")).unwrap();
                std::os::unix::fs::symlink("d", dir.join("l")).unwrap();
            },
            |dir| std::fs::create_dir(dir.join("d/e")).unwrap(),
        ];
        let mut seen = std::collections::BTreeSet::from([first]);
        for (index, edit) in edits.into_iter().enumerate() {
            let dir = tree();
            edit(dir.path());
            assert!(seen.insert(fingerprint(dir.path())), "edit {index} is not seen");
        }
    }

    #[test]
    fn everything_gets_the_owner_and_links_are_not_followed() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped everything_gets_the_owner_and_links_are_not_followed: needs root");
            return;
        }
        let dir = tree();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let owner = Owner { uid: 1 << 30, gid: 1 << 30 };
        seal(File::open(dir.path()).unwrap().as_fd(), Accounts::of(1, 1), owner).unwrap();
        for name in [".", "a", "b", "d", "d/c", "l", "out"] {
            let found = dir.path().join(name).symlink_metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (1 << 30, 1 << 30), "{name}");
        }
        assert_eq!(outside.path().metadata().unwrap().uid(), 0);
    }
}
