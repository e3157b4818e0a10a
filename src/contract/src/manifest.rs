//! What an agent's author writes in `manifest.json`, and what Ploinky runs.
//!
//! The text becomes a [`Raw`] that knows every key, then a [`Manifest`] without options that mean "default".

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::json::{self, Located};
use crate::limits::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, HANDLER_WORDS_MAX, MANIFEST_COMMANDS_MAX,
    MANIFEST_ENV_MAX, MANIFEST_MAX_BYTES, MANIFEST_TEXT_MAX_BYTES, TASK_TIMEOUT_DEFAULT,
    TASK_TIMEOUT_MAX, WORKER_PROCESSES_MAX,
};
use crate::paths::CONTAINER_RUN_DEFAULT;
use crate::{AgentName, CommandName, ImageName};

/// Keys of the contract that this version does not carry out; taking them silently would be a lie.
const NOT_YET: [&str; 9] =
    ["install", "update", "replicas", "retry", "volumes", "secrets", "network", "idle", "public"];

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
    /// What each command starts.
    pub commands: BTreeMap<CommandName, Handler>,
    /// The persistent handler.
    pub worker: Option<Worker>,
    /// Environment of every handler.
    pub env: BTreeMap<String, String>,
    /// Probes.
    pub health: Health,
    /// Bounds that the kernel enforces.
    pub resources: Resources,
    /// Time that a task has, queueing included.
    pub timeout: Duration,
    /// Handlers that run at once.
    pub concurrency: u16,
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
    /// Run by Podman's health check besides agent-core's own.
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

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: AgentName,
    #[serde(default)]
    about: String,
    #[serde(rename = "static")]
    static_directory: Option<String>,
    container: Option<ImageName>,
    run: Option<String>,
    #[serde(default)]
    commands: BTreeMap<CommandName, String>,
    worker: Option<RawWorker>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    health: RawHealth,
    #[serde(default)]
    resources: RawResources,
    timeout: Option<u64>,
    concurrency: Option<u16>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawWorker {
    command: String,
    processes: Option<u16>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawHealth {
    liveness: Option<String>,
    readiness: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawResources {
    memory: Option<String>,
    cpu: Option<String>,
    pids: Option<u32>,
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
        let Self { name, about, service } = self;
        let raw = match service {
            Service::Static { directory } => Raw {
                static_directory: Some(directory.clone()),
                ..Raw::named(name.clone(), about.clone())
            },
            Service::Container(container) => {
                container.to_raw(Raw::named(name.clone(), about.clone()))
            }
        };
        // Strings, numbers and maps with string keys cannot fail to serialise.
        serde_json::to_string_pretty(&raw).unwrap_or_default()
    }
}

impl Container {
    fn to_raw(&self, raw: Raw) -> Raw {
        let Self { image, run, commands, worker, env, health, resources, timeout, concurrency } =
            self;
        Raw {
            container: Some(image.clone()),
            run: run.as_ref().map(shell_words::join),
            commands: commands
                .iter()
                .map(|(name, handler)| (name.clone(), handler.to_text()))
                .collect(),
            worker: worker.as_ref().map(|Worker { command, processes }| RawWorker {
                command: shell_words::join(command),
                processes: Some(*processes),
            }),
            env: env.clone(),
            health: RawHealth {
                liveness: health.liveness.as_ref().map(shell_words::join),
                readiness: health.readiness.as_ref().map(shell_words::join),
            },
            resources: RawResources {
                memory: resources.memory_bytes.map(|bytes| bytes.to_string()),
                cpu: resources.cpu_percent.map(|percent| format!("{percent}%")),
                pids: resources.pids,
            },
            timeout: Some(timeout.as_secs()),
            concurrency: Some(*concurrency),
            ..raw
        }
    }
}

impl Handler {
    fn to_text(&self) -> String {
        match self {
            Self::Worker => "worker".to_owned(),
            Self::Spawn(words) => shell_words::join(words),
        }
    }
}

impl Raw {
    fn named(name: AgentName, about: String) -> Self {
        Self {
            name,
            about,
            static_directory: None,
            container: None,
            run: None,
            commands: BTreeMap::new(),
            worker: None,
            env: BTreeMap::new(),
            health: RawHealth::default(),
            resources: RawResources::default(),
            timeout: None,
            concurrency: None,
        }
    }

    fn check(self) -> Result<Manifest, ManifestError> {
        let Self {
            name,
            about,
            static_directory,
            container,
            run,
            commands,
            worker,
            env,
            health,
            resources,
            timeout,
            concurrency,
        } = self;
        if MANIFEST_TEXT_MAX_BYTES < about.len() {
            return Err(value(
                "about",
                format!("has {} bytes; {MANIFEST_TEXT_MAX_BYTES} are allowed", about.len()),
            ));
        }
        let service = match (static_directory, container) {
            (None, None) => {
                return Err(value(
                    "container",
                    "is missing: name an image, or use `static` to serve files".to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(value(
                    "static",
                    "excludes `container`: an agent serves files or runs commands".to_owned(),
                ));
            }
            (Some(directory), None) => {
                let plain = run.is_none()
                    && commands.is_empty()
                    && worker.is_none()
                    && env.is_empty()
                    && timeout.is_none()
                    && concurrency.is_none();
                if !plain {
                    return Err(value("static", "goes with `name` and `about` only".to_owned()));
                }
                Service::Static { directory: static_path(directory)? }
            }
            (None, Some(image)) => {
                let commands = handlers(commands, worker.is_some())?;
                Service::Container(Box::new(Container {
                    image,
                    run: match run {
                        Some(text) if text != CONTAINER_RUN_DEFAULT => Some(words("run", &text)?),
                        Some(_) | None => None,
                    },
                    commands,
                    worker: worker.map(RawWorker::check).transpose()?,
                    env: environment(env)?,
                    health: Health {
                        liveness: health
                            .liveness
                            .map(|text| words("health.liveness", &text))
                            .transpose()?,
                        readiness: health
                            .readiness
                            .map(|text| words("health.readiness", &text))
                            .transpose()?,
                    },
                    resources: resources.check()?,
                    timeout: Duration::from_secs(within(
                        "timeout",
                        timeout.unwrap_or(TASK_TIMEOUT_DEFAULT.as_secs()),
                        TASK_TIMEOUT_MAX.as_secs(),
                    )?),
                    concurrency: within(
                        "concurrency",
                        concurrency.unwrap_or(CONCURRENCY_DEFAULT),
                        CONCURRENCY_MAX,
                    )?,
                }))
            }
        };
        Ok(Manifest { name, about, service })
    }
}

impl RawWorker {
    fn check(self) -> Result<Worker, ManifestError> {
        let processes =
            within("worker.processes", self.processes.unwrap_or(1), WORKER_PROCESSES_MAX)?;
        Ok(Worker { command: words("worker.command", &self.command)?, processes })
    }
}

impl RawResources {
    fn check(self) -> Result<Resources, ManifestError> {
        let Self { memory, cpu, pids } = self;
        let memory_bytes = memory
            .map(|text| {
                let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
                    Some(digits) => (digits, text.chars().last()),
                    None => (text.as_str(), None),
                };
                let factor = match unit {
                    Some('K') => 1_u64 << 10,
                    Some('M') => 1 << 20,
                    Some('G') => 1 << 30,
                    Some(_) | None => 1,
                };
                let bytes =
                    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
                match bytes {
                    Some(bytes) if (8 << 20..=1 << 40).contains(&bytes) => Ok(bytes),
                    Some(_) | None => Err(value(
                        "resources.memory",
                        format!(
                            "`{}` is not a size from 8M to 1024G, such as `256M` or `1G`",
                            text.escape_debug()
                        ),
                    )),
                }
            })
            .transpose()?;
        let cpu_percent = cpu
            .map(|text| {
                match text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok()) {
                    Some(percent) if (1..=10_000).contains(&percent) => Ok(percent),
                    Some(_) | None => Err(value(
                        "resources.cpu",
                        format!(
                            "`{}` is not a share from 1% to 10000% of one core, such as `50%`",
                            text.escape_debug()
                        ),
                    )),
                }
            })
            .transpose()?;
        let pids = pids.map(|pids| within("resources.pids", pids, 32_768)).transpose()?;
        Ok(Resources { memory_bytes, cpu_percent, pids })
    }
}

fn value(at: &str, reason: String) -> ManifestError {
    ManifestError::Value { at: at.to_owned(), reason }
}

fn within<N: PartialOrd + From<u8> + std::fmt::Display + Copy>(
    at: &str,
    number: N,
    most: N,
) -> Result<N, ManifestError> {
    if (N::from(1)..=most).contains(&number) {
        Ok(number)
    } else {
        Err(value(at, format!("{number} is not in the range 1 to {most}")))
    }
}

fn words(at: &str, text: &str) -> Result<Vec<String>, ManifestError> {
    if MANIFEST_TEXT_MAX_BYTES < text.len() {
        return Err(value(
            at,
            format!("has {} bytes; {MANIFEST_TEXT_MAX_BYTES} are allowed", text.len()),
        ));
    }
    if let Some(found) = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t') {
        return Err(value(at, format!("holds the control character {}", found.escape_unicode())));
    }
    let words = shell_words::split(text).map_err(|_unclosed| {
        value(at, format!("`{}` has a quote that does not end", text.escape_debug()))
    })?;
    match words.first() {
        None => Err(value(at, "is empty".to_owned())),
        Some(program) if program.is_empty() || program.starts_with('-') => {
            Err(value(at, format!("`{}` does not start with a program", text.escape_debug())))
        }
        Some(_) if HANDLER_WORDS_MAX < words.len() => {
            Err(value(at, format!("has {} words; {HANDLER_WORDS_MAX} are allowed", words.len())))
        }
        Some(_) => Ok(words),
    }
}

fn handlers(
    commands: BTreeMap<CommandName, String>,
    has_worker: bool,
) -> Result<BTreeMap<CommandName, Handler>, ManifestError> {
    if MANIFEST_COMMANDS_MAX < commands.len() {
        return Err(value(
            "commands",
            format!("has {} entries; {MANIFEST_COMMANDS_MAX} are allowed", commands.len()),
        ));
    }
    commands
        .into_iter()
        .map(|(name, text)| {
            let at = format!("commands.{name}");
            let handler = match text.as_str() {
                "worker" if has_worker => Handler::Worker,
                "worker" => {
                    return Err(value(
                        &at,
                        "is `worker`, but the manifest has no key `worker`".to_owned(),
                    ));
                }
                text => Handler::Spawn(words(&at, text)?),
            };
            Ok((name, handler))
        })
        .collect()
}

fn environment(env: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ManifestError> {
    if MANIFEST_ENV_MAX < env.len() {
        return Err(value(
            "env",
            format!("has {} entries; {MANIFEST_ENV_MAX} are allowed", env.len()),
        ));
    }
    for (name, text) in &env {
        let at = format!("env.{}", name.escape_debug());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.len() <= 128;
        if !is_name {
            return Err(value(
                &at,
                "is not the name of a variable: use A-Z a-z 0-9 _, at most 128".to_owned(),
            ));
        }
        if ["TASK_ID", "TASK_COMMAND", "RUN_FOR_USER_ID", "AGENT_DIR"].contains(&name.as_str()) {
            return Err(value(&at, "is set by Ploinky for each task".to_owned()));
        }
        if text.contains('\0') || MANIFEST_TEXT_MAX_BYTES < text.len() {
            return Err(value(
                &at,
                format!("must have no NUL and at most {MANIFEST_TEXT_MAX_BYTES} bytes"),
            ));
        }
    }
    Ok(env)
}

fn static_path(directory: String) -> Result<String, ManifestError> {
    let plain = Path::new(&directory).components().all(|part| match part {
        Component::CurDir => true,
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        Component::Prefix(_) | Component::RootDir | Component::ParentDir => false,
    });
    if plain && !directory.is_empty() && directory.len() <= 255 && !directory.contains('\0') {
        Ok(directory)
    } else {
        Err(value(
            "static",
            format!(
                "`{}` is not a relative directory without `..` and hidden parts",
                directory.escape_debug()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "`timeout`: 0 is not in the range 1 to 300",
            ),
            (r#"{"name":"a","container":"x","timeout":301}"#, "`timeout`: 301 is not in the range"),
            (r#"{"name":"a","container":"x","concurrency":-1}"#, "`concurrency`: invalid value"),
        ] {
            let found = refused(text);
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
        assert!(refused(&"[".repeat(65)).contains("deeper than 64"));
        assert!(refused(&" ".repeat(MANIFEST_MAX_BYTES + 1)).contains("are allowed"));
    }

    #[test]
    fn a_manifest_survives_being_written_and_read() {
        let text = r#"{"name":"full","about":"All keys","container":"localhost/x:1","run":"/bin/run -a 'b c'",
            "commands":{"a.b":"sh -c 'echo \"$@\"' --","c":"worker","d":"x.js"},
            "worker":{"command":"node w.js","processes":3},"env":{"A":"$HOME %h \\ \" '"},
            "health":{"liveness":"true","readiness":"test -e /x"},
            "resources":{"memory":"256M","cpu":"50%","pids":64},"timeout":9,"concurrency":2}"#;
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(Manifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
        let Service::Container(container) = &manifest.service else { panic!("a container") };
        assert_eq!(
            container.commands["a.b".parse::<CommandName>().as_ref().unwrap()],
            Handler::Spawn(["sh", "-c", "echo \"$@\"", "--"].map(str::to_owned).to_vec())
        );
        assert_eq!(container.resources.memory_bytes, Some(256 << 20));
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
}
