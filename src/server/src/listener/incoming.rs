//! New connections, as many as allowed. No error ends it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::sockets::{Listener, Sockets};
use crate::clients::{Clients, Place};
use crate::reply::TOO_MANY_CONNECTIONS;

/// First pause after an error such as too many open files; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A new connection.
#[derive(Debug)]
pub(super) struct Accepted<S> {
    pub(super) stream: S,
    /// The address at its other end; none of this host.
    pub(super) peer: Option<IpAddr>,
    pub(super) right: Right,
}

/// The right to have a connection open, given back by drop.
#[derive(Debug)]
pub(super) struct Right {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// Takes connections from the sockets.
pub(super) struct Incoming<L> {
    sockets: Sockets<L>,
    clients: Arc<Clients>,
    permits: Arc<Semaphore>,
    pause: Duration,
    resume: Option<Instant>,
}

impl<L: Listener> Incoming<L> {
    /// Takes connections from `sockets`, as many as `limit` at once, and of each address as many as `clients` let.
    pub(super) fn new(sockets: Sockets<L>, clients: Arc<Clients>, limit: usize) -> Self {
        let permits = Arc::new(Semaphore::new(limit));
        Self { sockets, clients, permits, pause: FIRST_PAUSE, resume: None }
    }

    /// The next connection. Beyond the cap they wait in the backlog of the socket, and those of an address that has
    /// too many are closed. May be dropped at any time; no connection is lost.
    pub(super) async fn next(&mut self) -> Accepted<L::Stream> {
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
                Ok((stream, peer)) => {
                    self.pause = FIRST_PAUSE;
                    if let Some(place) = self.clients.connect(peer) {
                        let right = Right { _permit: permit, _place: place };
                        return Accepted { stream, peer, right };
                    }
                    tracing::debug!("refused: one more connection of {peer:?}");
                    L::turn_away(stream, TOO_MANY_CONNECTIONS);
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
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    use rustix::io::Errno;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::reload::Table;

    /// Connections that wait.
    struct Backlog(Mutex<VecDeque<(DuplexStream, Option<IpAddr>)>>);

    impl Listener for Backlog {
        type Stream = DuplexStream;

        fn poll_accept(
            &self,
            _context: &mut Context<'_>,
        ) -> Poll<io::Result<(DuplexStream, Option<IpAddr>)>> {
            self.0.lock().unwrap().pop_front().map_or(Poll::Pending, |next| Poll::Ready(Ok(next)))
        }

        fn prepare(_stream: &DuplexStream) {}

        fn turn_away(mut stream: DuplexStream, why: &[u8]) {
            let why = why.to_vec();
            tokio::spawn(async move { stream.write_all(&why).await });
        }
    }

    #[tokio::test]
    async fn what_is_too_much_of_one_address_is_closed_and_the_next_one_served() {
        let addresses = [[192, 0, 2, 1]; 101].into_iter().chain([[192, 0, 2, 2]]);
        let (clients, waiting): (Vec<_>, VecDeque<_>) = addresses
            .map(|address| {
                let (client, server) = duplex(1024);
                (client, (server, Some(IpAddr::from(address))))
            })
            .unzip();
        let sockets = Sockets::of(Backlog(Mutex::new(waiting)));
        let known = Arc::new(Clients::new(Table::default()));
        let mut incoming = Incoming::new(sockets, known, 1000);
        let mut held = Vec::new();
        for _ in 0..101 {
            held.push(incoming.next().await);
        }
        assert_eq!(held.last().unwrap().peer, Some(IpAddr::from([192, 0, 2, 2])));
        let mut said = String::new();
        let mut clients = clients;
        clients[100].read_to_string(&mut said).await.unwrap();
        assert_eq!(said.as_bytes(), TOO_MANY_CONNECTIONS);
    }

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
