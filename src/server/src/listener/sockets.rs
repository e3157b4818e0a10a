//! The listening sockets: systemd's, or one of our own for trials.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::task::Poll;

use listenfd::ListenFd;
use ploinky_contract::limits::WRITE_STALL;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, set_tcp_user_timeout};
use tokio::net::{TcpListener, TcpStream};

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Started by hand without an address.
    #[error("systemd passed no socket: start ploinky@N.socket, or give --listen ADDR for a trial")]
    None,
    /// What systemd passed is no listening TCP socket.
    #[error("the socket that systemd passed cannot be used")]
    Inherited(#[source] io::Error),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Sockets that give connections.
#[derive(Debug)]
pub(crate) struct Sockets(Vec<TcpListener>);

/// The sockets that systemd passed; if there are none, one on `address`.
pub(crate) fn inherited(address: Option<SocketAddr>) -> Result<Vec<StdListener>, ListenError> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        // The socket of root is for somebody else to take.
        if passed.take_unix_listener(index).is_ok() {
            continue;
        }
        if let Some(socket) = passed.take_tcp_listener(index).map_err(ListenError::Inherited)? {
            sockets.push(socket);
        }
    }
    match (sockets.is_empty(), address) {
        (false, _) => Ok(sockets),
        (true, None) => Err(ListenError::None),
        (true, Some(address)) => StdListener::bind(address)
            .map(|socket| vec![socket])
            .map_err(|source| ListenError::Bind { address, source }),
    }
}

impl Sockets {
    /// Takes the sockets into the event loop.
    pub(crate) fn new(sockets: Vec<StdListener>) -> io::Result<Self> {
        sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            })
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next connection of any socket.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        let stream = std::future::poll_fn(|context| {
            for socket in &self.0 {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, _address)| stream));
                }
            }
            Poll::Pending
        })
        .await?;
        prepare(&stream);
        Ok(stream)
    }
}

/// Answers go out at once; a client that is gone, or takes nothing of its answer, is found out. A connection
/// that does not take these options any more is about to end by itself.
fn prepare(stream: &TcpStream) {
    let stall_ms = u32::try_from(WRITE_STALL.as_millis()).unwrap_or(u32::MAX);
    let prepared = set_tcp_nodelay(stream, true)
        .and_then(|()| set_socket_keepalive(stream, true))
        .and_then(|()| set_tcp_user_timeout(stream, stall_ms));
    if let Err(error) = prepared {
        tracing::debug!("cannot set the options of a connection: {error}");
    }
}
