//! Sockets from systemd, connections, and the drain: how this process takes requests and stops taking them.

mod connection;
mod framed;
mod incoming;
mod lingering;
mod patient;
mod sockets;

use std::io;
use std::sync::Arc;

use axum::Router;
use ploinky_contract::limits::{ADMIN_CONNECTIONS_MAX, CONNECTIONS_MAX, DRAIN_IDLE, DRAIN_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::connection::Origin;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::framed::fuzz;
pub(crate) use self::framed::{ChunkError, FramingError};
use self::incoming::{Accepted, Incoming};
pub use self::sockets::Inherited;
pub(crate) use self::sockets::{ListenError, Sockets, inherited};
use crate::clients::Clients;
use crate::guardian::Door;

/// All listening sockets, in the event loop.
#[derive(Debug)]
pub(crate) struct Doors {
    internet: Sockets<TcpListener>,
    admin: Sockets<UnixListener>,
}

impl Doors {
    /// Takes the sockets into the event loop.
    pub(crate) fn new(sockets: Inherited) -> io::Result<Self> {
        let Inherited { internet, admin } = sockets;
        Ok(Self { internet: Sockets::of_internet(internet)?, admin: Sockets::of_admin(admin)? })
    }
}

/// Serves connections until `stop` is done, then drains: nobody who has a connection is cut off.
///
/// While it drains, every answer says `Connection: close`, so that clients come back to another connection.
/// For `DRAIN_IDLE` it still accepts; then the socket, which systemd holds open, keeps new connections for
/// the next process. Each connection has `DRAIN_IDLE` to send a request, and `DRAIN_MAX` ends all.
pub(crate) async fn serve(
    doors: Doors,
    clients: Arc<Clients>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let Doors { internet, admin } = doors;
    let mut internet = Incoming::new(internet, Arc::clone(&clients), CONNECTIONS_MAX);
    // Its own bound, so that the admin gets in whatever the others do.
    let mut admin = Incoming::new(admin, Arc::clone(&clients), ADMIN_CONNECTIONS_MAX);
    let mut open = Connections::new(router, clients);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_ended) = open.tasks.join_next() => {}
            accepted = admin.next() => open.add(accepted, Door::Admin),
            accepted = internet.next() => open.add(accepted, Door::Internet),
        }
    }
    let started = Instant::now();
    open.draining.send_replace(Some(started));
    while !open.tasks.is_empty() {
        tokio::select! {
            Some(_ended) = open.tasks.join_next() => {}
            accepted = admin.next() => open.add(accepted, Door::Admin),
            accepted = internet.next() => open.add(accepted, Door::Internet),
            () = sleep_until(started + DRAIN_IDLE) => break,
        }
    }
    drop((internet, admin));
    let all = async { while open.tasks.join_next().await.is_some() {} };
    if timeout_at(started + DRAIN_MAX, all).await.is_err() {
        tracing::warn!("{} connections are cut off after the drain", open.tasks.len());
        open.tasks.shutdown().await;
    }
}

/// The connections that are open.
struct Connections {
    router: Router,
    clients: Arc<Clients>,
    tasks: JoinSet<()>,
    draining: watch::Sender<Option<Instant>>,
}

impl Connections {
    fn new(router: Router, clients: Arc<Clients>) -> Self {
        Self { router, clients, tasks: JoinSet::new(), draining: watch::Sender::new(None) }
    }

    fn add(
        &mut self,
        accepted: Accepted<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>,
        door: Door,
    ) {
        let Accepted { stream, peer, right } = accepted;
        let origin = Origin { door, peer, clients: Arc::clone(&self.clients) };
        let (router, draining) = (self.router.clone(), self.draining.subscribe());
        self.tasks.spawn(async move {
            connection::serve(stream, origin, router, draining).await;
            drop(right);
        });
    }
}
