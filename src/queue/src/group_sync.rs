//! One `fsync` of a directory for all threads that asked before it began.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::disk::{Disk, reopen};

/// Shares the syncs of one directory between threads.
#[derive(Debug, Default)]
pub(crate) struct GroupSync {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those who ask now are served by this one, which has not begun.
    next: Arc<Batch>,
    is_running: bool,
    /// A sync failed: from then on each one uses a descriptor of its own.
    has_failed: bool,
}

/// Those that one sync serves.
#[derive(Debug, Default)]
struct Batch {
    /// The error as its number, so that each thread gets one.
    result: OnceLock<Result<(), Failure>>,
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    System(i32),
    Other(io::ErrorKind),
}

impl GroupSync {
    /// Returns when every name that was made in `directory` before this call is durable.
    ///
    /// # Errors
    /// Those of the sync that served this call. Nothing is known of the names then.
    pub(crate) fn sync(&self, disk: &Disk, directory: &OwnedFd) -> io::Result<()> {
        self.share(&mut |has_failed| {
            if has_failed {
                disk.sync_directory(&reopen(directory)?)
            } else {
                disk.sync_directory(directory)
            }
        })
    }

    fn share(&self, sync: &mut dyn FnMut(bool) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        let mine = Arc::clone(&state.next);
        loop {
            if let Some(result) = mine.result.get() {
                return result.map_err(Failure::into);
            }
            if !state.is_running {
                break;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // The first of its batch to come here: the batch is still the next one.
        state.is_running = true;
        state.next = Arc::default();
        let has_failed = state.has_failed;
        drop(state);
        let result = sync(has_failed).map_err(|error| Failure::from(&error));
        let mut state = self.lock();
        state.is_running = false;
        state.has_failed |= result.is_err();
        // It is set once: only the thread that took the batch out of the state comes here.
        mine.result.set(result).ok();
        self.ended.notify_all();
        result.map_err(Failure::into)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::Other(error.kind()), Self::System)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::System(number) => Self::from_raw_os_error(number),
            Failure::Other(kind) => kind.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn those_who_ask_during_a_sync_share_the_next_one() {
        const THREADS: usize = 8;
        let group = GroupSync::default();
        let (syncs, asking) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                group.share(&mut |_| {
                    syncs.fetch_add(1, Ordering::SeqCst);
                    begun.wait();
                    // Until all others have asked, and one of them waits for the lock or the end at least.
                    while Arc::strong_count(&group.lock().next) <= THREADS {
                        std::thread::yield_now();
                    }
                    Ok(())
                })
            });
            begun.wait();
            for _ in 0..THREADS {
                scope.spawn(|| {
                    asking.fetch_add(1, Ordering::SeqCst);
                    group
                        .share(&mut |_| {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(syncs.into_inner(), 2);
        assert_eq!(asking.into_inner(), THREADS);
    }

    #[test]
    fn an_error_is_told_to_all_of_its_batch_and_to_nobody_else() {
        let group = GroupSync::default();
        let begun = Barrier::new(2);
        let failed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let first = group.share(&mut |_| {
                    begun.wait();
                    while Arc::strong_count(&group.lock().next) <= 4 {
                        std::thread::yield_now();
                    }
                    Ok(())
                });
                first.unwrap();
            });
            begun.wait();
            for _ in 0..4 {
                scope.spawn(|| {
                    let error = group
                        .share(&mut |_| Err(io::Error::from_raw_os_error(5)))
                        .expect_err("the one sync of this batch fails");
                    assert_eq!(error.raw_os_error(), Some(5));
                    failed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(failed.into_inner(), 4);
        let mut told = None;
        group
            .share(&mut |has_failed| {
                told = Some(has_failed);
                Ok(())
            })
            .unwrap();
        assert_eq!(told, Some(true));
    }
}
