//! Why a change was not carried out.

use std::io;

use ploinky_contract::{AgentId, AgentName, ConfigError, ImageName, InvalidAgentId};

use crate::agent_tree::AgentTreeError;
use crate::apply::ApplyError;
use crate::config_store::ConfigStoreError;
use crate::lane::LaneError;
use crate::podman::PodmanError;
use crate::quadlet::QuadletError;
use crate::systemd::{Job, SystemdError};
use crate::uid_map::UidMapError;
use crate::unit_store::UnitStoreError;

/// What stands in the way. Unless the text says otherwise, everything is as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LifecycleError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Id(InvalidAgentId),
    #[error("the configuration would be wrong")]
    ConfigRule(#[source] ConfigError),
    #[error("there is no deployment at {0}")]
    NotFound(String),
    #[error("there is no installed agent `{0}`; `ploinkyctl deploy` also takes a directory")]
    NoSuchAgent(AgentName),
    #[error("image `{image}` is not on this host; {remedy}", image = .0, remedy = .0.remedy())]
    ImageMissing(ImageName),
    #[error(
        "the unit {unit} did not {} ({reason}){aftermath}: result `{result}`, exit status {exit_status}; see `journalctl -u {unit}`",
        .job.verb()
    )]
    JobFailed {
        unit: String,
        job: Job,
        reason: String,
        result: String,
        exit_status: i32,
        /// What became of the host, as the middle of a sentence.
        aftermath: &'static str,
    },
    #[error(transparent)]
    Config(ConfigStoreError),
    #[error(transparent)]
    Tree(#[from] AgentTreeError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error("cannot list the agents")]
    List(#[source] io::Error),
    #[error("cannot tell the host uids of the agent")]
    UidMap(#[source] UidMapError),
    #[error("{id} has no range of host uids in uidmap.json; deploy it again")]
    NoRange { id: AgentId },
    #[error(transparent)]
    Unit(QuadletError),
    #[error(transparent)]
    UnitStore(UnitStoreError),
    #[error(transparent)]
    Systemd(SystemdError),
    #[error(transparent)]
    Podman(PodmanError),
    #[error(transparent)]
    Apply(ApplyError),
    #[error("another change has been under way for {0} s; try again")]
    Busy(u64),
    #[error("the supervisor is stopping")]
    Stopping,
}

impl LifecycleError {
    /// The whole story on one line.
    pub(crate) fn chain(&self) -> String {
        ploinky_contract::chain(self)
    }

    /// The same, with what became of the host.
    pub(super) fn with_aftermath(self, words: &'static str) -> Self {
        let mut error = self;
        if let Self::JobFailed { aftermath, .. } = &mut error {
            *aftermath = words;
        }
        error
    }
}
