//! The life of the process: set up in order, serve, drain, end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ploinky_contract::limits::TASK_LINES_SUMMARY;
use ploinky_contract::paths::{RuntimeDir, StateDir};
use ploinky_queue::{InstanceLock, InvalidBootId, Submitter, boot_id, parse_boot_id};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::clients::Clients;
use crate::edge::Edge;
use crate::grants::Grants;
use crate::listener::{self, Doors, Inherited};
use crate::orchestrator::{Origin, random_id};
use crate::reload::{Reloader, Table};
use crate::supervisor::Supervisor;
use crate::task_key::TaskKey;
use crate::{janitor, readiness};

/// Threads for disks that may be slow: tasks that are made durable, static files in blocks, loading, sweeping.
const BLOCKING_THREADS_MAX: usize = 32;
/// The boot id, from systemd's `%b`; `ProcSubset=pid` hides the kernel's file.
const BOOT_ID: &str = "PLOINKY_BOOT_ID";
/// The name of this life of the unit, from systemd.
const INVOCATION_ID: &str = "INVOCATION_ID";

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The event loop cannot be set up.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
    /// The boot id is unknown.
    #[error("cannot tell the boot: set PLOINKY_BOOT_ID where /proc/sys is hidden")]
    Boot(#[source] io::Error),
    /// The boot id is none.
    #[error("PLOINKY_BOOT_ID is wrong")]
    BootId(#[source] InvalidBootId),
    /// There are no random bytes.
    #[error("cannot make up an invocation id")]
    Invocation(#[source] io::Error),
    /// The lock that says that this process lives cannot be held.
    #[error("cannot hold the lock of this instance in {}", .directory.display())]
    Lock {
        /// Its directory.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The listening sockets cannot be used.
    #[error("cannot use the listening socket")]
    Sockets(#[source] io::Error),
}

/// Serves `sockets` until `stop` is done and the drain is over.
///
/// # Errors
/// When something needed is missing; nothing was served then.
pub fn serve(
    arguments: &Arguments,
    sockets: Inherited,
    stop: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let Arguments { instance, state, runtime, listen: _, admin_socket: _ } = arguments;
    let origin = Origin {
        boot_id: this_boot()?,
        submitter: Submitter { instance: *instance, invocation: this_invocation()? },
    };
    let instances = janitor::instances(runtime);
    let alive = InstanceLock::hold(&instances, &origin.submitter.invocation)
        .map_err(|source| StartError::Lock { directory: instances.clone(), source })?;
    let lock_file = instances.join(&origin.submitter.invocation);
    let event_loop = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(StartError::Runtime)?;
    event_loop.block_on(async {
        let doors = Doors::new(sockets).map_err(StartError::Sockets)?;
        run(StateDir::new(state), RuntimeDir::new(runtime), origin, doors, stop).await;
        Ok(())
    })?;
    // Without the file this process counts as dead, which it is now.
    std::fs::remove_file(lock_file).ok();
    drop(alive);
    Ok(())
}

async fn run(
    state: StateDir,
    runtime: RuntimeDir,
    origin: Origin,
    doors: Doors,
    stop: impl Future<Output = ()>,
) {
    let table = Table::default();
    let (instance, key) = (origin.submitter.instance, TaskKey::new(&state));
    let clients = Arc::new(Clients::new(table.clone()));
    let grants = Grants::new(&state);
    let edge = Edge::new(
        table.clone(),
        instance,
        Arc::clone(&clients),
        grants.clone(),
        Supervisor::new(&runtime),
        key,
        Instant::now(),
    );
    let edge = Arc::new(edge);
    let instances = runtime.instances();
    let reloader = Reloader::start(state, runtime, origin.clone(), table.clone()).await;
    // The queues must be watched as long as requests wait.
    let (end, ended) = oneshot::channel::<()>();
    let reloading = tokio::spawn(reloader.run(async move {
        ended.await.ok();
    }));
    let mut aside = JoinSet::new();
    aside.spawn(readiness::watchdog());
    aside.spawn(janitor::run(table, grants, origin, instances));
    aside.spawn(summaries(Arc::clone(&edge)));
    readiness::ready();
    tracing::info!("serving as instance {}", edge.instance());
    let ending = Arc::clone(&edge);
    let stop = async move {
        stop.await;
        readiness::stopping();
        ending.end_streams();
        tracing::info!("draining");
    };
    listener::serve(doors, clients, edge.router(), stop).await;
    end.send(()).ok();
    if let Err(error) = reloading.await {
        tracing::error!("the queues were not closed in order: {error}");
    }
    edge.tasks().summarise();
    aside.shutdown().await;
    tracing::info!("drained");
}

async fn summaries(edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(TASK_LINES_SUMMARY);
    loop {
        ticks.tick().await;
        edge.tasks().summarise();
    }
}

fn this_boot() -> Result<String, StartError> {
    match std::env::var(BOOT_ID) {
        Ok(text) => parse_boot_id(&text).map_err(StartError::BootId),
        Err(_unset) => boot_id().map_err(StartError::Boot),
    }
}

/// systemd's id of this life of the unit; for a trial a random one.
fn this_invocation() -> Result<String, StartError> {
    if let Ok(given) = std::env::var(INVOCATION_ID)
        && std::env::var_os("NOTIFY_SOCKET").is_some()
    {
        return Ok(given);
    }
    let random = random_id().map_err(StartError::Invocation)?;
    Ok(random.as_str().to_owned())
}
