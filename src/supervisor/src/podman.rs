//! Podman, as far as the supervisor asks it: is an image there, and how is a container. It is never told to
//! do anything; containers are started by the units.

mod api;
#[cfg(test)]
pub(crate) mod fake;

pub(crate) use api::PodmanApi;

use std::time::Duration;

use futures_util::future::BoxFuture;
use ploinky_contract::ImageName;

/// What Podman knows of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerState {
    /// `Id`.
    pub(crate) id: Option<String>,
    /// `State.Status`.
    pub(crate) status: Option<String>,
    /// `State.Pid`, absent if nothing runs.
    pub(crate) pid: Option<u32>,
    /// `Image`.
    pub(crate) image_id: Option<String>,
}

/// What Podman did not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodmanError {
    /// No answer in time.
    #[error("Podman did not answer within {} s", .limit.as_secs())]
    Late { limit: Duration },
    /// The call failed.
    #[error("cannot ask Podman (is `podman.socket` active?)")]
    Call { source: podman_api::Error },
}

/// The questions. Every one has a limit of its own.
pub(crate) trait Podman: Send + Sync {
    /// Id of the image; `None` if it is not on this host.
    fn image<'a>(
        &'a self,
        name: &'a ImageName,
    ) -> BoxFuture<'a, Result<Option<String>, PodmanError>>;

    /// The state of a container; `None` if there is none of this name.
    fn container<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ContainerState>, PodmanError>>;
}
