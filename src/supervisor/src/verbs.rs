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
use ploinky_journal::{Deed, audit};
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

    /// Whether the caller may look.
    async fn may_look(&self, header: &Header<'_>) -> Result<(), ControlError> {
        let checked = self.authority.check(header.sender(), Action::Inspect).await;
        checked.map(drop).map_err(|denied| ControlError::NotAuthorized(denied.to_string()))
    }

    /// Has a change made, if the caller may, and writes down who made it.
    async fn change(
        &self,
        header: &Header<'_>,
        place: Place,
        change: Change,
    ) -> Result<(), ControlError> {
        let (action, object) = (change.action(), place.to_string());
        let before = self.reporter.desired(&place);
        let (actor, outcome) = match self.authority.check(header.sender(), Action::Manage).await {
            Ok(actor) => {
                (actor, self.handle.ask(place.clone(), change).await.map_err(control_error))
            }
            Err(denied) => {
                let stranger = header.sender().map(ToString::to_string).unwrap_or_default();
                (stranger, Err(ControlError::NotAuthorized(denied.to_string())))
            }
        };
        let deed = Deed {
            actor: &actor,
            action,
            object: &object,
            before: &before,
            after: &self.reporter.desired(&place),
            result: result_words(&outcome),
        };
        audit(&deed);
        outcome
    }

    async fn change_and_tell(
        &self,
        header: &Header<'_>,
        place: Place,
        change: Change,
    ) -> Result<AgentStatus, ControlError> {
        self.change(header, place.clone(), change).await?;
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
        let source = Source::Installed(self.installed_agents.join(name.as_str()));
        self.change_and_tell(&header, place, Change::Deploy(Order { source, name })).await
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
        let source = Source::Archive(File::from(OwnedFd::from(archive)));
        self.change_and_tell(&header, place, Change::Deploy(Order { source, name })).await
    }

    async fn undeploy(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let place = place(domain, path)?;
        self.change(&header, place, Change::Undeploy).await
    }

    async fn start_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.change_and_tell(&header, place, Change::Start).await
    }

    async fn stop_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.change_and_tell(&header, place, Change::Stop).await
    }

    async fn restart_agent(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.change_and_tell(&header, place, Change::Restart).await
    }

    async fn agent_status(
        &self,
        domain: &str,
        path: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<AgentStatus, ControlError> {
        let place = place(domain, path)?;
        self.may_look(&header).await?;
        self.reporter.agent(&place).await.map_err(control_error)
    }

    async fn status(&self, #[zbus(header)] header: Header<'_>) -> Result<HostStatus, ControlError> {
        self.may_look(&header).await?;
        Ok(self.reporter.host().await)
    }

    async fn config(&self, #[zbus(header)] header: Header<'_>) -> Result<String, ControlError> {
        self.may_look(&header).await?;
        self.reporter.config().map_err(control_error)
    }
}

/// How an act ended, in one word, for the journal.
pub(crate) fn result_words<T>(outcome: &Result<T, ControlError>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(ControlError::NotAuthorized(_)) => "denied",
        Err(ControlError::Unauthenticated(_)) => "unauthenticated",
        Err(ControlError::PasswordNeeded(_)) => "password-needed",
        Err(ControlError::InvalidArgument(_) | ControlError::ConfigInvalid(_)) => "invalid",
        Err(ControlError::NotFound(_) | ControlError::ImageMissing(_)) => "not-found",
        Err(ControlError::Conflict(_)) => "conflict",
        Err(ControlError::Busy(_) | ControlError::Overloaded(_)) => "busy",
        Err(ControlError::StartFailed(_) | ControlError::Failed(_) | ControlError::Bus(_)) => {
            "failed"
        }
    }
}

fn place(domain: &str, path: &str) -> Result<Place, ControlError> {
    Ok(Place { domain: parse(domain)?, path: parse(path)? })
}

pub(crate) fn parse<T: FromStr<Err: std::error::Error>>(text: &str) -> Result<T, ControlError> {
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
