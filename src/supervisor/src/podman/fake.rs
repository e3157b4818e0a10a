//! A Podman in memory, for tests.

use std::collections::BTreeSet;

use futures_util::future::{BoxFuture, ready};
use ploinky_contract::ImageName;

use super::{ContainerState, Podman, PodmanError};

/// Has these images; every container that it is asked for runs.
#[derive(Debug)]
pub(crate) struct Fake {
    images: BTreeSet<String>,
}

impl Fake {
    pub(crate) fn new(images: &[&str]) -> Self {
        Self { images: images.iter().map(|name| (*name).to_owned()).collect() }
    }
}

impl Podman for Fake {
    fn image<'a>(
        &'a self,
        name: &'a ImageName,
    ) -> BoxFuture<'a, Result<Option<String>, PodmanError>> {
        let id = self.images.contains(name.as_str()).then(|| format!("id of {name}"));
        Box::pin(ready(Ok(id)))
    }

    fn container<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ContainerState>, PodmanError>> {
        Box::pin(ready(Ok(Some(ContainerState {
            id: Some(format!("id of {name}")),
            status: Some("running".to_owned()),
            ..ContainerState::default()
        }))))
    }
}
