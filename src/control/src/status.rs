//! What the supervisor tells: dictionaries (`a{sv}`) that can grow without a new interface.

use zbus::{DeserializeDict, SerializeDict, Type};

/// One deployment, desired and real. An absent key: not known, or not asked for.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct AgentStatus {
    /// Agent id.
    pub id: String,
    /// Host.
    pub domain: String,
    /// Path.
    pub path: String,
    /// Name of the agent.
    pub agent: String,
    /// `container` or `static`.
    pub kind: String,
    /// Desired: answers at all.
    pub enabled: bool,
    /// Desired: stopped by the admin.
    pub stopped: bool,
    /// Fingerprint of the code.
    pub release: Option<String>,
    /// Why desired and real differ, in words.
    pub problem: Option<String>,
    /// systemd: the unit.
    pub unit: Option<String>,
    /// systemd: `ActiveState`.
    pub active_state: Option<String>,
    /// systemd: `SubState`.
    pub sub_state: Option<String>,
    /// systemd: `NRestarts`.
    pub restarts: Option<u32>,
    /// systemd: `ActiveEnterTimestamp`, microseconds since 1970.
    pub active_since_usec: Option<u64>,
    /// systemd: `Result` of the last run.
    pub result: Option<String>,
    /// Podman: name of the container.
    pub container: Option<String>,
    /// Podman: id of the container.
    pub container_id: Option<String>,
    /// Podman: `State.Status`.
    pub container_state: Option<String>,
    /// Podman: host pid of the container's first process.
    pub pid: Option<u32>,
    /// Manifest: image.
    pub image: Option<String>,
    /// Podman: id of the image.
    pub image_id: Option<String>,
    /// `starting`, `healthy` or `unhealthy`; absent if it does not run or nothing watches it.
    pub health: Option<String>,
    /// systemd: `StatusText`, what the agent says of itself.
    pub status_text: Option<String>,
    /// systemd: `WatchdogTimestamp`, the last sign of life, microseconds since 1970.
    pub last_alive_usec: Option<u64>,
    /// Memory in use, bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time used, nanoseconds.
    pub cpu_nsec: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// First host uid and gid of the container's range.
    pub uid_first: Option<u32>,
    /// Names of the commands.
    pub commands: Option<Vec<String>>,
    /// The same with the rules under which they run.
    pub command_terms: Option<Vec<CommandTerms>>,
}

/// A command, and what the manifest says of its runs, be it for the command or for the agent.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct CommandTerms {
    /// Its name.
    pub name: String,
    /// Time that one run has, milliseconds.
    pub timeout_ms: u64,
    /// Runs at most of a task that was accepted with 202; absent if it is not run again.
    pub attempts: Option<u16>,
    /// Longest wait before the second run, milliseconds.
    pub backoff_ms: Option<u64>,
    /// Longest wait before any run, milliseconds.
    pub max_backoff_ms: Option<u64>,
}

/// The host as a whole.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct HostStatus {
    /// Version of the supervisor.
    pub version: String,
    /// Why `config.json` is not applied; absent if it is.
    pub config_error: Option<String>,
    /// TCP port of the instances.
    pub port: u16,
    /// Active `ploinky@N.service` instances.
    pub instances: Vec<u32>,
    /// Listening `ploinky@N.socket` instances.
    pub sockets: Vec<u32>,
    /// All deployments, in brief.
    pub agents: Vec<AgentStatus>,
}
