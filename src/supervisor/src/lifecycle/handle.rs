//! How others ask for a change.

use std::fmt;
use std::time::Duration;

use ploinky_contract::{AgentId, AgentName, DeployPath, Deployment, Domain};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::LifecycleError;
use crate::agent_tree::Source;

/// Changes that wait; more than that wait to wait.
const QUEUE: usize = 16;
/// How long a change waits for those before it.
const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// A domain and a path of it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) domain: Domain,
    pub(crate) path: DeployPath,
}

/// What is wanted at a place.
#[derive(Debug)]
pub(crate) enum Change {
    Deploy(Order),
    Undeploy,
    Start,
    Stop,
    Restart,
}

/// The code of a deployment.
#[derive(Debug)]
pub(crate) struct Order {
    /// Where it is.
    pub(crate) source: Source,
    /// The agent's name if it has no manifest.
    pub(crate) name: AgentName,
}

/// A change that waits for its turn.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) place: Place,
    pub(crate) change: Change,
    /// Closed if whoever asked waits no more.
    pub(crate) begun: oneshot::Sender<()>,
    pub(crate) done: oneshot::Sender<Result<(), LifecycleError>>,
}

/// Asks the owner of the desired state.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    sender: mpsc::Sender<Asked>,
}

impl Place {
    /// Where `deployment` is.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        Self { domain: deployment.domain.clone(), path: deployment.path.clone() }
    }

    /// The id of the agent there.
    ///
    /// # Errors
    /// When domain and path are too long together.
    pub(crate) fn id(&self) -> Result<AgentId, LifecycleError> {
        AgentId::new(&self.domain, &self.path).map_err(LifecycleError::Id)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.domain, self.path)
    }
}

impl Change {
    /// The act, as the journal calls it.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "agent.deploy",
            Self::Undeploy => "agent.undeploy",
            Self::Start => "agent.start",
            Self::Stop => "agent.stop",
            Self::Restart => "agent.restart",
        }
    }

    /// The verb for the journal.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Undeploy => "undeploy",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

impl Handle {
    /// A handle, and the end that the owner works from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender }, receiver)
    }

    /// Asks for a change and waits until it is carried out.
    ///
    /// # Errors
    /// When it was refused or failed, or did not begin in time; then it never will.
    pub(crate) async fn ask(&self, place: Place, change: Change) -> Result<(), LifecycleError> {
        let (begun, has_begun) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let asked = Asked { place, change, begun, done };
        let begins = async {
            self.sender.send(asked).await.map_err(|_closed| LifecycleError::Stopping)?;
            has_begun.await.map_err(|_closed| LifecycleError::Stopping)
        };
        timeout(BUSY_LIMIT, begins)
            .await
            .map_err(|_elapsed| LifecycleError::Busy(BUSY_LIMIT.as_secs()))??;
        // Every step of a change has a limit of its own.
        outcome.await.map_err(|_closed| LifecycleError::Stopping)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_waits_too_long_is_refused_and_never_begins() {
        let (handle, mut owner) = Handle::new();
        let place = Place { domain: Domain::localhost(), path: "/a".parse().unwrap() };
        let refused = handle.ask(place, Change::Stop).await.unwrap_err();
        assert_eq!(refused.to_string(), "another change has been under way for 60 s; try again");
        let asked = owner.recv().await.unwrap();
        assert!(asked.begun.send(()).is_err(), "it could still begin");
    }
}
