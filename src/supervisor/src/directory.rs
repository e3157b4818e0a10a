//! Directories with an owner and a mode: made, or repaired if they are there with others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::accounts::{Accounts, Owner};

/// Flags with which a directory is opened: itself, and nothing that it names.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory that is no link.
///
/// # Errors
/// When there is none, or the kernel refuses.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FLAGS, Mode::empty())?)
}

/// Opens the directory `name` of `parent`, if it is no link.
///
/// # Errors
/// When there is none, or the kernel refuses.
pub(crate) fn open_in(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, FLAGS, Mode::empty())?)
}

/// The directory `name` of `parent`, with this mode and owner whether it was there or not.
///
/// # Errors
/// When something else has the name, or the kernel refuses.
pub(crate) fn make(
    parent: impl AsFd,
    name: &str,
    mode: u32,
    owner: Owner,
    accounts: Accounts,
) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = open_in(parent, name)?;
    adjust(&directory, mode, owner, accounts)?;
    Ok(directory)
}

/// Sets mode and owner. The setgid bit can be set only while the group is the own one, as `CAP_FSETID` is
/// not at hand; giving a directory away keeps its bits.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn adjust(
    directory: &OwnedFd,
    mode: u32,
    owner: Owner,
    accounts: Accounts,
) -> io::Result<()> {
    let found = rustix::fs::fstat(directory)?;
    if found.st_mode & 0o7777 == mode && (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    accounts.give(directory, Owner::myself())?;
    rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))?;
    accounts.give(directory, owner)
}
