//! Opens a file below a directory, component by component, following no link.
//!
//! Every step is `openat` with `O_NOFOLLOW` on a single checked name, so nothing outside of the directory can
//! be reached, whatever is done to the tree meanwhile. (`openat2` is not to be had under
//! `RestrictSUIDSGID=`.)

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Node {
    /// A regular file.
    File(File, Stat),
    /// A directory.
    Directory(OwnedFd),
}

/// Opens what `names` lead to below `root`. Errors that only say that there is nothing public are `None`.
pub(super) fn open(root: &Path, names: &[&str]) -> Result<Option<Node>, Errno> {
    match walk(root, names) {
        Ok(node) => Ok(node),
        Err(errno) if is_absence(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens the file `name` of an open directory.
pub(super) fn open_in(directory: &OwnedFd, name: &str) -> Result<Option<Node>, Errno> {
    match open_node(directory, name) {
        Ok(node) => Ok(node),
        Err(errno) if is_absence(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn walk(root: &Path, names: &[&str]) -> Result<Option<Node>, Errno> {
    let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = openat(CWD, root, steps, Mode::empty())?;
    let Some((last, parents)) = names.split_last() else {
        return Ok(Some(Node::Directory(directory)));
    };
    for name in parents {
        directory = openat(&directory, *name, steps, Mode::empty())?;
    }
    open_node(&directory, last)
}

fn open_node(directory: impl AsFd, name: &str) -> Result<Option<Node>, Errno> {
    // NONBLOCK: a FIFO opens at once, and is refused by its type.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(directory, name, flags, Mode::empty())?;
    let stat = fstat(&fd)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::RegularFile {
        Ok(Some(Node::File(File::from(fd), stat)))
    } else if kind == FileType::Directory {
        Ok(Some(Node::Directory(fd)))
    } else {
        Ok(None)
    }
}

fn is_absence(errno: Errno) -> bool {
    // LOOP: a link. NXIO: a socket, or a device without driver. ACCESS: not meant for us.
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NXIO
            | Errno::ACCESS
            | Errno::NAMETOOLONG
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn content(root: &Path, names: &[&str]) -> Option<String> {
        match open(root, names).unwrap()? {
            Node::File(file, _stat) => Some(std::io::read_to_string(file).unwrap()),
            Node::Directory(_) => Some("directory".to_owned()),
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "test support")]
    fn links_pipes_and_sockets_are_not_there() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::fs::write(root.path().join("d/f"), "content").unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("d/link")).unwrap();
        symlink("f", root.path().join("d/inner")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
        rustix::fs::mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for names in [
            &["out"][..],
            &["out", "secret"],
            &["d", "link"],
            &["d", "inner"],
            &["loop"],
            &["socket"],
            &["pipe"],
            &["pipe", "x"],
            &["absent"],
            &["d", "f", "x"],
        ] {
            assert_eq!(content(root.path(), names), None, "{names:?}");
        }
        assert_eq!(content(root.path(), &["d", "f"]).as_deref(), Some("content"));
        assert_eq!(content(root.path(), &["d"]).as_deref(), Some("directory"));
        assert_eq!(content(root.path(), &[]).as_deref(), Some("directory"));
        assert_eq!(content(&root.path().join("out"), &["secret"]), None);
    }
}
