//! The manifest as it is written: every key, every one optional that may be left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::raw_command::{RawCommand, RawRetry, commands_of, public_of, run_time};
use super::rules::{environment, size, static_path, value, within, words};
use super::{Container, Health, Manifest, ManifestError, Resources, Service, Worker};
use crate::limits::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, MANIFEST_TEXT_MAX_BYTES, TASK_TIMEOUT_DEFAULT,
    UPLOAD_DEFAULT_BYTES, WORKER_PROCESSES_MAX,
};
use crate::paths::CONTAINER_RUN_DEFAULT;
use crate::{AgentName, AllowedCommands, CommandName, ImageName};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    name: AgentName,
    #[serde(default)]
    about: String,
    #[serde(rename = "static")]
    static_directory: Option<String>,
    container: Option<ImageName>,
    run: Option<String>,
    #[serde(default)]
    commands: BTreeMap<CommandName, RawCommand>,
    worker: Option<RawWorker>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    health: RawHealth,
    #[serde(default)]
    resources: RawResources,
    timeout: Option<u64>,
    concurrency: Option<u16>,
    retry: Option<RawRetry>,
    uploads: Option<RawUploads>,
    // Left out if it says nothing: an agent-core from before an upgrade refuses keys that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<AllowedCommands>,
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

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawUploads {
    max: String,
}

impl From<&Manifest> for Raw {
    fn from(manifest: &Manifest) -> Self {
        let Manifest { name, about, service } = manifest;
        let raw = Self::named(name.clone(), about.clone());
        match service {
            Service::Static { directory } => {
                Self { static_directory: Some(directory.clone()), ..raw }
            }
            Service::Container(container) => container.to_raw(raw),
        }
    }
}

impl Container {
    fn to_raw(&self, raw: Raw) -> Raw {
        let Self {
            image,
            run,
            commands,
            worker,
            env,
            health,
            resources,
            timeout,
            concurrency,
            retry,
            upload_max_bytes,
            data,
            public,
        } = self;
        Raw {
            container: Some(image.clone()),
            run: run.as_ref().map(shell_words::join),
            commands: commands
                .iter()
                .map(|(name, command)| (name.clone(), RawCommand::from(command)))
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
            retry: retry.as_ref().map(RawRetry::from),
            uploads: Some(RawUploads { max: upload_max_bytes.to_string() }),
            data: data.then_some(true),
            public: public.clone(),
            ..raw
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
            retry: None,
            uploads: None,
            data: None,
            public: None,
        }
    }

    pub(super) fn check(self) -> Result<Manifest, ManifestError> {
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
            retry,
            uploads,
            data,
            public,
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
                    && concurrency.is_none()
                    && retry.is_none()
                    && uploads.is_none()
                    && data.is_none()
                    && public.is_none();
                if !plain {
                    return Err(value("static", "goes with `name` and `about` only".to_owned()));
                }
                Service::Static { directory: static_path(directory)? }
            }
            (None, Some(image)) => {
                let (commands, named_public) = commands_of(commands, worker.is_some())?;
                let public = public_of(public, named_public, &commands)?;
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
                    timeout: run_time(
                        "timeout",
                        timeout.unwrap_or(TASK_TIMEOUT_DEFAULT.as_secs()),
                    )?,
                    concurrency: within(
                        "concurrency",
                        concurrency.unwrap_or(CONCURRENCY_DEFAULT),
                        CONCURRENCY_MAX,
                    )?,
                    retry: retry.map(|retry| retry.check("retry")).transpose()?,
                    upload_max_bytes: uploads
                        .map_or(Ok(UPLOAD_DEFAULT_BYTES), RawUploads::check)?,
                    data: data.unwrap_or(false),
                    public,
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

impl RawUploads {
    fn check(self) -> Result<u64, ManifestError> {
        size("uploads.max", &self.max, 1..=1 << 40, "1 to 1024G")
    }
}

impl RawResources {
    fn check(self) -> Result<Resources, ManifestError> {
        let Self { memory, cpu, pids } = self;
        let memory_bytes = memory
            .map(|text| size("resources.memory", &text, 8 << 20..=1 << 40, "8M to 1024G"))
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
