//! Small files of the state: read with a bound, written whole or not at all.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Reads a regular file; `None` if there is none.
///
/// # Errors
/// When it is no regular file (a symbolic link is none), has more than `limit` bytes, or cannot be read.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => read_bounded(&File::from(fd), limit).map(Some),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads an open regular file.
///
/// # Errors
/// When it is no regular file, has more than `limit` bytes, or cannot be read.
pub(crate) fn read_bounded(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if limit < bytes.len() {
        let text = format!("has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Replaces the file at `path` by one with these bytes and this mode, owned by this process.
///
/// A reader, and the next boot, sees the old content or the new one. The temporary file lies in the same
/// directory as `.NAME.tmp`; one that a crash left behind is replaced.
///
/// # Errors
/// When a step fails; then the old content is still there, unless it was the last one, the fsync of the
/// directory, that failed.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_for(path, bytes, mode, |_file| Ok(()))
}

/// The same, for a file that `give` gives to another owner before it has content.
///
/// # Errors
/// As of [`write()`].
pub(crate) fn write_for(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    give: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not the path of a file"));
    };
    let directory = File::open(parent)?;
    let staged = staged_name(name);
    remove(&directory, &staged)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file =
        File::from(rustix::fs::openat(&directory, &staged, flags, Mode::RUSR | Mode::WUSR)?);
    // A setgid directory would give the file its group.
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    let given = give(&file);
    let written = given.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What failed is the write; the leftover is removed by the next one at the latest.
        drop(remove(&directory, &staged));
        return Err(error);
    }
    rustix::fs::renameat(&directory, &staged, &directory, name)?;
    directory.sync_all()
}

/// Removes the file at `path` if it is there, durably.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn delete(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) => match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        },
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a crash in the middle of [`write()`] left beside `path`.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn sweep(path: &Path) -> io::Result<()> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => delete(&parent.join(staged_name(name))),
        _ => Ok(()),
    }
}

fn staged_name(name: &std::ffi::OsStr) -> std::ffi::OsString {
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    staged.push(".tmp");
    staged
}

fn remove(directory: &File, name: &std::ffi::OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(read(&path, 3).unwrap(), None);
        write(&path, b"abc", 0o600).unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"abc");
        assert_eq!(read(&path, 2).unwrap_err().to_string(), "has more than 2 bytes");
        assert_eq!(read(dir.path(), 3).unwrap_err().to_string(), "is not a regular file");
        symlink(&path, dir.path().join("link")).unwrap();
        assert!(read(&dir.path().join("link"), 3).is_err());
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), Mode::RWXU).unwrap();
        assert!(read(&dir.path().join("fifo"), 3).is_err());
    }

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"first", 0o644).unwrap();
        // What a crash left behind, even a link that leads elsewhere, is not written through.
        symlink(&path, dir.path().join(".a.tmp")).unwrap();
        write(&path, b"2nd", 0o640).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"2nd");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        delete(&path).unwrap();
        delete(&path).unwrap();
        symlink(&path, dir.path().join(".a.tmp")).unwrap();
        sweep(&path).unwrap();
        sweep(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
