//! The socket on which the workers ask: made here, for root and the workers, each connection a bus of its own.
//!
//! systemd does not hold it: a supervisor that root has stopped must not be started by whoever tries to log in.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ploinky_contract::limits::SUPERVISOR_CONNECTIONS_MAX;
use ploinky_control::OBJECT_PATH;
use rustix::fs::{Gid, Mode, Uid};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::account_verbs::{AccountVerbs, Door};
use crate::accounts::Accounts;

/// root and the workers, as its group.
const MODE: u32 = 0o660;
/// Time in which a worker says hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// The socket cannot be made; everything else works without it.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {}; nobody can log in", .path.display())]
pub(crate) struct SocketError {
    path: PathBuf,
    source: io::Error,
}

/// Makes the socket at `path`. One of a predecessor is replaced in one step.
///
/// # Errors
/// When something else has the name, or the kernel refuses.
pub(crate) fn listen(path: &Path, accounts: Accounts) -> Result<UnixListener, SocketError> {
    made(path, accounts).map_err(|source| SocketError { path: path.to_owned(), source })
}

fn made(path: &Path, accounts: Accounts) -> io::Result<UnixListener> {
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else has its name",
            ));
        }
        Ok(_) | Err(_) => {}
    }
    let staged = path.with_extension("sock.tmp");
    match rustix::fs::unlink(&staged) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(&staged)?;
    // Nobody can connect before: the umask of the unit leaves it to root alone.
    let owner = accounts.effective(accounts.root_and_workers());
    let ids = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
    rustix::fs::chown(&staged, ids.0, ids.1)?;
    rustix::fs::chmod(&staged, Mode::from_raw_mode(MODE))?;
    rustix::fs::rename(&staged, path)?;
    Ok(listener)
}

/// Answers on `listener` without end. `verbs` makes the object of one connection.
pub(crate) async fn serve(
    listener: UnixListener,
    accounts: Accounts,
    verbs: impl Fn(Door) -> AccountVerbs,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ended = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < SUPERVISOR_CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _nameless)) if is_allowed(&stream, accounts) => {
                        connections.spawn(answer(stream, verbs(Door::socket())));
                    }
                    Ok((_stranger, _nameless)) => {}
                    Err(error) => {
                        tracing::warn!("cannot accept a worker: {error}");
                        tokio::time::sleep(HELLO_LIMIT).await;
                    }
                }
            }
        }
    }
}

fn is_allowed(stream: &UnixStream, accounts: Accounts) -> bool {
    match stream.peer_cred() {
        Ok(peer) if accounts.may_connect(peer.uid()) => true,
        Ok(peer) => {
            tracing::warn!("uid {} is no worker; its connection is closed", peer.uid());
            false
        }
        Err(error) => {
            tracing::warn!("cannot tell who connects: {error}");
            false
        }
    }
}

async fn answer(stream: UnixStream, verbs: AccountVerbs) {
    let connecting = async {
        let stream = stream.into_std()?;
        zbus::connection::Builder::unix_stream(stream)
            .server(zbus::Guid::generate())
            .p2p()
            .serve_at(OBJECT_PATH, verbs)
            .build()
            .await
    };
    match timeout(HELLO_LIMIT, connecting).await {
        Ok(Ok(connection)) => connection.closed().await,
        Ok(Err(error)) => tracing::debug!("a worker did not say hello: {error}"),
        Err(_elapsed) => tracing::debug!("a worker did not say hello in time"),
    }
}
