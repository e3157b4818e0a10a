//! Caller → allowed or not. root always is; everybody else is polkit's decision.

mod polkit;

use std::time::Duration;

use futures_util::future::BoxFuture;
use ploinky_control::{ACTION_ACCOUNTS, ACTION_INSPECT, ACTION_MANAGE};
use tokio::time::timeout;
use zbus::Connection;
use zbus::names::{BusName, UniqueName};

use polkit::{PolkitError, check};

/// Time for the bus to tell who a caller is.
const BUS_LIMIT: Duration = Duration::from_secs(5);

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Read state.
    Inspect,
    /// Change state.
    Manage,
    /// Change who may log in, and tokens of programs.
    Accounts,
}

/// Why a caller may not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) String);

/// Says yes or no.
pub(crate) trait Authority: Send + Sync {
    /// Whether the caller with this name on the bus may do that; who it is, for the journal.
    fn check<'a>(
        &'a self,
        caller: Option<&'a UniqueName<'a>>,
        action: Action,
    ) -> BoxFuture<'a, Result<String, Denied>>;
}

/// The system bus, which knows the uid of a caller, and polkit.
#[derive(Debug)]
pub(crate) struct BusAuthority {
    connection: Connection,
}

impl Action {
    /// Its name for polkit.
    fn id(self) -> &'static str {
        match self {
            Self::Inspect => ACTION_INSPECT,
            Self::Manage => ACTION_MANAGE,
            Self::Accounts => ACTION_ACCOUNTS,
        }
    }
}

impl BusAuthority {
    /// Asks over `connection`, on which the callers are known by their names.
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    async fn uid(&self, caller: &UniqueName<'_>) -> zbus::Result<u32> {
        let bus = zbus::fdo::DBusProxy::new(&self.connection).await?;
        Ok(bus.get_connection_unix_user(BusName::Unique(caller.clone())).await?)
    }

    async fn decide(
        &self,
        caller: Option<&UniqueName<'_>>,
        action: Action,
    ) -> Result<String, Denied> {
        let Some(caller) = caller else {
            return Err(Denied("the caller has no name on the bus".to_owned()));
        };
        let uid = match timeout(BUS_LIMIT, self.uid(caller)).await {
            Ok(Ok(0)) => return Ok("root".to_owned()),
            Ok(Ok(uid)) => uid,
            Ok(Err(_)) | Err(_) => {
                return Err(Denied("the bus does not tell who the caller is".to_owned()));
            }
        };
        let id = action.id();
        match check(&self.connection, caller, id).await {
            Ok(true) => Ok(format!("uid {uid}")),
            Ok(false) => Err(Denied(format!("polkit does not allow uid {uid} `{id}`"))),
            Err(PolkitError::Late) => {
                Err(Denied(format!("polkit did not decide on `{id}` in time; nobody answered")))
            }
            Err(PolkitError::Call(error)) => {
                tracing::warn!("polkit cannot be asked: {error}");
                Err(Denied(format!("polkit cannot be asked about `{id}`; only root is allowed")))
            }
        }
    }
}

impl Authority for BusAuthority {
    fn check<'a>(
        &'a self,
        caller: Option<&'a UniqueName<'a>>,
        action: Action,
    ) -> BoxFuture<'a, Result<String, Denied>> {
        Box::pin(self.decide(caller, action))
    }
}
