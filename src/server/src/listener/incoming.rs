//! New connections, as many as allowed. No error ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::sockets::{Listener, Sockets};

/// First pause after an error such as too many open files; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Takes connections from the sockets.
pub(super) struct Incoming<L> {
    sockets: Sockets<L>,
    permits: Arc<Semaphore>,
    pause: Duration,
    resume: Option<Instant>,
}

impl<L: Listener> Incoming<L> {
    /// Takes connections from `sockets`, as many as `limit` at once.
    pub(super) fn new(sockets: Sockets<L>, limit: usize) -> Self {
        let permits = Arc::new(Semaphore::new(limit));
        Self { sockets, permits, pause: FIRST_PAUSE, resume: None }
    }

    /// The next connection, and the right to have it open. Beyond the cap they wait in the backlog of the
    /// socket. May be dropped at any time; no connection is lost.
    pub(super) async fn next(&mut self) -> (L::Stream, OwnedSemaphorePermit) {
        loop {
            if let Some(resume) = self.resume {
                sleep_until(resume).await;
                self.resume = None;
            }
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // Nobody closes the semaphore.
                return std::future::pending().await;
            };
            match self.sockets.accept().await {
                Ok(stream) => {
                    self.pause = FIRST_PAUSE;
                    return (stream, permit);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    let pause = self.pause;
                    tracing::error!(
                        "cannot accept connections, trying again in {pause:?}: {error}"
                    );
                    self.resume = Some(Instant::now() + pause);
                    self.pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }
}

/// The client went away before it was accepted; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_errors_of_the_whole_process_make_a_pause() {
        let of = |errno: Errno| {
            is_of_one_connection(&io::Error::from_raw_os_error(errno.raw_os_error()))
        };
        assert!(
            [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].into_iter().all(|e| !of(e))
        );
        assert!([Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR].into_iter().all(of));
    }
}
