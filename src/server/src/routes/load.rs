//! Reads the configuration and the manifests, and makes the table of them. Blocks on the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploinky_contract::limits::{CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES};
use ploinky_contract::paths::{AgentDir, RuntimeDir, StateDir};
use ploinky_contract::{
    AgentId, Command, Config, ConfigError, Deployment, InvalidAgentId, Manifest, ManifestError,
    Service,
};
use ploinky_queue::{OpenError, Producer, ResultWatch, SyncProducer};

use super::{Routes, Target};
use crate::byte_budget::ByteBudget;
use crate::guardian::Gate;
use crate::orchestrator::{
    Abilities, Agent, AgentQueue, Callbacks, FileQueue, Lanes, Origin, Place, Places, Rules,
};
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
    /// Where the queues in memory are.
    pub(crate) runtime: RuntimeDir,
    /// How much of results may be in memory.
    pub(crate) results: ByteBudget,
    /// Where outcomes are to be posted.
    pub(crate) callbacks: Callbacks,
}

/// A queue in memory that an agent should have: where, and which one is in use.
#[derive(Debug)]
pub(crate) struct WantedLane {
    path: PathBuf,
    place: Option<(u64, u64)>,
}

impl WantedLane {
    /// Whether there is another one than is in use.
    pub(crate) fn has_changed(&self) -> bool {
        place_of(&self.path).ok() != self.place
    }
}

/// Reads everything anew. Queues whose directories are still the same are taken over from `previous`.
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
        loaded.routes.auth.insert(domain.name.clone(), domain.auth.clone());
        // A disabled domain is known and empty, so that `localhost` does not answer in its place.
        loaded.routes.add_domain(domain.name.clone());
    }
    let is_disabled = |deployment: &Deployment| {
        config.domains.iter().any(|domain| domain.name == deployment.domain && !domain.enabled)
    };
    for deployment in config.deployments.iter().filter(|d| d.enabled && !is_disabled(d)) {
        let found = target(state, &config, deployment, previous, making, &mut loaded);
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
    config: &Config,
    deployment: &Deployment,
    previous: &Routes,
    making: &Making,
    loaded: &mut Loaded,
) -> Result<Target, DeploymentError> {
    match agent_or_site(state, config, deployment, previous, making, loaded) {
        Ok(Target::Agent(agent)) if deployment.stopped => Ok(Target::Stopped(Some(agent))),
        // What does not run cannot be broken, to those who call it.
        Ok(_) | Err(_) if deployment.stopped => Ok(Target::Stopped(None)),
        found => found,
    }
}

fn agent_or_site(
    state: &StateDir,
    config: &Config,
    deployment: &Deployment,
    previous: &Routes,
    making: &Making,
    loaded: &mut Loaded,
) -> Result<Target, DeploymentError> {
    let directory = state.agent(&deployment.domain, &deployment.path);
    match (manifest(&directory)?.service, deployment.path.is_root()) {
        (Service::Static { directory: served }, true) => {
            Ok(Target::Files(Arc::new(Site::new(directory.code(), &served))))
        }
        (Service::Container(container), false) => {
            let id = deployment.id().map_err(DeploymentError::Id)?;
            let at = Place { domain: deployment.domain.clone(), path: deployment.path.clone() };
            // Only our own runner knows the queue in memory.
            let lane = container.run.is_none().then(|| making.runtime.sync_of(&id));
            let queue = queue(&directory, &id, at, lane, previous, making, loaded)?;
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
            let abilities = Abilities {
                upload_max_bytes: container.upload_max_bytes,
                has_streams: container.run.is_none(),
            };
            let gate = Gate {
                path: deployment.path.clone(),
                public: container.public.clone(),
                has_auth: config.has_auth(&deployment.domain),
            };
            Ok(Target::Agent(Arc::new(Agent::new(id, place, commands, abilities, gate, queue))))
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
    at: Place,
    lane: Option<PathBuf>,
    previous: &Routes,
    making: &Making,
    loaded: &mut Loaded,
) -> Result<FileQueue, DeploymentError> {
    let tasks = directory.tasks();
    let places = Places {
        disk: place_of(&tasks).map_err(DeploymentError::Stat)?,
        // It comes with the agent's unit, and may be missing until then.
        memory: lane.as_deref().and_then(|lane| place_of(lane).ok()),
    };
    let queue = match previous.queue_of(id) {
        Some(known) if known.calls().places() == places => known.clone(),
        _ => {
            let memory = lane
                .as_deref()
                .filter(|_| places.memory.is_some())
                .and_then(|lane| open_lane(lane, making.origin.submitter.instance, id, loaded));
            let disk = Arc::new(Producer::open(&tasks).map_err(DeploymentError::Open)?);
            let lanes = Lanes::new(disk, memory);
            // Not those of the paths: they may be other directories by now.
            let places = lanes.places().map_err(DeploymentError::Stat)?;
            let watch = lanes.watch().map_err(DeploymentError::Watch)?;
            let calls = AgentQueue::new(id.clone(), places, lanes, making.results.clone());
            let queue = FileQueue::new(Arc::new(calls), at, making.clone());
            loaded.opened.push((queue.clone(), watch));
            queue
        }
    };
    if let Some(path) = lane {
        let place = queue.calls().places().memory;
        loaded.routes.want_lane(WantedLane { path, place });
    }
    Ok(queue)
}

/// The queue in memory; without it calls go through the disk.
fn open_lane(
    path: &Path,
    instance: u16,
    id: &AgentId,
    loaded: &mut Loaded,
) -> Option<SyncProducer> {
    match SyncProducer::open(path, instance) {
        Ok(lane) => Some(lane),
        Err(error) => {
            let reason = ploinky_contract::chain(&error);
            loaded.complaints.push(Complaint { place: format!("the memory of {id}"), reason });
            None
        }
    }
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
