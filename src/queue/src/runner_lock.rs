//! Who serves a queue, and why the one before ended.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fstat, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::directories::{DIRECTORY, unless_absent};
use crate::lock::{PROBES_END, RUNNER, lock_within};

/// The runner's lock: the server has to open it.
const RUNNER_MODE: Mode = Mode::from_raw_mode(0o755);
/// Where a runner leaves why it ended. The target of a link: that appears whole, and reading it waits for
/// nobody, whatever a handler may have put there.
const LAST_WORDS: &str = "last-words";

/// The sign that the queue is served, held until drop or death.
#[derive(Debug)]
pub struct RunnerLock {
    directory: OwnedFd,
}

impl RunnerLock {
    /// Takes the lock in `locks`; `None` if somebody has it.
    pub(crate) fn take(locks: &OwnedFd) -> io::Result<Option<Self>> {
        match mkdirat(locks, RUNNER, RUNNER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let directory = openat(locks, RUNNER, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        Ok(lock_within(&directory, PROBES_END)?.then_some(Self { directory }))
    }

    /// Whether the queue at `queue` is still the one whose runner this is: somebody may have removed it.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn is_in_place(&self, queue: &Path) -> io::Result<bool> {
        let held = fstat(&self.directory)?;
        match statat(CWD, queue.join("locks").join(RUNNER), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Leaves words for the next runner. It is not durable: a power cut takes them.
    ///
    /// # Errors
    /// When they cannot be written, are empty, or are longer than a path may be.
    pub fn leave(&self, words: &str) -> io::Result<()> {
        unless_absent(unlinkat(&self.directory, LAST_WORDS, AtFlags::empty()))?;
        Ok(symlinkat(words, &self.directory, LAST_WORDS)?)
    }

    /// The words that the runner before left, if it left some; they are gone then.
    pub fn take_left(&self) -> Option<String> {
        let words = readlinkat(&self.directory, LAST_WORDS, Vec::new()).ok()?;
        unlinkat(&self.directory, LAST_WORDS, AtFlags::empty()).ok()?;
        words.into_string().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_of(queue: &Path) -> RunnerLock {
        std::fs::create_dir_all(queue.join("locks")).unwrap();
        let locks = openat(CWD, queue.join("locks"), DIRECTORY, Mode::empty()).unwrap();
        RunnerLock::take(&locks).unwrap().unwrap()
    }

    #[test]
    fn a_queue_that_was_removed_or_replaced_is_not_the_one_that_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let queue = directory.path().join("queue");
        let lock = lock_of(&queue);
        assert!(lock.is_in_place(&queue).unwrap());
        std::fs::remove_dir_all(&queue).unwrap();
        assert!(!lock.is_in_place(&queue).unwrap());
        let _other = lock_of(&queue);
        assert!(!lock.is_in_place(&queue).unwrap());
        std::fs::remove_dir_all(&queue).unwrap();
        std::fs::File::create(&queue).unwrap();
        assert!(!lock.is_in_place(&queue).unwrap());
    }

    #[test]
    fn words_are_taken_once_and_newer_ones_replace_older_ones() {
        let directory = tempfile::tempdir().unwrap();
        let lock = lock_of(directory.path());
        assert_eq!(lock.take_left(), None);
        assert!(lock.leave("").is_err());
        lock.leave("one").unwrap();
        lock.leave("two\n/../é").unwrap();
        assert_eq!(lock.take_left().as_deref(), Some("two\n/../é"));
        assert_eq!(lock.take_left(), None);
    }
}
