//! What an agent's author writes in `manifest.json`, and what Ploinky runs.
//!
//! The text becomes a [`Raw`] that knows every key, then a [`Manifest`] without options that mean "default".

mod raw;
mod raw_command;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::json::{self, Located};
use crate::limits::MANIFEST_MAX_BYTES;
use crate::{AgentName, AllowedCommands, CommandName, ImageName};

use raw::Raw;

/// Keys of the contract that this version does not carry out; taking them silently would be a lie.
const NOT_YET: [&str; 7] =
    ["install", "update", "replicas", "volumes", "secrets", "network", "idle"];

/// An agent as it will be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The agent's name.
    pub name: AgentName,
    /// One sentence for people.
    pub about: String,
    /// How requests are answered.
    pub service: Service,
}

/// The two kinds of agents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Service {
    /// Files of this sub-directory of the agent are served as they are; no container runs.
    Static {
        /// Relative path without `..`; `.` is the agent's directory itself.
        directory: String,
    },
    /// Commands are carried out in a container.
    Container(Box<Container>),
}

/// An agent with commands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// The image.
    pub image: ImageName,
    /// Words of the container's main process; `None` is `agent-core`.
    pub run: Option<Vec<String>>,
    /// What each command starts, and under which rules.
    pub commands: BTreeMap<CommandName, Command>,
    /// The persistent handler.
    pub worker: Option<Worker>,
    /// Environment of every handler.
    pub env: BTreeMap<String, String>,
    /// Probes.
    pub health: Health,
    /// Bounds that the kernel enforces.
    pub resources: Resources,
    /// Time that one run of a task has, if the command does not say otherwise. A call that is waited for has
    /// it from its submission on, at most [`SYNC_TIMEOUT_MAX`](crate::limits::SYNC_TIMEOUT_MAX).
    pub timeout: Duration,
    /// Handlers that run at once.
    pub concurrency: u16,
    /// How a task that was accepted with 202 is run again, if the command does not say otherwise.
    pub retry: Option<Retry>,
    /// Bytes of all files of one upload together.
    pub upload_max_bytes: u64,
    /// Whether it has a directory that redeployments leave as it is.
    pub data: bool,
    /// Commands that everybody may call. `None`: all where the domain has no agent at `/auth`, else none.
    pub public: Option<AllowedCommands>,
}

/// A command: what it starts, and where it differs from the agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// What it starts.
    pub handler: Handler,
    /// Time that one run has.
    pub timeout: Option<Duration>,
    /// Runs of this command at once; never more than the agent's.
    pub concurrency: Option<u16>,
    /// How a task that was accepted with 202 is run again.
    pub retry: Option<Retry>,
}

/// How a task that failed is run again: at least once instead of at most once. Only tasks that were accepted
/// with 202 are; a call that is waited for is the caller's to repeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retry {
    /// Runs at most, the first one included; 2 or more.
    pub attempts: u16,
    /// Longest wait before the second run; each further one may be twice as long. The wait is drawn at random
    /// between nothing and that, so that tasks that failed together do not come back together.
    pub backoff: Duration,
    /// Longest wait before any run.
    pub backoff_max: Duration,
}

/// What a command starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handler {
    /// A program per task: these words, then the parameters.
    Spawn(Vec<String>),
    /// A line to one of the persistent worker processes.
    Worker,
}

/// Processes that live as long as the container and take tasks as JSON lines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Worker {
    /// Words of the program.
    pub command: Vec<String>,
    /// How many run; each has one task at a time.
    pub processes: u16,
}

/// Probes that `agent-core` runs: exit status 0 means well.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Run by agent-core every 30 s; three failures in a row end the agent, which is started anew.
    pub liveness: Option<Vec<String>>,
    /// Must succeed once before the agent counts as started.
    pub readiness: Option<Vec<String>>,
}

/// Bounds of an agent's unit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resources {
    /// `MemoryMax=` in bytes.
    pub memory_bytes: Option<u64>,
    /// `CPUQuota=` in percent of one core.
    pub cpu_percent: Option<u32>,
    /// `PidsLimit=`.
    pub pids: Option<u32>,
}

/// Why a manifest was refused. `at` is the JSON path of the value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_MAX_BYTES`].
    #[error("the manifest has {length} bytes; {MANIFEST_MAX_BYTES} are allowed")]
    TooLong {
        /// Bytes found.
        length: usize,
    },
    /// The JSON is broken, has an unknown key or a value of the wrong type.
    #[error("`{at}`: {reason}")]
    Json {
        /// JSON path.
        at: String,
        /// The parser's words.
        reason: String,
    },
    /// The key belongs to the contract, but this version does not carry it out.
    #[error("`{key}`: this version of Ploinky does not support this key; remove it")]
    NotYet {
        /// The key.
        key: &'static str,
    },
    /// The value breaks a rule.
    #[error("`{at}`: {reason}")]
    Value {
        /// JSON path.
        at: String,
        /// The rule, with the value.
        reason: String,
    },
}

impl Command {
    /// A command without rules of its own.
    pub fn plain(handler: Handler) -> Self {
        Self { handler, timeout: None, concurrency: None, retry: None }
    }
}

impl Container {
    /// Time that one run of `command` has.
    pub fn timeout_of(&self, command: &Command) -> Duration {
        command.timeout.unwrap_or(self.timeout)
    }

    /// How a task of `command` is run again.
    pub fn retry_of(&self, command: &Command) -> Option<Retry> {
        command.retry.or(self.retry)
    }
}

impl Manifest {
    /// Parses and checks the text of a `manifest.json`.
    ///
    /// # Errors
    /// Names the JSON path, the value and the rule.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if MANIFEST_MAX_BYTES < text.len() {
            return Err(ManifestError::TooLong { length: text.len() });
        }
        if let Ok(keys) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text)
            && let Some(key) = NOT_YET.into_iter().find(|key| keys.contains_key(*key))
        {
            return Err(ManifestError::NotYet { key });
        }
        let raw: Raw = json::object(text)
            .map_err(|Located { at, reason }| ManifestError::Json { at, reason })?;
        raw.check()
    }

    /// The manifest of a directory that has none: all its files are served.
    pub fn of_plain_files(name: AgentName) -> Self {
        Self { name, about: String::new(), service: Service::Static { directory: ".".to_owned() } }
    }

    /// The text that [`Manifest::parse`] turns into an equal manifest.
    pub fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys cannot fail to serialise.
        serde_json::to_string_pretty(&Raw::from(self)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CONCURRENCY_DEFAULT, RETRY_BACKOFF_MAX_DEFAULT, TASK_TIMEOUT_DEFAULT};

    fn refused(text: &str) -> String {
        Manifest::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_refusal_names_key_and_rule() {
        for (text, expected) in [
            ("", "`.`: is not a JSON object"),
            ("[]", "`.`: is not a JSON object"),
            ("{", "`.`: EOF while parsing an object at line 1 column 1"),
            (r#"{"name":"a"}"#, "`container`: is missing"),
            (r#"{"name":"A","container":"x"}"#, "`name`: `A` is not an agent name"),
            (r#"{"name":"a","container":"-x"}"#, "`container`: `-x` is not an image name"),
            (r#"{"name":"a","container":"x","comands":{}}"#, "unknown field `comands`"),
            (r#"{"name":"a","name":"b","container":"x"}"#, "duplicate field `name`"),
            (r#"{"name":"a","container":"x"} x"#, "trailing characters"),
            (
                r#"{"name":"a","container":"x","volumes":[]}"#,
                "`volumes`: this version of Ploinky does not support",
            ),
            (r#"{"name":"a","container":"x","static":"."}"#, "`static`: excludes `container`"),
            (r#"{"name":"a","static":"../x"}"#, "`static`: `../x` is not a relative directory"),
            (r#"{"name":"a","static":"x","timeout":3}"#, "`static`: goes with"),
            (r#"{"name":"a","static":"x","data":true}"#, "`static`: goes with"),
            (r#"{"name":"a","container":"x","data":"/var"}"#, "`data`: invalid type: string"),
            (
                r#"{"name":"a","container":"x","commands":{"a/b":"c"}}"#,
                "`a/b` is not a command name",
            ),
            (r#"{"name":"a","container":"x","commands":{"a":""}}"#, "`commands.a`: is empty"),
            (
                r#"{"name":"a","container":"x","commands":{"a":"'x"}}"#,
                "`commands.a`: `\\'x` has a quote",
            ),
            (
                r#"{"name":"a","container":"x","commands":{"a":"--x"}}"#,
                "does not start with a program",
            ),
            (r#"{"name":"a","container":"x","commands":{"a":"worker"}}"#, "no key `worker`"),
            (r#"{"name":"a","container":"x","commands":{"a":1}}"#, "`commands.a`: invalid type"),
            (r#"{"name":"a","container":"x","commands":{"a":"x\u0000"}}"#, "control character"),
            (r#"{"name":"a","container":"x","env":{"A=B":"c"}}"#, "is not the name of a variable"),
            (
                r#"{"name":"a","container":"x","env":{"TASK_ID":"c"}}"#,
                "`env.TASK_ID`: is set by Ploinky",
            ),
            (
                r#"{"name":"a","container":"x","resources":{"memory":"1T"}}"#,
                "`resources.memory`: `1T`",
            ),
            (
                r#"{"name":"a","container":"x","resources":{"memory":"99999999999G"}}"#,
                "`resources.memory`",
            ),
            (
                r#"{"name":"a","container":"x","resources":{"cpu":"half"}}"#,
                "`resources.cpu`: `half`",
            ),
            (
                r#"{"name":"a","container":"x","resources":{"pids":0}}"#,
                "`resources.pids`: 0 is not in the range",
            ),
            (
                r#"{"name":"a","container":"x","timeout":0}"#,
                "`timeout`: 0 is not in the range 1 to 86400",
            ),
            (
                r#"{"name":"a","container":"x","timeout":86401}"#,
                "`timeout`: 86401 is not in the range",
            ),
            (r#"{"name":"a","container":"x","uploads":{"max":"0"}}"#, "`uploads.max`: `0`"),
            (
                r#"{"name":"a","container":"x","env":{"TASK_PROGRESS":"c"}}"#,
                "`env.TASK_PROGRESS`: is set by Ploinky",
            ),
            (r#"{"name":"a","container":"x","concurrency":-1}"#, "`concurrency`: invalid value"),
        ] {
            let found = refused(text);
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
        assert!(refused(&"[".repeat(65)).contains("deeper than 64"));
        assert!(refused(&" ".repeat(MANIFEST_MAX_BYTES + 1)).contains("are allowed"));
    }

    #[test]
    fn rules_of_retries_and_commands_are_checked() {
        for (text, expected) in [
            (
                r#"{"name":"a","container":"x","retry":{"attempts":1}}"#,
                "`retry.attempts`: 1 is not in the range 2 to 100; the first run counts",
            ),
            (
                r#"{"name":"a","container":"x","retry":{"attempts":2,"backoff":0.001}}"#,
                "`retry.backoff`: 0.001 is not in the range 0.01 to 86400 seconds",
            ),
            (
                r#"{"name":"a","container":"x","retry":{"attempts":2,"backoff":-1}}"#,
                "`retry.backoff`: -1 is not in the range",
            ),
            (
                r#"{"name":"a","container":"x","retry":{"attempts":2,"backoff":9,"maxBackoff":8}}"#,
                "`retry.maxBackoff`: is shorter than `retry.backoff`",
            ),
            (
                r#"{"name":"a","container":"x","commands":{"b":{"run":"c","retries":1}}}"#,
                "`commands.b.retries`: unknown field `retries`",
            ),
            (
                r#"{"name":"a","container":"x","commands":{"b":{"timeout":1}}}"#,
                "`commands.b`: missing field `run`",
            ),
            (
                r#"{"name":"a","container":"x","commands":{"b":{"run":"c","concurrency":65}}}"#,
                "`commands.b.concurrency`: 65 is not in the range 1 to 64",
            ),
        ] {
            let found = refused(text);
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
    }

    #[test]
    fn a_manifest_survives_being_written_and_read() {
        let text = r#"{"name":"full","about":"All keys","container":"localhost/x:1","run":"/bin/run -a 'b c'",
            "commands":{"a.b":"sh -c 'echo \"$@\"' --","c":"worker","d":"x.js",
            "e":{"run":"x.py","timeout":90,"concurrency":1,"retry":{"attempts":5,"maxBackoff":60}}},
            "worker":{"command":"node w.js","processes":3},"env":{"A":"$HOME %h \\ \" '"},
            "health":{"liveness":"true","readiness":"test -e /x"},
            "resources":{"memory":"256M","cpu":"50%","pids":64},"timeout":9,"concurrency":2,
            "retry":{"attempts":3,"backoff":0.25},"uploads":{"max":"2G"},"data":true}"#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(Manifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
        let Service::Container(container) = &manifest.service else { panic!("a container") };
        assert_eq!(
            container.commands["a.b".parse::<CommandName>().as_ref().unwrap()],
            Command::plain(Handler::Spawn(
                ["sh", "-c", "echo \"$@\"", "--"].map(str::to_owned).to_vec()
            ))
        );
        assert_eq!(container.resources.memory_bytes, Some(256 << 20));
        assert_eq!((container.upload_max_bytes, container.data), (2 << 30, true));
        let [plain, ruled] = ["d", "e"].map(|name| &container.commands[&name.parse().unwrap()]);
        let second = Duration::from_secs(1);
        let of_agent =
            Retry { attempts: 3, backoff: second / 4, backoff_max: RETRY_BACKOFF_MAX_DEFAULT };
        let own = Retry { attempts: 5, backoff: second, backoff_max: 60 * second };
        let both = |command| (container.timeout_of(command), container.retry_of(command));
        assert_eq!(both(plain), (9 * second, Some(of_agent)));
        assert_eq!(both(ruled), (90 * second, Some(own)));
        let plain = Manifest::of_plain_files("site".parse().unwrap());
        assert_eq!(Manifest::parse(plain.to_json().as_bytes()).unwrap(), plain);
    }

    #[test]
    fn the_default_run_is_no_run() {
        let manifest =
            Manifest::parse(br#"{"name":"a","container":"x","run":"/agentCore/run.sh"}"#).unwrap();
        let Service::Container(container) = manifest.service else { panic!("a container") };
        assert_eq!(
            (container.run, container.timeout, container.concurrency),
            (None, TASK_TIMEOUT_DEFAULT, CONCURRENCY_DEFAULT)
        );
    }

    #[test]
    fn an_agent_core_of_an_earlier_version_can_read_a_manifest_that_asks_for_no_data() {
        for text in
            [r#"{"name":"a","container":"x"}"#, r#"{"name":"a","container":"x","data":false}"#]
        {
            let written = Manifest::parse(text.as_bytes()).unwrap().to_json();
            assert!(!written.contains("\"data\""), "{written}");
        }
    }
}
