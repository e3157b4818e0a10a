//! The interface as a caller sees it, over a socket pair.

use std::os::unix::net::UnixStream;

use futures_util::future::{BoxFuture, ready};
use ploinky_control::{OBJECT_PATH, Supervisor1Proxy};
use tokio::sync::{mpsc, watch};
use zbus::Connection;
use zbus::names::UniqueName;

use super::*;
use crate::accounts::Accounts;
use crate::authorize::Denied;
use crate::introspected::interface;
use crate::lifecycle::{Asked, Host, Snapshot};
use crate::podman::fake::Fake;
use crate::systemd::sim::Sim;
use crate::unit_store::UnitStore;

/// Allows what is listed.
struct Allows(&'static [Action]);

impl Authority for Allows {
    fn check<'a>(
        &'a self,
        _caller: Option<&'a UniqueName<'a>>,
        action: Action,
    ) -> BoxFuture<'a, Result<String, Denied>> {
        let allowed = self.0.contains(&action);
        let denied = || Denied(format!("{action:?} is not for you"));
        Box::pin(ready(if allowed { Ok("tester".to_owned()) } else { Err(denied()) }))
    }
}

struct Served {
    _dir: tempfile::TempDir,
    _connection: Connection,
    client: Connection,
    changes: mpsc::Receiver<Asked>,
}

async fn served(allowed: &'static [Action], snapshot: Snapshot) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let host = Host {
        state: ploinky_contract::paths::StateDir::new(dir.path()),
        lanes: crate::lane::Lanes::new(
            ploinky_contract::paths::RuntimeDir::new(dir.path().join("run")),
            Accounts::kept(),
        ),
        installed_agents: dir.path().join("installed"),
        accounts: Accounts::kept(),
        units: UnitStore::new(dir.path().join("quadlet")),
        systemd: Arc::new(Sim::new(&dir.path().join("quadlet"))),
        podman: Arc::new(Fake::new(&[])),
    };
    let (handle, changes) = Handle::new();
    let (_, snapshots) = watch::channel(Arc::new(snapshot));
    let installed = host.installed_agents.clone();
    let verbs =
        Verbs::new(Arc::new(Allows(allowed)), handle, Reporter::new(host, snapshots), installed);
    let (server, client) = UnixStream::pair().unwrap();
    let server = zbus::connection::Builder::unix_stream(server)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at(OBJECT_PATH, verbs)
        .build();
    let client = zbus::connection::Builder::unix_stream(client).p2p().build();
    let (connection, client) = futures_util::try_join!(server, client).unwrap();
    Served { _dir: dir, _connection: connection, client, changes }
}

impl Served {
    async fn proxy(&self) -> Supervisor1Proxy<'_> {
        Supervisor1Proxy::new(&self.client).await.unwrap()
    }
}

fn valid() -> Snapshot {
    Snapshot { config: Some(ploinky_contract::Config::default()), ..Snapshot::default() }
}

/// A file descriptor to hand over.
fn archive() -> zbus::Fd<'static> {
    zbus::Fd::from(OwnedFd::from(tempfile::tempfile().unwrap()))
}

#[tokio::test]
async fn nothing_is_told_or_asked_without_authority() {
    let mut served = served(&[], valid()).await;
    {
        let proxy = served.proxy().await;
        let (d, p) = ("localhost", "/a");
        let errors = [
            proxy.deploy_installed(d, p, "a").await.unwrap_err(),
            proxy.deploy_archive(d, p, "a", archive()).await.unwrap_err(),
            proxy.undeploy(d, p).await.unwrap_err(),
            proxy.start_agent(d, p).await.unwrap_err(),
            proxy.stop_agent(d, p).await.unwrap_err(),
            proxy.restart_agent(d, p).await.unwrap_err(),
            proxy.agent_status(d, p).await.unwrap_err(),
            proxy.status().await.unwrap_err(),
            proxy.config().await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(&error, ControlError::NotAuthorized(text) if text.ends_with("is not for you")),
                "{error:?}"
            );
        }
    }
    assert!(served.changes.try_recv().is_err(), "a change was asked for");
}

#[tokio::test]
async fn who_may_look_may_not_change() {
    let mut served = served(&[Action::Inspect], valid()).await;
    {
        let proxy = served.proxy().await;
        assert_eq!(proxy.status().await.unwrap().port, 8000);
        assert!(proxy.config().await.unwrap().contains("\"domains\""));
        let missing = proxy.agent_status("localhost", "/a").await.unwrap_err();
        assert!(matches!(&missing, ControlError::NotFound(text) if text.contains("localhost/a")));
        let refused = proxy.stop_agent("localhost", "/a").await.unwrap_err();
        assert!(matches!(refused, ControlError::NotAuthorized(_)));
    }
    assert!(served.changes.try_recv().is_err(), "a change was asked for");
}

#[tokio::test]
async fn hostile_arguments_are_refused_by_name() {
    let served = served(&[Action::Inspect, Action::Manage], valid()).await;
    let proxy = served.proxy().await;
    for (domain, path, agent) in [
        ("../etc", "/a", "a"),
        ("%h", "/a", "a"),
        ("localhost\nExecStartPre=/bin/sh", "/a", "a"),
        ("localhost", "a", "a"),
        ("localhost", "/../a", "a"),
        ("localhost", "/$HOME", "a"),
        ("localhost", "/management", "a"),
        ("localhost", "/a", "../a"),
        ("localhost", "/a", "--help"),
        ("localhost", "/a", "a\nb"),
        ("localhost", "/a", ""),
    ] {
        for error in [
            proxy.deploy_installed(domain, path, agent).await.unwrap_err(),
            proxy.deploy_archive(domain, path, agent, archive()).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, ControlError::InvalidArgument(_)),
                "{domain} {path} {agent}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_verb_asks_for_its_change_and_passes_the_error_on() {
    let mut served = served(&[Action::Manage], valid()).await;
    let client = served.client.clone();
    let caller = tokio::spawn(async move {
        let proxy = Supervisor1Proxy::new(&client).await.unwrap();
        [
            proxy.deploy_archive("localhost", "/a", "mine", archive()).await.map(drop),
            proxy.undeploy("localhost", "/a").await,
            proxy.start_agent("localhost", "/a").await.map(drop),
            proxy.stop_agent("localhost", "/a").await.map(drop),
            proxy.restart_agent("localhost", "/a").await.map(drop),
        ]
    });
    let mut seen = Vec::new();
    for _ in 0..5 {
        let asked = served.changes.recv().await.unwrap();
        let Asked { place, change, begun, done } = asked;
        assert_eq!(place.to_string(), "localhost/a");
        seen.push(change.words());
        begun.send(()).unwrap();
        let error = match change {
            Change::Deploy(Order { source: Source::Archive(_), name }) => {
                assert_eq!(name.as_str(), "mine");
                LifecycleError::ImageMissing("localhost/x:1".parse().unwrap())
            }
            Change::Deploy(_) => panic!("not an archive"),
            Change::Undeploy => LifecycleError::NotFound("localhost/a".to_owned()),
            Change::Start => LifecycleError::Busy(60),
            Change::Stop => LifecycleError::Stopping,
            Change::Restart => LifecycleError::Refused("no".to_owned()),
        };
        done.send(Err(error)).unwrap();
    }
    assert_eq!(seen, ["deploy", "undeploy", "start", "stop", "restart"]);
    let [image, missing, busy, stopping, refused] = caller.await.unwrap();
    assert!(
        matches!(image, Err(ControlError::ImageMissing(text)) if text.contains("podman build --tag localhost/x:1"))
    );
    assert!(matches!(missing, Err(ControlError::NotFound(_))));
    assert!(matches!(busy, Err(ControlError::Busy(_))));
    assert!(matches!(stopping, Err(ControlError::Failed(_))));
    assert!(matches!(refused, Err(ControlError::InvalidArgument(text)) if text == "no"));
}

#[tokio::test]
async fn a_configuration_that_never_was_valid_has_a_name() {
    let broken =
        Snapshot { config_error: Some("/x/config.json: EOF".to_owned()), ..Snapshot::default() };
    let served = served(&[Action::Inspect], broken).await;
    let proxy = served.proxy().await;
    assert_eq!(proxy.status().await.unwrap().config_error.as_deref(), Some("/x/config.json: EOF"));
    let error = proxy.config().await.unwrap_err();
    assert!(
        matches!(&error, ControlError::ConfigInvalid(text) if text.contains("/x/config.json: EOF")),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_interface_is_the_one_that_is_written_down() {
    let served = served(&[], valid()).await;
    let introspectable = zbus::fdo::IntrospectableProxy::builder(&served.client)
        .destination("io.ploinky.Supervisor1")
        .path(OBJECT_PATH)
        .build()
        .await
        .unwrap();
    let found = introspectable.introspect().await.unwrap();
    let written = include_str!("../../../control/io.ploinky.Supervisor1.xml");
    assert_eq!(
        interface("io.ploinky.Supervisor1", &found),
        interface("io.ploinky.Supervisor1", written)
    );
}
