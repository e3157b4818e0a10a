//! The interface as a caller sees it.

use zbus::Fd;

use crate::{AgentStatus, ControlError, HostStatus};

/// `io.ploinky.Supervisor1`: desired state of the host's agents. Every call that changes something returns when
/// systemd has finished the job, and what it returns is what is true then.
#[zbus::proxy(
    interface = "io.ploinky.Supervisor1",
    default_service = "io.ploinky.Supervisor1",
    default_path = "/io/ploinky/Supervisor1"
)]
pub trait Supervisor1 {
    /// Deploys an agent that a package installed.
    async fn deploy_installed(
        &self,
        domain: &str,
        path: &str,
        agent: &str,
    ) -> Result<AgentStatus, ControlError>;

    /// Deploys the directory packed in `archive`: a regular file that holds a tar archive. `name` is the agent's
    /// name if the directory has no manifest.
    async fn deploy_archive(
        &self,
        domain: &str,
        path: &str,
        name: &str,
        archive: Fd<'_>,
    ) -> Result<AgentStatus, ControlError>;

    /// Stops and removes a deployment with its code, queue and data.
    async fn undeploy(&self, domain: &str, path: &str) -> Result<(), ControlError>;

    /// Lets a stopped agent run again, now and after the next boot.
    async fn start_agent(&self, domain: &str, path: &str) -> Result<AgentStatus, ControlError>;

    /// Stops an agent, now and after the next boot; calls are answered by 503.
    async fn stop_agent(&self, domain: &str, path: &str) -> Result<AgentStatus, ControlError>;

    /// Restarts an agent.
    async fn restart_agent(&self, domain: &str, path: &str) -> Result<AgentStatus, ControlError>;

    /// One deployment with everything systemd and Podman know of it.
    async fn agent_status(&self, domain: &str, path: &str) -> Result<AgentStatus, ControlError>;

    /// The host and all deployments, in brief.
    async fn status(&self) -> Result<HostStatus, ControlError>;

    /// The configuration in force, as the JSON text of `config.json`.
    async fn config(&self) -> Result<String, ControlError>;
}
