//! Removes a directory that an agent could write: nothing outside is reached, whatever it made.
//!
//! A tree of an agent may be deeper than there are file descriptors or stack. Directories at the deepest level
//! that is entered are moved up to the top and removed from there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Levels that are entered; each holds two file descriptors.
const DEPTH: usize = 64;

/// Removes the directory `name` of `parent` with everything in it; nothing happens if there is none.
///
/// # Errors
/// When an entry cannot be removed; what could be is gone.
pub(crate) fn remove(parent: impl std::os::fd::AsFd, name: &str) -> io::Result<()> {
    let top = match open(parent.as_fd(), name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    // Each pass empties what it enters and moves up what is deeper; it ends when nothing had to be moved.
    loop {
        let before = moved;
        empty(top.as_fd(), top.as_fd(), DEPTH, &mut moved)?;
        if moved == before {
            break;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn empty(
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    levels: usize,
    moved: &mut u64,
) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(levels) = levels.checked_sub(1) {
            let inner = open(directory, name)?;
            empty(top, inner.as_fd(), levels, moved)?;
            match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            lift(top, directory, name, moved)?;
        }
    }
    Ok(())
}

/// Moves a directory to the top under a name that is free.
fn lift(
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &CStr,
    moved: &mut u64,
) -> io::Result<()> {
    loop {
        *moved += 1;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let target = format!(".removing-{moved}");
        match rustix::fs::renameat_with(directory, name, top, target, flags) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(directory: BorrowedFd<'_>, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir_all(dir.path().join("tree/a")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        File::create(outside.join("kept")).unwrap();
        std::os::unix::fs::symlink(&outside, dir.path().join("tree/a/link")).unwrap();
        let parent = File::open(dir.path()).unwrap();
        remove(&parent, "tree").unwrap();
        remove(&parent, "tree").unwrap();
        assert!(!dir.path().join("tree").exists());
        assert!(outside.join("kept").exists());
        std::os::unix::fs::symlink(&outside, dir.path().join("link")).unwrap();
        assert!(remove(&parent, "link").is_err());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_all_file_descriptors_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        let parent = File::open(dir.path()).unwrap();
        let mut at = open(parent.as_fd(), "tree").unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, ".removing-1", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "b", Mode::RWXU).unwrap();
            at = open(at.as_fd(), ".removing-1").unwrap();
        }
        drop(at);
        remove(&parent, "tree").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
