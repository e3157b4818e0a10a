//! The way to the supervisor, which keeps the admins: one connection over its socket, made anew when it is gone.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ploinky_contract::limits::SUPERVISOR_CALL_LIMIT;
use ploinky_contract::paths::RuntimeDir;
use ploinky_control::Accounts1Proxy;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Time for the supervisor to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The supervisor of this host.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: PathBuf,
    last: Mutex<Option<Accounts1Proxy<'static>>>,
}

/// The supervisor is away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AwayError {
    /// Nobody listens, or it is not for us.
    #[error("cannot connect to {}", .socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It took the connection, and does not talk.
    #[error("the supervisor does not answer")]
    Silent,
    /// What came is not of this interface.
    #[error("the supervisor cannot be understood")]
    Protocol(#[source] zbus::Error),
}

impl Supervisor {
    /// The one whose socket is in `runtime`. Nothing is connected to yet.
    pub(crate) fn new(runtime: &RuntimeDir) -> Self {
        Self { socket: runtime.supervisor_socket(), last: Mutex::new(None) }
    }

    /// Its accounts, over a connection that is up.
    ///
    /// # Errors
    /// When it is away.
    pub(crate) async fn accounts(&self) -> Result<Accounts1Proxy<'static>, AwayError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(proxy) = last
            && !proxy.inner().connection().is_closed()
        {
            return Ok(proxy);
        }
        // Two requests at once may make two connections; the one that is remembered last stays.
        let connecting = timeout(CONNECT_LIMIT, self.connect());
        let proxy = connecting.await.map_err(|_elapsed| AwayError::Silent)??;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(proxy.clone());
        Ok(proxy)
    }

    async fn connect(&self) -> Result<Accounts1Proxy<'static>, AwayError> {
        let failed = |source| AwayError::Connect { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(failed)?;
        let stream = stream.into_std().map_err(failed)?;
        let connection = zbus::connection::Builder::unix_stream(stream)
            .p2p()
            .method_timeout(SUPERVISOR_CALL_LIMIT)
            .build()
            .await
            .map_err(AwayError::Protocol)?;
        Accounts1Proxy::new(&connection).await.map_err(AwayError::Protocol)
    }
}
