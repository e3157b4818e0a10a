//! Who lives: locks that the kernel releases with their holder.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::directories::DIRECTORY;
use crate::read_result::READ;

/// Name of the runner's lock among the locks; no task has it.
pub(crate) const RUNNER: &str = ".runner";
/// How long a lock is tried again: who probes it holds it for some microseconds.
pub(crate) const PROBES_END: Duration = Duration::from_secs(1);
/// Time between two tries.
const RETRY: Duration = Duration::from_millis(5);

/// The sign that one life of a server goes on, held until drop or death.
#[derive(Debug)]
pub struct InstanceLock {
    _file: OwnedFd,
}

impl InstanceLock {
    /// Holds the lock file `invocation` in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// When the name is not a plain word, the file cannot be made, or somebody else holds it.
    pub fn hold(directory: &Path, invocation: &str) -> io::Result<Self> {
        let file = lock_file(directory, invocation)?;
        if lock_within(&file, PROBES_END)? {
            Ok(Self { _file: file })
        } else {
            Err(Errno::WOULDBLOCK.into())
        }
    }

    /// The same for a name that nobody probes, without waiting; `None` if somebody else holds it.
    ///
    /// # Errors
    /// When the name is not a plain word, or the file cannot be made.
    pub fn hold_if_free(directory: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = lock_file(directory, name)?;
        Ok(try_lock(&file)?.then_some(Self { _file: file }))
    }
}

fn lock_file(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    check_name(name)?;
    let directory = open_directory(directory)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&directory, name, flags, Mode::from_raw_mode(0o640))?)
}

/// Whether some process holds the lock file `invocation` in `directory`. What cannot be told counts as alive.
pub fn instance_is_alive(directory: &Path, invocation: &str) -> bool {
    if check_name(invocation).is_err() {
        return false;
    }
    let opened = open_directory(directory)
        .and_then(|directory| Ok(openat(&directory, invocation, READ, Mode::empty())?));
    match opened {
        Ok(file) => is_held(&file).unwrap_or(true),
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether a runner serves the queue whose `locks` directory this is. What cannot be told counts as dead.
pub(crate) fn runner_is_alive_in(locks: &OwnedFd) -> bool {
    openat(locks, RUNNER, DIRECTORY | READ, Mode::empty())
        .is_ok_and(|runner| is_held(&runner).unwrap_or(false))
}

/// Whether a runner serves the queue at `tasks`.
pub fn runner_is_alive(tasks: &Path) -> bool {
    open_directory(&tasks.join("locks")).is_ok_and(|locks| runner_is_alive_in(&locks))
}

/// Takes the lock if nobody holds it.
pub(crate) fn try_lock(fd: &OwnedFd) -> io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Takes the lock, trying for `limit`.
pub(crate) fn lock_within(fd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    within(limit, &|| try_lock(fd))
}

/// Takes the lock together with others, trying for `limit`.
pub(crate) fn share_within(fd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    within(limit, &|| is_held(fd).map(|is_held| !is_held))
}

fn within(limit: Duration, try_lock: &dyn Fn() -> io::Result<bool>) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if try_lock()? {
            return Ok(true);
        }
        if end <= Instant::now() {
            return Ok(false);
        }
        let retry = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(RETRY.subsec_nanos()) };
        match rustix::event::poll(&mut [], Some(&retry)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Shares the lock, unless somebody holds it for himself.
fn is_held(fd: &OwnedFd) -> io::Result<bool> {
    match flock(fd, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, DIRECTORY | OFlags::PATH, Mode::empty())?)
}

fn check_name(name: &str) -> io::Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if plain && (1..=64).contains(&name.len()) { Ok(()) } else { Err(Errno::INVAL.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "../x", &"x".repeat(65)] {
            assert!(InstanceLock::hold(directory.path(), name).is_err(), "{name:?} was accepted");
            assert!(!instance_is_alive(directory.path(), name), "{name:?} is alive");
        }
    }

    #[test]
    fn an_instance_is_alive_as_long_as_it_holds_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!instance_is_alive(directory.path(), "a"));
        let lock = InstanceLock::hold(directory.path(), "a").unwrap();
        assert!(instance_is_alive(directory.path(), "a"));
        assert!(!instance_is_alive(directory.path(), "b"));
        assert!(InstanceLock::hold(directory.path(), "a").is_err());
        assert!(InstanceLock::hold_if_free(directory.path(), "a").unwrap().is_none());
        assert!(InstanceLock::hold_if_free(directory.path(), "b").unwrap().is_some());
        drop(lock);
        assert!(!instance_is_alive(directory.path(), "a"));
    }
}
