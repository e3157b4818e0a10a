//! Sockets from systemd, connections, and the drain: how this process takes requests and stops taking them.

mod connection;
mod lingering;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ploinky_contract::limits::{CONNECTIONS_MAX, DRAIN_IDLE, DRAIN_MAX};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub(crate) use self::sockets::{ListenError, Sockets, inherited};

/// First and longest pause after an error of `accept`, such as too many open files.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Serves connections until `stop` is done, then drains: nobody who has a connection is cut off.
///
/// While it drains, every answer says `Connection: close`, so that clients come back to another connection.
/// For `DRAIN_IDLE` it still accepts; then the socket, which systemd holds open, keeps new connections for
/// the next process. Each connection has `DRAIN_IDLE` to send a request, and `DRAIN_MAX` ends all.
pub(crate) async fn serve(sockets: Sockets, router: Router, stop: impl Future<Output = ()>) {
    let mut open = Connections::new(router);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_ended) = open.tasks.join_next() => {}
            (stream, permit) = accept(&sockets, &open.permits) => open.add(stream, permit),
        }
    }
    let started = Instant::now();
    open.draining.send_replace(Some(started));
    while !open.tasks.is_empty() {
        tokio::select! {
            Some(_ended) = open.tasks.join_next() => {}
            (stream, permit) = accept(&sockets, &open.permits) => open.add(stream, permit),
            () = sleep_until(started + DRAIN_IDLE) => break,
        }
    }
    drop(sockets);
    let all = async { while open.tasks.join_next().await.is_some() {} };
    if timeout_at(started + DRAIN_MAX, all).await.is_err() {
        tracing::warn!("{} connections are cut off after the drain", open.tasks.len());
        open.tasks.shutdown().await;
    }
}

/// The connections that are open.
struct Connections {
    router: Router,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
    draining: watch::Sender<Option<Instant>>,
}

impl Connections {
    fn new(router: Router) -> Self {
        Self {
            router,
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            draining: watch::Sender::new(None),
        }
    }

    fn add(&mut self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let (router, draining) = (self.router.clone(), self.draining.subscribe());
        self.tasks.spawn(async move {
            connection::serve(stream, router, draining).await;
            drop(permit);
        });
    }
}

/// The next connection. Beyond the cap they wait in the socket's backlog; an error only makes a pause.
async fn accept(sockets: &Sockets, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let (mut pause, longest) = PAUSE;
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        match sockets.accept().await {
            Ok(stream) => return (stream, permit),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!("cannot accept connections, trying again: {error}");
                sleep(pause).await;
                pause = longest.min(pause * 2);
            }
        }
    }
}

/// The client went away before it was accepted; the next one may be fine.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
    )
}
