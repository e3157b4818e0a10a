//! The only code that makes a file visible: whole, and never in the place of another one.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use ploinky_contract::TaskId;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::disk::Disk;

/// Bytes of `/proc/self/fd/2147483647` and its end.
const FD_PATH_BYTES: usize = 32;

/// What became of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// It is there now.
    Made,
    /// Another record was there before; it stays and this one is gone.
    AlreadySo,
}

/// Makes `bytes` appear as `directory/id`.
///
/// # Errors
/// Nothing is visible then. `EDQUOT` and `ENOSPC` come out as they are.
pub(crate) fn publish(
    directory: &OwnedFd,
    id: TaskId,
    bytes: &[u8],
    mode: Mode,
) -> io::Result<Recorded> {
    Staged::write(directory, id, bytes, mode)?.link()
}

/// The same, and the file itself, open for writing; `None` if another one was there, or if the file system has
/// no nameless files.
///
/// # Errors
/// Nothing is visible then.
pub(crate) fn publish_open(
    directory: &OwnedFd,
    id: TaskId,
    bytes: &[u8],
    mode: Mode,
) -> io::Result<(Recorded, Option<OwnedFd>)> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(directory, c".", flags, mode) {
        Ok(file) => {
            write_all(&file, bytes)?;
            let done = recorded(link(&file, directory, id)?)?;
            Ok((done, (done == Recorded::Made).then_some(file)))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            publish(directory, id, bytes, mode).map(|done| (done, None))
        }
        Err(e) => Err(e.into()),
    }
}

/// The same with bytes that survive a power cut. The name does when `directory` was synced afterwards.
///
/// # Errors
/// Nothing is visible then.
pub(crate) fn publish_synced(
    disk: &Disk,
    directory: &OwnedFd,
    id: TaskId,
    bytes: &[u8],
    mode: Mode,
) -> io::Result<Recorded> {
    let staged = Staged::write(directory, id, bytes, mode)?;
    staged.sync(disk)?;
    staged.link()
}

/// A whole file that nobody sees yet. Dropped without [`Staged::link`] it is gone.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    directory: &'a OwnedFd,
    id: TaskId,
    file: OwnedFd,
    /// It has a name that readers ignore, because the file system has no nameless files.
    name: Option<String>,
}

impl<'a> Staged<'a> {
    /// Writes the file that [`Staged::link`] makes visible as `directory/id`.
    pub(crate) fn write(
        directory: &'a OwnedFd,
        id: TaskId,
        bytes: &[u8],
        mode: Mode,
    ) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let staged = match openat(directory, c".", flags, mode) {
            Ok(file) => Self { directory, id, file, name: None },
            // The file system has no nameless files, or the kernel took the flag for O_DIRECTORY.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Self::create(directory, id, mode)?,
            Err(e) => return Err(e.into()),
        };
        write_all(&staged.file, bytes)?;
        Ok(staged)
    }

    fn create(directory: &'a OwnedFd, id: TaskId, mode: Mode) -> io::Result<Self> {
        let name = format!(".tmp-{id}");
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, &name, flags, mode)?;
        Ok(Self { directory, id, file, name: Some(name) })
    }

    /// The task.
    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// Makes the bytes durable.
    pub(crate) fn sync(&self, disk: &Disk) -> io::Result<()> {
        disk.sync_file(&self.file)
    }

    /// Lets the disk begin to write, so that a later [`Staged::sync`] waits less. Only a hint.
    pub(crate) fn begin_to_sync(&self) {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed).ok();
    }

    /// Makes the file visible, if nothing is at its name.
    pub(crate) fn link(mut self) -> io::Result<Recorded> {
        let directory = self.directory;
        let Some(name) = self.name.take() else {
            return recorded(link(&self.file, directory, self.id)?);
        };
        // Not by a second link: a reader between link and unlink would see two links and refuse the file.
        let moved = recorded(renameat_with(
            directory,
            &name,
            directory,
            self.id.as_str(),
            RenameFlags::NOREPLACE,
        ));
        if !matches!(moved, Ok(Recorded::Made)) {
            self.name = Some(name);
        }
        moved
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Best effort: the janitor removes what stays.
            unlinkat(self.directory, name, AtFlags::empty()).ok();
        }
    }
}

/// Puts `bytes` at `directory/name` in the place of what is there, whole or not at all. For notes of which
/// only the newest counts.
///
/// # Errors
/// The old note stays then.
pub(crate) fn replace(
    directory: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: Mode,
    durable: Option<&Disk>,
) -> io::Result<()> {
    let staged = format!(".tmp-{name}");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(directory, &staged, flags, mode);
    let file = match open() {
        Err(Errno::EXIST) => {
            // Left by a process that died.
            unlinkat(directory, &staged, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    let written = write_all(&file, bytes)
        .and_then(|()| durable.map_or(Ok(()), |disk| disk.sync_file(&file)))
        .and_then(|()| Ok(renameat(directory, &staged, directory, name)?));
    if written.is_err() {
        unlinkat(directory, &staged, AtFlags::empty()).ok();
    }
    written
}

/// Gives a nameless file its name. Kernels since 6.10 let the process that opened a file link it by its
/// descriptor; older ones want a capability for that and answer `ENOENT`, and the way through /proc is open
/// to all, but costs twice as much.
fn link(file: &OwnedFd, directory: &OwnedFd, id: TaskId) -> io::Result<rustix::io::Result<()>> {
    static BY_DESCRIPTOR: AtomicBool = AtomicBool::new(true);
    if BY_DESCRIPTOR.load(Ordering::Relaxed) {
        let linked = linkat(file, c"", directory, id.as_str(), AtFlags::EMPTY_PATH);
        if linked != Err(Errno::NOENT) {
            return Ok(linked);
        }
    }
    let mut path = [0; FD_PATH_BYTES];
    let path = fd_path(file, &mut path)?;
    let linked = linkat(CWD, path, directory, id.as_str(), AtFlags::SYMLINK_FOLLOW);
    if linked.is_ok() {
        // It was the way that did not exist, not the directory.
        BY_DESCRIPTOR.store(false, Ordering::Relaxed);
    }
    Ok(linked)
}

fn recorded(done: rustix::io::Result<()>) -> io::Result<Recorded> {
    match done {
        Ok(()) => Ok(Recorded::Made),
        Err(Errno::EXIST) => Ok(Recorded::AlreadySo),
        Err(e) => Err(e.into()),
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// `/proc/self/fd/N` without the heap.
pub(crate) fn fd_path<'a>(
    fd: &OwnedFd,
    buffer: &'a mut [u8; FD_PATH_BYTES],
) -> io::Result<&'a std::ffi::CStr> {
    let mut rest = buffer.as_mut_slice();
    write!(rest, "/proc/self/fd/{}\0", fd.as_raw_fd())?;
    std::ffi::CStr::from_bytes_until_nul(buffer).map_err(io::Error::other)
}

/// A buffer for [`fd_path`].
pub(crate) const fn fd_path_buffer() -> [u8; FD_PATH_BYTES] {
    [0; FD_PATH_BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directories::DIRECTORY;
    use crate::scratch::id;

    type Publish = fn(&OwnedFd, TaskId, &[u8], Mode) -> io::Result<Recorded>;

    fn publish_by_rename(
        directory: &OwnedFd,
        id: TaskId,
        bytes: &[u8],
        mode: Mode,
    ) -> io::Result<Recorded> {
        let staged = Staged::create(directory, id, mode)?;
        write_all(&staged.file, bytes)?;
        staged.link()
    }

    #[test]
    fn both_ways_never_replace_a_file_and_leave_nothing_else() {
        for way in [publish as Publish, publish_by_rename] {
            let directory = tempfile::tempdir().unwrap();
            let fd = openat(CWD, directory.path(), DIRECTORY, Mode::empty()).unwrap();
            let mode = Mode::from_raw_mode(0o644);
            assert_eq!(way(&fd, id(1), b"first", mode).unwrap(), Recorded::Made);
            assert_eq!(way(&fd, id(1), b"second", mode).unwrap(), Recorded::AlreadySo);
            let names: Vec<_> = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(names, [id(1).as_str()]);
            let file = directory.path().join(id(1).as_str());
            assert_eq!(std::fs::read(file).unwrap(), b"first");
        }
    }
}
