//! A Unix socket as a transport of the HTTP client. One connection carries one request.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, config::Config, http::Uri};

/// Time to connect; longer than a moment only while the backlog is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the socket at `path`.
///
/// # Errors
/// When there is none, the caller may not use it, nobody listens, or the backlog stays full.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(CONNECT_TIMEOUT))?;
    rustix::net::connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

/// Hands a connection to the client, once.
#[derive(Debug)]
pub(super) struct Connected(Mutex<Option<UnixStream>>);

/// Names lead nowhere here: the connection is there already.
#[derive(Debug)]
pub(super) struct NoNames;

/// The connection with the client's buffers.
#[derive(Debug)]
pub(super) struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
    deaf: bool,
}

impl Connected {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(Some(stream)))
    }
}

impl Connector for Connected {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<UnixTransport>, Error> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(stream.map(|stream| UnixTransport { stream, buffers, deaf: false }))
    }
}

impl Resolver for NoNames {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut none = self.empty();
        none.push(([127, 0, 0, 1], 80).into());
        Ok(none)
    }
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(timeout.not_zero().map(|limit| *limit))?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        match if self.deaf { Ok(()) } else { self.stream.write_all(output) } {
            // The other side answered without reading to the end; its answer is what counts.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.deaf = true,
            written => written.map_err(|e| explained(e, timeout))?,
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(timeout.not_zero().map(|limit| *limit))?;
        let input = self.buffers.input_append_buf();
        let read = loop {
            match self.stream.read(input) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|e| explained(e, timeout))?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read != 0)
    }

    fn is_open(&mut self) -> bool {
        // Never used again.
        false
    }
}

fn explained(error: io::Error, timeout: NextTimeout) -> Error {
    let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    if is_late { Error::Timeout(timeout.reason) } else { Error::Io(error) }
}
