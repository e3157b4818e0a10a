//! Every path on disk, as functions of a root, so that tests can give another one.

use std::path::{Path, PathBuf};

use crate::{AgentId, DeployPath, Domain};

/// `/var/lib/ploinky` on a host.
pub const STATE: &str = "/var/lib/ploinky";
/// `/run/ploinky` on a host.
pub const RUNTIME: &str = "/run/ploinky";
/// Where the supervisor's Quadlet files live; Podman's generator reads sub-directories (podman-systemd.unit(5)).
pub const QUADLET: &str = "/etc/containers/systemd/ploinky";
/// Agents that packages install, one directory each.
pub const INSTALLED_AGENTS: &str = "/usr/share/ploinky/agents";
/// What every container sees as `/agentCore`.
pub const AGENT_CORE: &str = "/usr/lib/ploinky/agentcore";
/// Podman's API socket.
pub const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// The code of the agent, inside its container.
pub const CONTAINER_CODE: &str = "/agent";
/// The task queue, inside the container.
pub const CONTAINER_TASKS: &str = "/agent/.tasks";
/// What redeployments leave as it is, inside the container of an agent that asks for it.
pub const CONTAINER_DATA: &str = "/agent/data";
/// The queue of calls that are waited for, inside the container; in memory.
pub const CONTAINER_SYNC: &str = "/run/ploinky/sync";
/// The manifest as the supervisor accepted it, inside the container.
pub const CONTAINER_MANIFEST: &str = "/run/ploinky/manifest.json";
/// The static helper, inside the container.
pub const CONTAINER_AGENT_CORE: &str = "/agentCore/agent-core";
/// The entry that a manifest's `run` means if it is absent.
pub const CONTAINER_RUN_DEFAULT: &str = "/agentCore/run.sh";

/// The runtime directory of a host or of a test: what a reboot ends.
#[derive(Clone, Debug)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// The runtime directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Locks of the living instances.
    pub fn instances(&self) -> PathBuf {
        self.0.join("inst")
    }

    /// Parent of the queues of calls that are waited for: a file system in memory.
    pub fn sync(&self) -> PathBuf {
        self.0.join("sync")
    }

    /// The queue of one agent's calls that are waited for.
    pub fn sync_of(&self, agent: &AgentId) -> PathBuf {
        self.sync().join(agent.as_str())
    }

    /// Parent of what the containers mount of them.
    pub fn lanes(&self) -> PathBuf {
        self.0.join("lane")
    }

    /// What the container of one agent mounts: a link to its queue, or an empty directory if there is none.
    pub fn lane_of(&self, agent: &AgentId) -> PathBuf {
        self.lanes().join(agent.as_str())
    }

    /// The socket on which the supervisor answers the instances, which do not see the bus.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.0.join("supervisor.sock")
    }

    /// The socket on which instance `instance` answers root of this host.
    pub fn admin_socket(&self, instance: u16) -> PathBuf {
        self.0.join(format!("admin-{instance}.sock"))
    }
}

/// The state directory of a host or of a test.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The state below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The desired state.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// Which host uids belong to which agent.
    pub fn uid_map(&self) -> PathBuf {
        self.0.join("uidmap.json")
    }

    /// The secret from which ids of idempotent tasks and the keys of callbacks are made: 64 hexadecimal digits.
    pub fn task_key(&self) -> PathBuf {
        self.0.join("task.key")
    }

    /// Accounts of admins; the supervisor alone reads and writes it.
    pub fn admins(&self) -> PathBuf {
        self.0.join(".admin")
    }

    /// Sessions of users, which the instances write: one file each, named by the digest of the token.
    pub fn user_sessions(&self) -> PathBuf {
        self.0.join("activeUsers")
    }

    /// When sessions of admins and tokens of programs were used last: empty files, named like theirs, whose times of
    /// modification tell. The instances write them.
    pub fn last_uses(&self) -> PathBuf {
        self.user_sessions().join("used")
    }

    /// Sessions of admins, which the supervisor writes and the instances read; files as of users.
    pub fn admin_sessions(&self) -> PathBuf {
        self.0.join("adminSessions")
    }

    /// Tokens of programs, which the supervisor writes and the instances read; files as of sessions.
    pub fn tokens(&self) -> PathBuf {
        self.0.join("tokens")
    }

    /// Outcomes that are to be posted.
    pub fn callbacks(&self) -> PathBuf {
        self.0.join("callbacks")
    }

    /// Parent of all agents.
    pub fn agents(&self) -> PathBuf {
        self.0.join("agents")
    }

    /// Parent of one domain's agents.
    pub fn domain(&self, domain: &Domain) -> PathBuf {
        self.agents().join(AgentId::domain_component(domain))
    }

    /// The directory of one agent.
    pub fn agent(&self, domain: &Domain, path: &DeployPath) -> AgentDir {
        AgentDir(self.domain(domain).join(AgentId::path_component(path)))
    }
}

/// The directory of one deployed agent.
#[derive(Clone, Debug)]
pub struct AgentDir(PathBuf);

impl AgentDir {
    /// The directory of an agent that is known by path only.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The manifest, as the supervisor accepted it; owned by root.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// What the container sees as `/agent`; for a static agent the files that are served.
    pub fn code(&self) -> PathBuf {
        self.0.join("code")
    }

    /// What redeployments leave as it is; the container sees it as `/agent/data`.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The task queue.
    pub fn tasks(&self) -> PathBuf {
        self.0.join(".tasks")
    }
}
