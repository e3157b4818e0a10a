//! One password is hashed at a time, and few wait for it; everybody else is told to come back (threat model I6).
//!
//! The seats are locks on files, so that they hold between processes and end with them.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Who hashes and who waits, together.
pub(crate) const SEATS: usize = 9;

/// The files.
#[derive(Debug)]
pub(crate) struct Seats {
    root: PathBuf,
}

/// The right to hash passwords; nobody else does while somebody has it.
#[derive(Debug)]
pub(crate) struct Seat {
    _seat: File,
    _hasher: File,
}

impl Seats {
    /// Seats in the directory `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Waits behind at most [`SEATS`] others, each of whom takes a tenth of a second; `None` if all seats are taken.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn take(&self) -> io::Result<Option<Seat>> {
        for number in 0..SEATS {
            let seat = self.file(&format!(".seat-{number}"))?;
            match seat.try_lock() {
                Ok(()) => {
                    let hasher = self.file(".hasher")?;
                    hasher.lock()?;
                    return Ok(Some(Seat { _seat: seat, _hasher: hasher }));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn file(&self, name: &str) -> io::Result<File> {
        File::create(self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn i6_one_hashes_eight_wait_and_the_next_one_is_sent_away() {
        let root = tempfile::tempdir().unwrap();
        let seats = Seats::new(root.path());
        let first = seats.take().unwrap().unwrap();
        let (told, others) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 1..SEATS {
                let told = told.clone();
                let seats = &seats;
                scope.spawn(move || told.send(seats.take().unwrap().is_some()).unwrap());
            }
            // All seats are taken as soon as none of their files can be locked.
            let free = |number: usize| {
                let file = File::create(root.path().join(format!(".seat-{number}"))).unwrap();
                file.try_lock().is_ok()
            };
            while (0..SEATS).any(free) {
                std::thread::yield_now();
            }
            assert!(seats.take().unwrap().is_none());
            assert!(others.recv_timeout(Duration::from_millis(20)).is_err(), "two hash at once");
            drop(first);
            for _ in 1..SEATS {
                assert!(others.recv_timeout(Duration::from_secs(60)).unwrap());
            }
        });
        assert!(seats.take().unwrap().is_some());
    }
}
