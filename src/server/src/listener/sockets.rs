//! The listening sockets: systemd's, or own ones for trials. Which socket a request came by says who asks.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use listenfd::ListenFd;
use ploinky_contract::limits::{UNSENT_MAX_BYTES, WRITE_STALL};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, set_tcp_user_timeout};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::arguments::Arguments;

/// `FileDescriptorName=` of the socket for root of this host.
const ADMIN: &str = "admin";
/// Names of the sockets that systemd passed, in their order, with colons between.
const NAMES: &str = "LISTEN_FDNAMES";
/// Only its owner connects.
const ADMIN_MODE: u32 = 0o600;

/// Sockets as the process got them, before there is an event loop.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For everybody.
    pub internet: Vec<StdTcpListener>,
    /// For root of this host: every request that comes by them is the admin's.
    pub admin: Vec<StdUnixListener>,
}

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
    /// The socket for the admin cannot be made.
    #[error("cannot listen on {}", .path.display())]
    BindAdmin {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Sockets that give connections of one kind.
#[derive(Debug)]
pub(crate) struct Sockets<L>(Vec<L>);

/// A listening socket of some kind.
pub(crate) trait Listener {
    /// Its connections.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and the address it comes from, if it has one.
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, Option<IpAddr>)>>;

    /// Sets the options of a new connection. One that does not take them any more is about to end by itself.
    fn prepare(stream: &Self::Stream);

    /// Says `why`, if that takes no time, to a connection that is about to be closed.
    fn turn_away(stream: Self::Stream, why: &[u8]);
}

/// The sockets that systemd passed: TCP ones for everybody, and a Unix one that has the name `admin`. Those
/// of a kind that was not passed are made as `arguments` say.
pub(crate) fn inherited(arguments: &Arguments) -> Result<Inherited, ListenError> {
    let Arguments { listen, admin_socket, .. } = arguments;
    let names = std::env::var(NAMES).unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for index in 0..passed.len() {
        if names.next() == Some(ADMIN) {
            // A TCP socket of this name is an error: whoever reaches it would be the admin.
            let socket = passed.take_unix_listener(index).map_err(ListenError::Inherited)?;
            inherited.admin.extend(socket);
        } else {
            let socket = passed.take_tcp_listener(index).map_err(ListenError::Inherited)?;
            inherited.internet.extend(socket);
        }
    }
    if let (true, Some(address)) = (inherited.internet.is_empty(), *listen) {
        let socket = StdTcpListener::bind(address)
            .map_err(|source| ListenError::Bind { address, source })?;
        inherited.internet.push(socket);
    }
    if let (true, Some(path)) = (inherited.admin.is_empty(), admin_socket) {
        let socket = bind_admin(path)
            .map_err(|source| ListenError::BindAdmin { path: path.clone(), source })?;
        inherited.admin.push(socket);
    }
    if inherited.internet.is_empty() { Err(ListenError::None) } else { Ok(inherited) }
}

/// A socket at `path`, which nobody else can connect to at any moment: it takes its mode before it listens
/// under its name.
fn bind_admin(path: &Path) -> io::Result<StdUnixListener> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}", std::process::id()));
    let staged = PathBuf::from(staged);
    let socket = StdUnixListener::bind(&staged)?;
    std::fs::set_permissions(&staged, Permissions::from_mode(ADMIN_MODE))?;
    // Takes the place of the socket of a process that is gone.
    rustix::fs::rename(&staged, path)?;
    Ok(socket)
}

impl Sockets<TcpListener> {
    /// Takes the sockets into the event loop.
    pub(crate) fn of_internet(sockets: Vec<StdTcpListener>) -> io::Result<Self> {
        let taken = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        taken.collect::<io::Result<_>>().map(Self)
    }
}

impl Sockets<UnixListener> {
    /// Takes the sockets into the event loop.
    pub(crate) fn of_admin(sockets: Vec<StdUnixListener>) -> io::Result<Self> {
        let taken = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket)
        });
        taken.collect::<io::Result<_>>().map(Self)
    }
}

impl<L: Listener> Sockets<L> {
    /// One socket.
    #[cfg(test)]
    pub(super) fn of(socket: L) -> Self {
        Self(vec![socket])
    }

    /// The next connection of any socket; without sockets there is none, ever.
    pub(super) async fn accept(&self) -> io::Result<(L::Stream, Option<IpAddr>)> {
        let (stream, peer) = std::future::poll_fn(|context| {
            for socket in &self.0 {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await?;
        L::prepare(&stream);
        Ok((stream, peer))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, Option<IpAddr>)>> {
        Self::poll_accept(self, context).map_ok(|(stream, peer)| (stream, Some(peer.ip())))
    }

    /// Answers go out at once; a client that is gone, or takes nothing of its answer, is found out, and the kernel
    /// holds little for it.
    fn prepare(stream: &TcpStream) {
        let stall_ms = u32::try_from(WRITE_STALL.as_millis()).unwrap_or(u32::MAX);
        let prepared = set_tcp_nodelay(stream, true)
            .and_then(|()| set_socket_keepalive(stream, true))
            .and_then(|()| set_tcp_user_timeout(stream, stall_ms))
            .map_err(io::Error::from)
            .and_then(|()| SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX_BYTES));
        if let Err(error) = prepared {
            tracing::debug!("cannot set the options of a connection: {error}");
        }
    }

    fn turn_away(stream: TcpStream, why: &[u8]) {
        stream.try_write(why).ok();
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, Option<IpAddr>)>> {
        Self::poll_accept(self, context).map_ok(|(stream, _address)| (stream, None))
    }

    fn prepare(_stream: &UnixStream) {}

    fn turn_away(stream: UnixStream, why: &[u8]) {
        stream.try_write(why).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_socket_of_the_admin_is_for_its_owner_alone_and_replaces_a_dead_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(bind_admin(&path).unwrap());
        let _socket = bind_admin(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, ADMIN_MODE);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(bind_admin(&directory.path().join("no/such/directory")).is_err());
    }
}
