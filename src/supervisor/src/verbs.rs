//! The served interface `io.ploinky.Supervisor1`: parses, has the caller authorised, delegates, names the
//! error. Decides nothing.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::sync::Arc;

use ploinky_contract::AgentName;
use ploinky_control::{AgentStatus, ControlError, HostStatus};
use zbus::interface;
use zbus::message::Header;

use crate::agent_tree::{AgentTreeError, Source};
use crate::authorize::{Action, Authority};
use crate::lifecycle::{Change, Handle, LifecycleError, Order, Place, Reporter};
use crate::tree::TreeError;

/// The object.
pub(crate) struct Verbs {
    authority: Arc<dyn Authority>,
    handle: Handle,
    reporter: Reporter,
    installed_agents: std::path::PathBuf,
}

impl Verbs {
    /// An object that asks `authority`, then `handle` or `reporter`.
    pub(crate) fn new(
        authority: Arc<dyn Authority>,
        handle: Handle,
        reporter: Reporter,
        installed_agents: std::path::PathBuf,
    ) -> Self {
        Self { authority, handle, reporter, installed_agents }
    }

    async fn authorize(&self, header: &Header<'_>, action: Action) -> Result<(), ControlError> {
        self.authority
            .check(header.sender(), action)
            .await
            .map_err(|denied| ControlError::NotAuthorized(denied.to_string()))
    }

    async fn change(&self, place: Place, change: Change) -> Result<(), ControlError> {
        self.handle.ask(place, change).await.map_err(control_error)
    }

    async fn change_and_tell(
        &self,
        place: Place,
        change: Change,
    ) -> Result<AgentStatus, ControlError> {
        self.change(place.clone(), change).await?;
        self.reporter.agent(&place).await.map_err(control_error)
    }
}

#[interface(name = "io.ploinky.Supervisor1", introspection_docs = false)]
impl Verbs {
    async fn deploy_installed(
        &self,
        domain: &str,
        path: &str,
        agent: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        let name: AgentName = parse(agent)?;
        self.authorize(&header, Action::Manage).await?;
        let source = Source::Installed(self.installed_agents.join(name.as_str()));
        self.change_and_tell(place, Change::Deploy(Order { source, name })).await
    }

    async fn deploy_archive(
        &self,
        domain: &str,
        path: &str,
        name: &str,
        archive: zbus::OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        let name: AgentName = parse(name)?;
        self.authorize(&header, Action::Manage).await?;
        let source = Source::Archive(File::from(OwnedFd::from(archive)));
        self.change_and_tell(place, Change::Deploy(Order { source, name })).await
    }

    async fn undeploy(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let place = place(domain, path)?;
        self.authorize(&header, Action::Manage).await?;
        self.change(place, Change::Undeploy).await
    }

    async fn start_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.authorize(&header, Action::Manage).await?;
        self.change_and_tell(place, Change::Start).await
    }

    async fn stop_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.authorize(&header, Action::Manage).await?;
        self.change_and_tell(place, Change::Stop).await
    }

    async fn restart_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.authorize(&header, Action::Manage).await?;
        self.change_and_tell(place, Change::Restart).await
    }

    async fn agent_status(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.authorize(&header, Action::Inspect).await?;
        self.reporter.agent(&place).await.map_err(control_error)
    }

    async fn status(&self, #[zbus(header)] header: Header<'_>) -> Result<HostStatus, ControlError> {
        self.authorize(&header, Action::Inspect).await?;
        Ok(self.reporter.host().await)
    }

    async fn config(&self, #[zbus(header)] header: Header<'_>) -> Result<String, ControlError> {
        self.authorize(&header, Action::Inspect).await?;
        self.reporter.config().map_err(control_error)
    }
}

fn place(domain: &str, path: &str) -> Result<Place, ControlError> {
    Ok(Place { domain: parse(domain)?, path: parse(path)? })
}

fn parse<T: FromStr<Err: std::error::Error>>(text: &str) -> Result<T, ControlError> {
    text.parse().map_err(|error: T::Err| ControlError::InvalidArgument(error.to_string()))
}

/// The one table from our errors to the names on the bus.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn control_error(error: LifecycleError) -> ControlError {
    use LifecycleError as E;
    let name = match &error {
        E::Refused(_)
        | E::Id(_)
        | E::ConfigRule(_)
        | E::Unit(_)
        | E::Tree(
            AgentTreeError::Tree(
                TreeError::Refused { .. } | TreeError::TooLarge { .. } | TreeError::Archive { .. },
            )
            | AgentTreeError::Manifest(_)
            | AgentTreeError::ReadManifest(_)
            | AgentTreeError::Nameless
            | AgentTreeError::NoStaticDirectory { .. },
        ) => ControlError::InvalidArgument,
        E::NotFound(_) | E::NoSuchAgent(_) => ControlError::NotFound,
        E::ImageMissing(_) => ControlError::ImageMissing,
        E::JobFailed { .. } => ControlError::StartFailed,
        E::Config(crate::config_store::ConfigStoreError::Broken { .. }) => {
            ControlError::ConfigInvalid
        }
        E::Busy(_) => ControlError::Busy,
        E::Config(_)
        | E::Tree(_)
        | E::Lane(_)
        | E::List(_)
        | E::UidMap(_)
        | E::NoRange { .. }
        | E::UnitStore(_)
        | E::Systemd(_)
        | E::Podman(_)
        | E::Apply(_)
        | E::Stopping => ControlError::Failed,
    };
    name(error.chain())
}
