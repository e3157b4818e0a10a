//! The life of the process: connects, serves, is watched, stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ploinky_contract::exit;
use ploinky_contract::paths::{RuntimeDir, StateDir};
use ploinky_control::{BUS_NAME, OBJECT_PATH};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zbus::Connection;

use crate::account_verbs::{AccountVerbs, Door};
use crate::accounts::{AccountError, Accounts};
use crate::admins::{AdminError, Admins, Book};
use crate::authorize::{Authority, BusAuthority};
use crate::config_store::{ConfigStore, ConfigStoreError};
use crate::lane::Lanes;
use crate::lifecycle::{Handle, Host, Lifecycle, Reporter};
use crate::options::Options;
use crate::podman::PodmanApi;
use crate::systemd::{SystemdBus, SystemdError};
use crate::unit_store::UnitStore;
use crate::verbs::Verbs;
use crate::watch::Watch;
use crate::{agent_tree, socket, task_key};

/// Time for a change under way when the process is told to stop; below `TimeoutStopSec=` of the unit.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Time for the bus to accept the connection and the name.
const BUS_LIMIT: Duration = Duration::from_secs(30);

/// Why the process cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the state directory cannot be used")]
    State(#[source] std::io::Error),
    #[error(transparent)]
    Accounts(AccountError),
    #[error("the admins cannot be looked after")]
    Admins(#[source] AdminError),
    #[error(transparent)]
    Config(ConfigStoreError),
    #[error("cannot watch the configuration")]
    Watch(#[source] notify::Error),
    #[error("cannot serve on the system bus")]
    Bus(#[source] zbus::Error),
    #[error("the system bus does not answer")]
    BusLate,
    #[error(transparent)]
    Systemd(SystemdError),
    #[error("cannot wait for signals")]
    Signal(#[source] std::io::Error),
    #[error("the connection to the system bus ended")]
    Disconnected,
}

impl ServeError {
    /// What a unit that does not restart on a wrong configuration goes by.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::State(_) | Self::Accounts(_) | Self::Admins(_) | Self::Config(_) => exit::CONFIG,
            Self::Bus(_) | Self::BusLate | Self::Systemd(_) | Self::Disconnected => {
                exit::UNAVAILABLE
            }
            Self::Watch(_) | Self::Signal(_) => exit::REFUSED,
        })
    }
}

/// Works until it is told to stop.
///
/// # Errors
/// When it cannot begin, or the bus is gone.
pub(crate) async fn serve(options: Options) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signal)?;
    let Options { state, runtime, quadlet, installed_agents, podman_socket, etc } = options;
    let accounts = Accounts::read(&etc).map_err(ServeError::Accounts)?;
    let state = StateDir::new(state);
    let agents = agent_tree::list(&state, accounts).map_err(ServeError::State)?.agents;
    let store =
        ConfigStore::open(state.config(), !agents.is_empty()).map_err(ServeError::Config)?;
    let watch = Watch::new(&state.config()).map_err(ServeError::Watch)?;
    // Everything else works without it; the workers say so to those who need it.
    if let Err(error) = task_key::ensure(&state.task_key(), accounts) {
        tracing::error!("{}", ploinky_contract::chain(&error));
    }

    let mut book = Book::open(&state, accounts).map_err(ServeError::Admins)?;
    tell_first_run(&mut book);
    let (admins, desk) = Admins::new();
    let runtime = RuntimeDir::new(runtime);

    let connecting = timeout(BUS_LIMIT, Connection::system());
    let connection =
        connecting.await.map_err(|_elapsed| ServeError::BusLate)?.map_err(ServeError::Bus)?;
    let systemd = SystemdBus::new(&connection).await.map_err(ServeError::Systemd)?;
    let host = Host {
        state,
        lanes: Lanes::new(runtime.clone(), accounts),
        installed_agents: installed_agents.clone(),
        accounts,
        units: UnitStore::new(quadlet),
        systemd: Arc::new(systemd),
        podman: Arc::new(PodmanApi::new(&podman_socket)),
    };
    let (lifecycle, snapshots) = Lifecycle::new(host.clone(), store);
    let (handle, changes) = Handle::new();
    let authority = Arc::new(BusAuthority::new(connection.clone()));
    let door = Door::Bus(Arc::clone(&authority) as Arc<dyn Authority>);
    let on_bus = AccountVerbs::new(door, admins.clone(), snapshots.clone());
    let of_socket = snapshots.clone();
    let verbs = Verbs::new(authority, handle, Reporter::new(host, snapshots), installed_agents);
    let serving = async {
        connection.object_server().at(OBJECT_PATH, verbs).await?;
        connection.object_server().at(OBJECT_PATH, on_bus).await?;
        connection.request_name(BUS_NAME).await
    };
    let served = timeout(BUS_LIMIT, serving).await.map_err(|_elapsed| ServeError::BusLate)?;
    served.map_err(ServeError::Bus)?;

    let (touched, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    let hint = Arc::clone(&touched);
    tasks.spawn(async move {
        loop {
            watch.changed().await;
            hint.notify_one();
        }
    });
    if let Some(period) = sd_notify::watchdog_enabled() {
        tasks.spawn(keep_alive(period / 2));
    }
    tasks.spawn(desk.run(book));
    match socket::listen(&runtime.supervisor_socket(), accounts) {
        Ok(listener) => {
            tasks.spawn(socket::serve(listener, accounts, move |door| {
                AccountVerbs::new(door, admins.clone(), of_socket.clone())
            }));
        }
        Err(error) => tracing::error!("{}", ploinky_contract::chain(&error)),
    }
    let mut owner = tokio::spawn(lifecycle.run(changes, touched, Arc::clone(&stop)));
    tell(&[NotifyState::Ready]);
    tracing::info!("{BUS_NAME} is served");

    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = disconnected(&connection) => Err(ServeError::Disconnected),
        // It ends before it is told to only if it panicked.
        _ = &mut owner => Err(ServeError::Disconnected),
    };
    tell(&[NotifyState::Stopping]);
    stop.notify_one();
    if !owner.is_finished() && timeout(STOP_LIMIT, owner).await.is_err() {
        tracing::warn!("a change was cut off; the next start finishes or undoes it");
    }
    tasks.shutdown().await;
    outcome
}

/// Tells the journal how the first account is made, if there is none; and what is wrong with the accounts.
fn tell_first_run(book: &mut Book) {
    match book.begin() {
        Ok(None) => {}
        Ok(Some(token)) => tracing::warn!(
            "there is no admin yet; `ploinkyctl admin init` makes the first one, or POST \
             /management/api/init with this one-time token: {}",
            token.reveal()
        ),
        Err(error) => tracing::error!("{}", ploinky_contract::chain(&error)),
    }
}

async fn keep_alive(period: Duration) {
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(period).await;
    }
}

/// Tells the service manager; without one, nobody.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}

/// Waits for the end of the connection.
async fn disconnected(connection: &Connection) {
    let mut messages = zbus::MessageStream::from(connection);
    while let Some(message) = messages.next().await {
        if message.is_err() {
            return;
        }
    }
}
