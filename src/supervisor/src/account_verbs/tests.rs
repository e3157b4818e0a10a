//! The interface as its two kinds of callers see it: over a socket pair, by both doors.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use futures_util::future::{BoxFuture, ready};
use ploinky_contract::paths::StateDir;
use ploinky_control::{Accounts1Proxy, OBJECT_PATH};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use zbus::Connection;
use zbus::names::UniqueName;

use super::*;
use crate::accounts::Accounts;
use crate::authorize::Denied;
use crate::introspected::interface;

const GOOD: &[u8] = b"a sentence that nobody guesses";
const OTHER: &[u8] = b"another one which is new here";

/// Allows all, or nothing.
struct Allows(bool);

impl Authority for Allows {
    fn check<'a>(
        &'a self,
        _caller: Option<&'a UniqueName<'a>>,
        action: Action,
    ) -> BoxFuture<'a, Result<String, Denied>> {
        assert_eq!(action, Action::Accounts);
        let denied = || Denied("not for you".to_owned());
        Box::pin(ready(if self.0 { Ok("root".to_owned()) } else { Err(denied()) }))
    }
}

/// Lines with `AUDIT=1` of this thread.
#[derive(Clone, Default)]
struct Audit(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Fields {
    is_audit: bool,
    text: [String; 6],
}

impl Visit for Fields {
    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        let names = ["ACTOR", "ACTION", "OBJECT", "BEFORE", "AFTER", "RESULT"];
        if let Some(at) = names.iter().position(|name| *name == field.name()) {
            value.clone_into(&mut self.text[at]);
        }
    }

    fn record_i64(&mut self, field: &Field, _value: i64) {
        self.is_audit |= field.name() == "AUDIT";
    }
}

impl<S: tracing::Subscriber> Layer<S> for Audit {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.is_audit {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fields.text.join("|"));
        }
    }
}

impl Audit {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A supervisor with its accounts.
struct World {
    dir: tempfile::TempDir,
    admins: Admins,
    setup: String,
    _owner: tokio::task::JoinHandle<()>,
    audit: Audit,
    _guard: tracing::subscriber::DefaultGuard,
    served: Vec<Connection>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(&StateDir::new(dir.path()), Accounts::kept()).unwrap();
        let setup = book.begin().unwrap().unwrap().reveal().to_owned();
        let (admins, desk) = Admins::new();
        let owner = tokio::spawn(desk.run(book));
        let audit = Audit::default();
        let registry = tracing_subscriber::registry().with(audit.clone());
        let guard = tracing::subscriber::set_default(registry);
        Self { dir, admins, setup, _owner: owner, audit, _guard: guard, served: Vec::new() }
    }

    async fn by(&mut self, door: Door) -> Accounts1Proxy<'static> {
        let (_, snapshots) = watch::channel(Arc::default());
        let verbs = AccountVerbs::new(door, self.admins.clone(), snapshots);
        let (server, client) = UnixStream::pair().unwrap();
        let server = zbus::connection::Builder::unix_stream(server)
            .server(zbus::Guid::generate())
            .p2p()
            .serve_at(OBJECT_PATH, verbs)
            .build();
        let client = zbus::connection::Builder::unix_stream(client).p2p().build();
        let (server, client) = futures_util::try_join!(server, client).unwrap();
        self.served.push(server);
        Accounts1Proxy::new(&client).await.unwrap()
    }

    async fn bus(&mut self, allowed: bool) -> Accounts1Proxy<'static> {
        self.by(Door::Bus(Arc::new(Allows(allowed)))).await
    }

    async fn socket(&mut self) -> Accounts1Proxy<'static> {
        self.by(Door::socket()).await
    }
}

fn order() -> TokenOrder {
    let (name, user) = ("ci".to_owned(), "ci".to_owned());
    TokenOrder { name, user, commands: vec!["build.*".to_owned()], ..TokenOrder::default() }
}

/// What every verb that an admin may ask for answers to `token`, by its name; none changes anything that is
/// there.
async fn all(
    proxy: &Accounts1Proxy<'_>,
    token: &str,
) -> [(&'static str, Result<(), ControlError>); 9] {
    [
        ("AddAdmin", proxy.add_admin(token, "eve", "owner", OTHER).await),
        ("ListAdmins", proxy.list_admins(token).await.map(drop)),
        ("SetPassword", proxy.set_password(token, "ada", OTHER).await),
        ("SetRole", proxy.set_role(token, "ada", "viewer").await),
        ("SetDisabled", proxy.set_disabled(token, "ada", true).await),
        ("RemoveAdmin", proxy.remove_admin(token, "ada").await),
        ("CreateToken", proxy.create_token(token, &order()).await.map(drop)),
        ("ListTokens", proxy.list_tokens(token).await.map(drop)),
        ("RevokeToken", proxy.revoke_token(token, "ci").await.map(drop)),
    ]
}

#[tokio::test]
async fn a_worker_without_the_token_of_an_admin_does_nothing() {
    let mut world = World::new();
    world.bus(true).await.init_admin("", "ada", GOOD).await.unwrap();
    let before = std::fs::read(world.dir.path().join(".admin")).unwrap();
    let worker = world.socket().await;
    for token in ["", "Admin", "*", "../../x", &"0".repeat(64), &world.setup.clone()] {
        for (verb, error) in all(&worker, token).await {
            assert!(
                matches!(error, Err(ControlError::Unauthenticated(_))),
                "{verb} {token}: {error:?}"
            );
        }
    }
    let unlocked = worker.unlock_admin("ada").await.unwrap_err();
    assert!(matches!(unlocked, ControlError::NotAuthorized(_)), "{unlocked:?}");
    let first = worker.init_admin(&world.setup, "eve", OTHER).await.unwrap_err();
    assert!(matches!(first, ControlError::Unauthenticated(_)), "{first:?}");
    assert_eq!(std::fs::read(world.dir.path().join(".admin")).unwrap(), before);
    assert!(worker.login("ada", GOOD, "").await.is_ok());
}

#[tokio::test]
async fn on_the_bus_polkit_decides_and_nobody_logs_in() {
    let mut world = World::new();
    let stranger = world.bus(false).await;
    let first = stranger.init_admin("", "eve", OTHER).await.unwrap_err();
    assert!(matches!(first, ControlError::NotAuthorized(_)), "{first:?}");
    let opened = stranger.unlock_admin("ada").await.unwrap_err();
    assert!(matches!(opened, ControlError::NotAuthorized(_)), "{opened:?}");
    for (verb, error) in all(&stranger, "").await {
        assert!(matches!(error, Err(ControlError::NotAuthorized(_))), "{verb}: {error:?}");
    }
    assert!(!world.dir.path().join(".admin").exists());
    let root = world.bus(true).await;
    for error in [
        root.login("ada", GOOD, "").await.unwrap_err(),
        root.logout("").await.unwrap_err(),
        root.authenticate("", GOOD, "").await.unwrap_err(),
        root.change_password("", GOOD, OTHER, "").await.unwrap_err(),
    ] {
        assert!(matches!(error, ControlError::NotAuthorized(_)), "{error:?}");
    }
    let token = root.list_admins(&"0".repeat(64)).await.unwrap_err();
    assert!(matches!(token, ControlError::InvalidArgument(_)), "{token:?}");
}

#[tokio::test]
async fn values_that_break_a_rule_are_refused_by_name() {
    let mut world = World::new();
    let root = world.bus(true).await;
    for error in [
        root.init_admin("", "a b", GOOD).await.unwrap_err(),
        root.init_admin("", "Admin", GOOD).await.unwrap_err(),
        root.init_admin("", "ada", b"hunter2").await.unwrap_err(),
        root.init_admin("", "ada", &[0xff; 20]).await.unwrap_err(),
        root.init_admin("", "ada", &[b'x'; 1025]).await.unwrap_err(),
        root.add_admin("", "ada", "root", GOOD).await.unwrap_err(),
        root.create_token("", &TokenOrder { name: "a/b".to_owned(), ..order() }).await.unwrap_err(),
        root.create_token("", &TokenOrder { user: "Admin".to_owned(), ..order() })
            .await
            .unwrap_err(),
        root.create_token("", &TokenOrder { commands: vec!["us*".to_owned()], ..order() })
            .await
            .unwrap_err(),
        root.create_token("", &TokenOrder { paths: Some(vec!["/../a".to_owned()]), ..order() })
            .await
            .unwrap_err(),
        root.create_token("", &TokenOrder { domain: Some("%h".to_owned()), ..order() })
            .await
            .unwrap_err(),
        root.create_token("", &TokenOrder { role: Some("root".to_owned()), ..order() })
            .await
            .unwrap_err(),
        world.socket().await.login("ada", GOOD, "here").await.unwrap_err(),
    ] {
        assert!(matches!(error, ControlError::InvalidArgument(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_admin_does_by_a_worker_what_their_role_allows() {
    let mut world = World::new();
    let (worker, root) = (world.socket().await, world.bus(true).await);
    worker.init_admin(&world.setup, "ada", GOOD).await.unwrap();
    root.add_admin("", "bob", "deployer", OTHER).await.unwrap();
    let bob = worker.login("bob", OTHER, "192.0.2.7").await.unwrap();
    assert_eq!((bob.role.as_str(), bob.idle_seconds), ("deployer", 1800));
    for (verb, error) in all(&worker, &bob.token).await {
        if verb.starts_with("List") {
            continue;
        }
        assert!(matches!(error, Err(ControlError::NotAuthorized(_))), "{verb}: {error:?}");
    }
    let ada = worker.login("ada", GOOD, "192.0.2.7").await.unwrap();
    assert_eq!(worker.list_admins(&bob.token).await.unwrap().len(), 2);
    let made = worker.create_token(&ada.token, &order()).await.unwrap();
    assert!(made.token.starts_with("ploinky_"));
    assert_eq!(worker.list_tokens(&bob.token).await.unwrap()[0].digest, made.digest);
    worker.set_role(&ada.token, "bob", "viewer").await.unwrap();
    let over = worker.list_tokens(&bob.token).await.unwrap_err();
    assert!(matches!(over, ControlError::Unauthenticated(_)), "{over:?}");
    let last = worker.remove_admin(&ada.token, "ada").await.unwrap_err();
    assert!(matches!(last, ControlError::Conflict(_)), "{last:?}");
    let again = worker.authenticate(&ada.token, GOOD, "").await.unwrap();
    assert!(worker.logout(&ada.token).await.is_err());
    let changed = worker.change_password(&again.token, GOOD, OTHER, "").await.unwrap();
    assert!(worker.list_admins(&again.token).await.is_err());
    worker.logout(&changed.token).await.unwrap();
    assert!(worker.revoke_token(&made.token, "ci").await.is_err());
    assert_eq!(root.revoke_token("", "ci").await.unwrap(), "ci");
}

#[tokio::test]
async fn every_act_is_written_down_with_who_and_what_and_how_it_ended() {
    let mut world = World::new();
    let (worker, root, stranger) =
        (world.socket().await, world.bus(true).await, world.bus(false).await);
    drop(stranger.set_role("", "ada", "owner").await);
    drop(worker.init_admin(&"0".repeat(64), "ada", GOOD).await);
    root.init_admin("", "ada", GOOD).await.unwrap();
    drop(worker.login("eve", GOOD, "192.0.2.7").await);
    drop(worker.login("not a name, a password perhaps", GOOD, "").await);
    let ada = worker.login("ada", GOOD, "192.0.2.7").await.unwrap();
    drop(worker.remove_admin(&ada.token, "ada").await);
    worker.add_admin(&ada.token, "bob", "viewer", OTHER).await.unwrap();
    worker.set_password(&ada.token, "bob", GOOD).await.unwrap();
    worker.set_role(&ada.token, "bob", "deployer").await.unwrap();
    worker.set_disabled(&ada.token, "bob", true).await.unwrap();
    worker.set_disabled(&ada.token, "bob", false).await.unwrap();
    root.unlock_admin("bob").await.unwrap();
    worker.remove_admin(&ada.token, "bob").await.unwrap();
    worker.create_token(&ada.token, &order()).await.unwrap();
    worker.revoke_token(&ada.token, "ci").await.unwrap();
    let ada = worker.authenticate(&ada.token, GOOD, "192.0.2.7").await.unwrap();
    let ada = worker.change_password(&ada.token, GOOD, OTHER, "192.0.2.7").await.unwrap();
    worker.logout(&ada.token).await.unwrap();
    let lines = world.audit.take();
    assert_eq!(
        lines,
        [
            "|admin.set-role|ada|||denied",
            "one-time token|admin.init|ada|||unauthenticated",
            "root|admin.init|ada||owner|done",
            "eve|admin.login|192.0.2.7|||unauthenticated",
            "?|admin.login||||unauthenticated",
            "ada|admin.login|192.0.2.7|||done",
            "ada|admin.remove|ada|||conflict",
            "ada|admin.add|bob||viewer|done",
            "ada|admin.set-password|bob||another password|done",
            "ada|admin.set-role|bob|viewer|deployer|done",
            "ada|admin.disable|bob|enabled|disabled|done",
            "ada|admin.enable|bob|disabled|enabled|done",
            "root|admin.unlock|bob|0 failures|open|done",
            "ada|admin.remove|bob|deployer||done",
            "ada|token.create|ci||ci: build.*|done",
            "ada|token.revoke|ci|ci||done",
            "ada|admin.authenticate|192.0.2.7|||done",
            "ada|admin.change-password|192.0.2.7|||done",
            "ada|admin.logout||||done",
        ]
    );
    // Every verb is above, but for those that change nothing.
    let written = include_str!("../../../control/io.ploinky.Accounts1.xml");
    let verbs: BTreeSet<&str> = written
        .split("<method name=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let acts: BTreeSet<&str> = lines.iter().filter_map(|line| line.split('|').nth(1)).collect();
    // `SetDisabled` is two acts.
    assert_eq!(
        verbs.len() - ["ListAdmins", "ListTokens"].len() + 1,
        acts.len(),
        "{verbs:?} {acts:?}"
    );
}

#[tokio::test]
async fn the_interface_is_the_one_that_is_written_down() {
    let mut world = World::new();
    let client = world.socket().await.inner().connection().clone();
    let introspectable = zbus::fdo::IntrospectableProxy::builder(&client)
        .destination("io.ploinky.Supervisor1")
        .path(OBJECT_PATH)
        .build()
        .await
        .unwrap();
    let found = introspectable.introspect().await.unwrap();
    let written = include_str!("../../../control/io.ploinky.Accounts1.xml");
    assert_eq!(
        interface("io.ploinky.Accounts1", &found),
        interface("io.ploinky.Accounts1", written),
        "{found}"
    );
}
