//! Reads the configuration and the manifests, and makes the table of them. Blocks on the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploinky_contract::limits::{CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES};
use ploinky_contract::paths::{AgentDir, StateDir};
use ploinky_contract::{
    AgentId, Command, Config, ConfigError, Deployment, InvalidAgentId, Manifest, ManifestError,
    Service,
};
use ploinky_queue::{OpenError, Producer, ResultWatch};

use super::{Routes, Target};
use crate::byte_budget::ByteBudget;
use crate::orchestrator::{Agent, AgentQueue, FileQueue, Origin, Rules};
use crate::static_files::Site;

/// A new table and what it needs.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The table.
    pub(crate) routes: Routes,
    /// Queues that the old table did not have; each needs a watch.
    pub(crate) opened: Vec<(FileQueue, ResultWatch)>,
    /// Deployments that cannot be used.
    pub(crate) complaints: Vec<Complaint>,
}

/// Why a deployment cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Complaint {
    /// `domain/path`.
    pub(crate) place: String,
    /// The whole chain of reasons.
    pub(crate) reason: String,
}

/// Why there is no new table; the old one stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is refused.
    #[error("{} is refused", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The place in the file and the rule.
        source: ConfigError,
    },
}

/// Why one deployment cannot be used.
#[derive(Debug, thiserror::Error)]
enum DeploymentError {
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is refused", .path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("there is no agent id")]
    Id(#[source] InvalidAgentId),
    #[error("the path `/` serves files, but the agent has a container")]
    ContainerAtRoot,
    #[error("the agent serves files; deploy it at `/`")]
    FilesBelowRoot,
    #[error("cannot open the task queue")]
    Open(#[source] OpenError),
    #[error("cannot stat the task queue")]
    Stat(#[source] io::Error),
    #[error("cannot watch the task queue; is fs.inotify.max_user_instances too low?")]
    Watch(#[source] io::Error),
}

/// What new queues are made with.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    /// Who submits.
    pub(crate) origin: Origin,
    /// How much of results may be in memory.
    pub(crate) results: ByteBudget,
}

/// Reads everything anew. Queues whose directory is still the same are taken over from `previous`.
///
/// # Errors
/// When `config.json` cannot be read or is refused. A host without the file has no deployments.
pub(crate) fn load(
    state: &StateDir,
    previous: &Routes,
    making: &Making,
) -> Result<Loaded, LoadError> {
    let path = state.config();
    let config = match read_bounded(&path, CONFIG_MAX_BYTES) {
        Ok(text) => Config::parse(&text).map_err(|source| LoadError::Config { path, source })?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Config::default(),
        Err(source) => return Err(LoadError::Read { path, source }),
    };
    let mut loaded = Loaded { routes: Routes::empty(), opened: Vec::new(), complaints: Vec::new() };
    loaded.routes.settings = config.settings.clone();
    for domain in &config.domains {
        // A disabled domain is known and empty, so that `localhost` does not answer in its place.
        loaded.routes.add_domain(domain.name.clone());
    }
    let is_disabled = |deployment: &Deployment| {
        config.domains.iter().any(|domain| domain.name == deployment.domain && !domain.enabled)
    };
    for deployment in config.deployments.iter().filter(|d| d.enabled && !is_disabled(d)) {
        let found = target(state, deployment, previous, making, &mut loaded.opened);
        let target = found.unwrap_or_else(|e| {
            loaded.complaints.push(Complaint {
                place: format!("{}{}", deployment.domain, deployment.path),
                reason: ploinky_contract::chain(&e),
            });
            Target::Broken
        });
        loaded.routes.add(&deployment.domain, &deployment.path, target);
    }
    Ok(loaded)
}

fn target(
    state: &StateDir,
    deployment: &Deployment,
    previous: &Routes,
    making: &Making,
    opened: &mut Vec<(FileQueue, ResultWatch)>,
) -> Result<Target, DeploymentError> {
    match agent_or_site(state, deployment, previous, making, opened) {
        Ok(Target::Agent(agent)) if deployment.stopped => Ok(Target::Stopped(Some(agent))),
        // What does not run cannot be broken, to those who call it.
        Ok(_) | Err(_) if deployment.stopped => Ok(Target::Stopped(None)),
        found => found,
    }
}

fn agent_or_site(
    state: &StateDir,
    deployment: &Deployment,
    previous: &Routes,
    making: &Making,
    opened: &mut Vec<(FileQueue, ResultWatch)>,
) -> Result<Target, DeploymentError> {
    let directory = state.agent(&deployment.domain, &deployment.path);
    match (manifest(&directory)?.service, deployment.path.is_root()) {
        (Service::Static { directory: served }, true) => {
            Ok(Target::Files(Arc::new(Site::new(directory.code(), &served))))
        }
        (Service::Container(container), false) => {
            let id = deployment.id().map_err(DeploymentError::Id)?;
            let queue = queue(&directory, &id, previous, making, opened)?;
            let rules = |command: &Command| Rules {
                run: container.timeout_of(command),
                retry: container.retry_of(command),
            };
            let commands = container
                .commands
                .iter()
                .map(|(name, command)| (name.clone(), rules(command)))
                .collect();
            let place = format!("{}{}", deployment.domain, deployment.path);
            Ok(Target::Agent(Arc::new(Agent::new(id, place, commands, queue))))
        }
        (Service::Container(_), true) => Err(DeploymentError::ContainerAtRoot),
        (Service::Static { .. }, false) => Err(DeploymentError::FilesBelowRoot),
    }
}

fn manifest(directory: &AgentDir) -> Result<Manifest, DeploymentError> {
    let path = directory.manifest();
    match read_bounded(&path, MANIFEST_MAX_BYTES) {
        Ok(text) => {
            Manifest::parse(&text).map_err(|source| DeploymentError::Manifest { path, source })
        }
        Err(source) => Err(DeploymentError::Read { path, source }),
    }
}

fn queue(
    directory: &AgentDir,
    id: &AgentId,
    previous: &Routes,
    making: &Making,
    opened: &mut Vec<(FileQueue, ResultWatch)>,
) -> Result<FileQueue, DeploymentError> {
    let tasks = directory.tasks();
    let place = place_of(&tasks).map_err(DeploymentError::Stat)?;
    if let Some(known) = previous.queue_of(id)
        && known.calls().place() == place
    {
        return Ok(known.clone());
    }
    let producer = Arc::new(Producer::open(&tasks).map_err(DeploymentError::Open)?);
    // Not that of the path: it may be another directory by now.
    let place = producer.place().map_err(DeploymentError::Stat)?;
    let watch = producer.watch().map_err(DeploymentError::Watch)?;
    let Making { origin, results } = making.clone();
    let calls = AgentQueue::new(id.clone(), place, Arc::clone(&producer), results.clone());
    let queue = FileQueue::new(Arc::new(calls), producer, origin, results);
    opened.push((queue.clone(), watch));
    Ok(queue)
}

/// Device and inode: whether a directory is still the one that was opened.
fn place_of(tasks: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::symlink_metadata(tasks)?;
    Ok((about.dev(), about.ino()))
}

/// The bytes of a file, one more than allowed at most; whoever parses them refuses it then.
fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
