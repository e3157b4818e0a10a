//! Podman over its API socket, with the crate `podman-api`.
//!
//! The crate decodes the answers of the API of Podman 4.9; every Podman since then still speaks it, so the
//! version is pinned instead of asked. Its `Error` must not be cloned: that recurses for ever.

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ploinky_contract::ImageName;
use podman_api::{ApiVersion, Podman as Client};
use tokio::time::timeout;

use super::{ContainerState, Podman, PodmanError};

/// The API that the crate's types describe.
const VERSION: ApiVersion = ApiVersion::new(4, Some(9), Some(3));
/// Time for a call. Podman's service starts with the first one, which takes some 0.3 s.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Status of an answer about something that is not there.
const NOT_FOUND: u16 = 404;

/// The client; each call is a connection of its own.
#[derive(Debug)]
pub(crate) struct PodmanApi {
    client: Client,
}

impl PodmanApi {
    /// A client of the service that listens at `socket`.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { client: Client::unix_versioned(socket, VERSION) }
    }
}

impl Podman for PodmanApi {
    fn image<'a>(
        &'a self,
        name: &'a ImageName,
    ) -> BoxFuture<'a, Result<Option<String>, PodmanError>> {
        Box::pin(async move {
            // Not `exists`: it takes every other failure for a no.
            let found = ask(self.client.images().get(name.as_str()).inspect()).await?;
            Ok(found.map(|image| image.id.unwrap_or_default()))
        })
    }

    fn container<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ContainerState>, PodmanError>> {
        Box::pin(async move {
            let Some(found) = ask(self.client.containers().get(name).inspect()).await? else {
                return Ok(None);
            };
            let state = found.state;
            Ok(Some(ContainerState {
                id: found.id,
                status: state.as_ref().and_then(|state| state.status.clone()),
                pid: state
                    .as_ref()
                    .and_then(|state| u32::try_from(state.pid?).ok())
                    .filter(|pid| *pid != 0),
                image_id: found.image,
            }))
        })
    }
}

async fn ask<T>(
    call: impl Future<Output = Result<T, podman_api::Error>>,
) -> Result<Option<T>, PodmanError> {
    match timeout(CALL_LIMIT, call).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(podman_api::Error::Fault { code, .. })) if code.as_u16() == NOT_FOUND => Ok(None),
        Ok(Err(source)) => Err(PodmanError::Call { source }),
        Err(_elapsed) => Err(PodmanError::Late { limit: CALL_LIMIT }),
    }
}
