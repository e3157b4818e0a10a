//! Who owns what: the ids of the user `ploinky`, and giving files to their owners.
//!
//! The lines of `passwd` and `group` are read directly, as a static executable has no name service switch.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};

use crate::state_file;

/// The user of the workers, and its group.
const NAME: &str = "ploinky";
/// Bytes of `passwd` and of `group`: far more than any host has.
const ACCOUNTS_MAX_BYTES: usize = 16 << 20;

/// A user and a group of the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Who runs this process.
    pub(crate) fn myself() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw() }
    }
}

/// The owners that the state has, or the wish to leave every file to who runs this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accounts {
    /// The user `ploinky`; `None` where owners cannot be given, in tests without root.
    worker: Option<Owner>,
}

/// Why the user of the workers is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// There is no such line.
    #[error("there is no `{NAME}` in {}; `systemd-sysusers` makes it", .path.display())]
    Missing { path: PathBuf },
}

impl Accounts {
    /// Looks the user and the group `ploinky` up below `etc`.
    ///
    /// # Errors
    /// When one of them is missing.
    pub(crate) fn read(etc: &Path) -> Result<Self, AccountError> {
        let uid = id_of(&etc.join("passwd"))?;
        let gid = id_of(&etc.join("group"))?;
        Ok(Self { worker: Some(Owner { uid, gid }) })
    }

    /// Files stay with who makes them.
    #[cfg(test)]
    pub(crate) fn kept() -> Self {
        Self { worker: None }
    }

    /// Real owners, for tests as root.
    #[cfg(test)]
    pub(crate) fn of(uid: u32, gid: u32) -> Self {
        Self { worker: Some(Owner { uid, gid }) }
    }

    /// root, with the group of the workers.
    pub(crate) fn root_and_workers(self) -> Owner {
        Owner { uid: 0, gid: self.worker.map_or(0, |worker| worker.gid) }
    }

    /// The workers' user, with the group of an agent's range.
    pub(crate) fn workers_and_agent(self, uid_first: u32) -> Owner {
        Owner { uid: self.worker.map_or(0, |worker| worker.uid), gid: uid_first }
    }

    /// Whether this is the uid of the workers; of root, too, and in tests of whoever runs this process.
    pub(crate) fn may_connect(self, uid: u32) -> bool {
        uid == 0 || uid == self.worker.map_or(Owner::myself().uid, |worker| worker.uid)
    }

    /// The owner that a file has after it was given to `owner`.
    pub(crate) fn effective(self, owner: Owner) -> Owner {
        if self.worker.is_some() { owner } else { Owner::myself() }
    }

    /// Gives an open file or directory to `owner`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn give(self, file: impl AsFd, owner: Owner) -> io::Result<()> {
        if self.worker.is_none() {
            return Ok(());
        }
        let Owner { uid, gid } = owner;
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(())
    }

    /// Gives an entry of an open directory to `owner`; a symbolic link itself, not what it names.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn give_entry(
        self,
        directory: impl AsFd,
        name: &std::ffi::CStr,
        owner: Owner,
    ) -> io::Result<()> {
        if self.worker.is_none() {
            return Ok(());
        }
        let Owner { uid, gid } = owner;
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(
            directory,
            name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            flags,
        )?;
        Ok(())
    }
}

/// The third field of the line that begins with the name.
fn id_of(path: &Path) -> Result<u32, AccountError> {
    // `passwd` may be a link into an image.
    let read = || state_file::read_bounded(&std::fs::File::open(path)?, ACCOUNTS_MAX_BYTES);
    let bytes = read().map_err(|source| AccountError::Read { path: path.to_owned(), source })?;
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&NAME))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| AccountError::Missing { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_come_from_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Accounts::read(dir.path()).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read "), "{missing}");
        let write = |name: &str, text: &str| {
            state_file::write(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
        };
        write("passwd", "root:x:0:0::/root:/bin/sh\nploinky2:x:5:5::/:/bin/false\n");
        write("group", "root:x:0:\nploinky:x:991:\n");
        let missing = Accounts::read(dir.path()).unwrap_err();
        assert!(missing.to_string().starts_with("there is no `ploinky` in "), "{missing}");
        write("passwd", "root:x:0:0::/root:/bin/sh\nploinky:x:990:991::/:/bin/false\n");
        let accounts = Accounts::read(dir.path()).unwrap();
        assert_eq!(accounts.worker, Some(Owner { uid: 990, gid: 991 }));
        assert_eq!(accounts.root_and_workers(), Owner { uid: 0, gid: 991 });
        assert_eq!(accounts.workers_and_agent(7), Owner { uid: 990, gid: 7 });
    }
}
