//! The shapes that `--json` prints. They are documented in ploinkyctl(8): keys are added, never changed.
//!
//! Every key is always there; what is not known is `null`.

use std::time::Duration;

use ploinky_control::{AgentStatus, CommandTerms, HostStatus};
use serde::Serialize;

use crate::output::Tone;
use crate::words;

/// What an agent is doing, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its container runs.
    Running,
    /// Its files are served.
    Served,
    /// Its unit starts.
    Starting,
    /// Its unit waits to start again after a failure.
    Restarting,
    /// Its unit stops.
    Stopping,
    /// The admin stopped it.
    Stopped,
    /// It is switched off in `config.json`.
    Disabled,
    /// Its unit failed and is not started again.
    Failed,
    /// It should run and does not.
    Down,
    /// The service manager did not say.
    Unknown,
}

impl State {
    /// From what the supervisor wants and what systemd says.
    pub(crate) fn of(agent: &AgentStatus) -> Self {
        if !agent.enabled {
            return Self::Disabled;
        }
        if agent.kind == "static" {
            return if agent.stopped { Self::Stopped } else { Self::Served };
        }
        match (agent.active_state.as_deref(), agent.sub_state.as_deref()) {
            (Some("deactivating"), _) => Self::Stopping,
            _ if agent.stopped => Self::Stopped,
            (Some("active" | "reloading"), _) => Self::Running,
            (Some("activating"), Some("auto-restart" | "auto-restart-queued")) => Self::Restarting,
            (Some("activating"), _) => Self::Starting,
            (Some("failed"), _) => Self::Failed,
            (Some("inactive"), _) => Self::Down,
            (Some(_) | None, _) => Self::Unknown,
        }
    }

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Served => "served",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// How it stands out.
    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Running | Self::Served => Tone::Good,
            Self::Starting | Self::Stopping | Self::Unknown => Tone::Notice,
            Self::Stopped | Self::Disabled => Tone::Faint,
            Self::Failed | Self::Down | Self::Restarting => Tone::Bad,
        }
    }
}

/// One deployment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentReport {
    id: String,
    domain: String,
    path: String,
    agent: String,
    kind: String,
    state: State,
    enabled: bool,
    stopped: bool,
    problem: Option<String>,
    release: Option<String>,
    unit: Option<String>,
    active_state: Option<String>,
    sub_state: Option<String>,
    result: Option<String>,
    restarts: Option<u32>,
    active_since: Option<String>,
    container: Option<String>,
    container_id: Option<String>,
    container_state: Option<String>,
    image: Option<String>,
    image_id: Option<String>,
    pid: Option<u32>,
    health: Option<String>,
    status_text: Option<String>,
    last_alive: Option<String>,
    memory_bytes: Option<u64>,
    cpu_nsec: Option<u64>,
    pids: Option<u64>,
    uid_first: Option<u32>,
    commands: Option<Vec<String>>,
    command_terms: Option<Vec<TermsReport>>,
}

/// A command and the rules under which it runs, in the words and units of the manifest.
#[derive(Debug, Serialize)]
struct TermsReport {
    name: String,
    timeout: f64,
    retry: Option<RetryReport>,
}

/// How a task that failed is run again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryReport {
    attempts: u16,
    backoff: f64,
    max_backoff: f64,
}

impl From<AgentStatus> for AgentReport {
    fn from(agent: AgentStatus) -> Self {
        let state = State::of(&agent);
        let AgentStatus {
            id,
            domain,
            path,
            agent,
            kind,
            enabled,
            stopped,
            release,
            problem,
            unit,
            active_state,
            sub_state,
            restarts,
            active_since_usec,
            result,
            container,
            container_id,
            container_state,
            pid,
            image,
            image_id,
            health,
            status_text,
            last_alive_usec,
            memory_bytes,
            cpu_nsec,
            pids,
            uid_first,
            commands,
            command_terms,
        } = agent;
        Self {
            id,
            domain,
            path,
            agent,
            kind,
            state,
            enabled,
            stopped,
            problem,
            release,
            unit,
            active_state,
            sub_state,
            result,
            restarts,
            active_since: active_since_usec.and_then(words::moment),
            container,
            container_id,
            container_state,
            image,
            image_id,
            pid,
            health,
            status_text,
            last_alive: last_alive_usec.and_then(words::moment),
            memory_bytes,
            cpu_nsec,
            pids,
            uid_first,
            commands,
            command_terms: command_terms
                .map(|terms| terms.into_iter().map(TermsReport::from).collect()),
        }
    }
}

impl From<CommandTerms> for TermsReport {
    fn from(terms: CommandTerms) -> Self {
        let CommandTerms { name, timeout_ms, attempts, backoff_ms, max_backoff_ms } = terms;
        let seconds = |ms| Duration::from_millis(ms).as_secs_f64();
        let retry = attempts.map(|attempts| RetryReport {
            attempts,
            backoff: seconds(backoff_ms.unwrap_or(0)),
            max_backoff: seconds(max_backoff_ms.unwrap_or(0)),
        });
        Self { name, timeout: seconds(timeout_ms), retry }
    }
}

/// The host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostReport {
    version: String,
    config: ConfigReport,
    port: u16,
    instances: Vec<InstanceReport>,
    agents: Vec<AgentReport>,
}

#[derive(Debug, Serialize)]
struct ConfigReport {
    ok: bool,
    error: Option<String>,
}

/// One `ploinky@N`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct InstanceReport {
    /// N.
    pub(crate) number: u32,
    /// The service is active.
    pub(crate) service: bool,
    /// The socket listens.
    pub(crate) socket: bool,
}

impl InstanceReport {
    /// All instances of which the service, the socket or both are there.
    pub(crate) fn all(host: &HostStatus) -> Vec<Self> {
        let mut numbers: Vec<u32> = host.instances.iter().chain(&host.sockets).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .map(|number| Self {
                number,
                service: host.instances.contains(&number),
                socket: host.sockets.contains(&number),
            })
            .collect()
    }

    /// What the instance does, in one word.
    pub(crate) fn word(self) -> (&'static str, Tone) {
        match (self.service, self.socket) {
            (true, true) => ("running", Tone::Good),
            (false, true) => ("waiting", Tone::Notice),
            (true, false) => ("deaf", Tone::Bad),
            (false, false) => ("stopped", Tone::Faint),
        }
    }
}

impl From<HostStatus> for HostReport {
    fn from(host: HostStatus) -> Self {
        let instances = InstanceReport::all(&host);
        let HostStatus { version, config_error, port, instances: _, sockets: _, agents } = host;
        Self {
            version,
            config: ConfigReport { ok: config_error.is_none(), error: config_error },
            port,
            instances,
            agents: agents.into_iter().map(AgentReport::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_follows_what_is_wanted_before_what_is() {
        let container = |enabled, stopped, active: Option<&str>, sub: &str| {
            State::of(&AgentStatus {
                kind: "container".into(),
                enabled,
                stopped,
                active_state: active.map(str::to_owned),
                sub_state: Some(sub.into()),
                ..AgentStatus::default()
            })
        };
        for (found, expected) in [
            (container(false, false, Some("active"), "running"), State::Disabled),
            (container(true, true, Some("inactive"), "dead"), State::Stopped),
            (container(true, true, Some("deactivating"), "stop"), State::Stopping),
            (container(true, false, Some("failed"), "failed"), State::Failed),
            (container(true, false, Some("inactive"), "dead"), State::Down),
            (container(true, false, Some("activating"), "auto-restart"), State::Restarting),
            (container(true, false, Some("activating"), "start"), State::Starting),
            (container(true, false, None, ""), State::Unknown),
            (container(true, false, Some("active"), "running"), State::Running),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_manual_page_names_every_key_of_an_agent() {
        let page = include_str!("../man/tail.roff");
        let shape = page.split(".SS").nth(1).unwrap();
        let documented: Vec<&str> =
            shape.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
        let report = serde_json::to_string(&AgentReport::from(AgentStatus::default())).unwrap();
        let keys: Vec<&str> =
            report.split('"').filter(|word| report.contains(&format!("\"{word}\":"))).collect();
        assert_eq!(documented, keys);
    }

    #[test]
    fn an_instance_without_a_socket_hears_nothing() {
        let host =
            HostStatus { instances: vec![1, 3], sockets: vec![2, 1], ..HostStatus::default() };
        let words: Vec<_> =
            InstanceReport::all(&host).iter().map(|i| (i.number, i.word().0)).collect();
        assert_eq!(words, [(1, "running"), (2, "waiting"), (3, "deaf")]);
    }
}
