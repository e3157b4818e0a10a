//! The rules of accounts, sessions and tokens, on real files.

use std::time::Duration;

use ploinky_contract::AllowedCommands;
use ploinky_contract::limits::{FRESH_PASSWORD, LOCK_FIRST, LOCK_MAX, SESSIONS_PER_ADMIN};
use ploinky_password::Password;

use super::session::Bearer;
use super::*;
use crate::state_file;

const GOOD: &str = "a sentence that nobody guesses";
const OTHER: &str = "another one which is new here";
const LIFE: Life = Life { idle: 1800, max: 86_400 };

struct World {
    dir: tempfile::TempDir,
    book: Book,
    now: Now,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(&StateDir::new(dir.path()), Accounts::kept()).unwrap();
        let now = Now { ms: 1_000_000_000 };
        Self { dir, book, now }
    }

    /// With ada, who is an owner.
    fn with_ada() -> Self {
        let mut world = Self::new();
        world.book.initialise(None, &name("ada"), &password(GOOD), world.now).unwrap();
        world
    }

    /// The next supervisor on the same files.
    fn restart(&mut self) {
        let state = StateDir::new(self.dir.path());
        self.book = Book::open(&state, Accounts::kept()).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now.ms += u64::try_from(time.as_millis()).unwrap();
    }

    fn login(&mut self, username: &str, password: &str) -> Result<Session, AdminError> {
        let session = self.book.login(username, &claim(password), LIFE, self.now);
        self.book.settle();
        session
    }

    fn token(&mut self) -> String {
        self.login("ada", GOOD).ok().unwrap().token.reveal().to_owned()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(".admin")).unwrap()
    }

    fn bearer(&self, token: &str, role: Role) -> Result<Bearer, AdminError> {
        self.book.bearer(token, role, self.now, &mut String::new())
    }

    fn counts(&self, token: &str) -> bool {
        self.bearer(token, Role::Viewer).is_ok()
    }
}

fn name(text: &str) -> UserId {
    text.parse().unwrap()
}

fn claim(password: &str) -> Claim {
    let password = password.to_owned().try_into().ok();
    Claim { password, from: None }
}

fn password(text: &str) -> Password {
    text.to_owned().try_into().unwrap()
}

fn order(name: &str) -> Order {
    Order {
        name: name.to_owned(),
        user: "ci".parse().unwrap(),
        commands: serde_json::from_str(r#"["build.*"]"#).unwrap(),
        domain: None,
        paths: None,
        role: None,
        expires_at: None,
    }
}

#[test]
fn whatever_is_wrong_the_same_is_said() {
    let mut world = World::with_ada();
    world.book.add(&name("bob"), Role::Viewer, &password(OTHER), world.now).unwrap();
    world.book.set_disabled(&name("bob"), true).unwrap();
    for (username, password) in [
        ("ada", "a sentence that nobody guesseS"),
        ("ada", ""),
        ("ada", &"x".repeat(1025)),
        ("eve", GOOD),
        ("Ada", GOOD),
        ("", GOOD),
        ("a\nb", GOOD),
        ("Admin", GOOD),
        ("bob", OTHER),
    ] {
        let refused = world.login(username, password).err().map(|error| error.to_string());
        let same = AdminError::WrongCredentials.to_string();
        assert_eq!(refused, Some(same), "{username}");
    }
    assert!(world.login("ada", GOOD).is_ok());
}

#[test]
fn a_closed_account_takes_not_even_the_right_password() {
    let mut world = World::with_ada();
    let before = world.token();
    for _ in 0..5 {
        assert!(world.login("ada", OTHER).is_err());
    }
    assert!(world.login("ada", GOOD).is_err(), "closed after five failures");
    assert!(world.counts(&before), "sessions go on");
    assert_eq!(world.book.list(world.now).unwrap()[0].closed_for, Some(LOCK_FIRST));
    world.pass(LOCK_FIRST);
    assert!(world.login("ada", OTHER).is_err());
    world.pass(LOCK_FIRST);
    assert!(world.login("ada", GOOD).is_err(), "twice as long the second time");
    world.pass(LOCK_FIRST);
    assert!(world.login("ada", GOOD).is_ok());
    assert_eq!(world.book.list(world.now).unwrap()[0].failures, 0);
}

#[test]
fn after_a_hundred_failures_only_root_opens_an_account() {
    let mut world = World::with_ada();
    world.book.add(&name("bob"), Role::Owner, &password(OTHER), world.now).unwrap();
    for round in 0..LOCKED_AT {
        // A restart forgets nothing.
        if round % 7 == 0 {
            world.restart();
        }
        assert!(world.login("ada", OTHER).is_err());
        world.pass(LOCK_MAX);
    }
    world.restart();
    assert!(world.login("ada", GOOD).is_err());
    let listed = world.book.list(world.now).unwrap();
    assert_eq!((listed[0].failures, listed[0].closed_for), (100, Some(Duration::MAX)));
    world.book.set_password(&name("ada"), &password(GOOD), world.now).unwrap();
    assert!(world.login("ada", GOOD).is_err(), "a new password opens nothing");
    assert_eq!(world.book.unlock(&name("ada")).unwrap(), 100);
    assert!(world.login("ada", GOOD).is_ok());
}

#[test]
fn the_last_owner_who_can_log_in_stays() {
    let mut world = World::with_ada();
    world.book.add(&name("bob"), Role::Deployer, &password(OTHER), world.now).unwrap();
    let before = world.file();
    let ada = name("ada");
    for refused in [
        world.book.remove(&ada).map(drop),
        world.book.set_disabled(&ada, true).map(drop),
        world.book.set_role(&ada, Role::Deployer).map(drop),
    ] {
        assert!(matches!(refused, Err(AdminError::LastOwner(_))), "{refused:?}");
    }
    assert_eq!(world.file(), before);
    world.book.set_role(&name("bob"), Role::Owner).unwrap();
    assert_eq!(world.book.remove(&ada).unwrap(), Role::Owner);
    assert!(matches!(world.book.remove(&name("bob")), Err(AdminError::LastOwner(_))));
    assert!(matches!(world.book.remove(&ada), Err(AdminError::NoAccount(_))));
}

#[test]
fn a_broken_file_lets_nobody_in_and_is_not_replaced() {
    let mut world = World::with_ada();
    let token = world.token();
    let path = world.dir.path().join(".admin");
    for broken in [&b"["[..], b"{}", b"[{\"username\":\"ada\"}]"] {
        state_file::write(&path, broken, 0o600).unwrap();
        assert!(matches!(world.login("ada", GOOD), Err(AdminError::Store(_))));
        assert!(matches!(world.book.begin(), Err(AdminError::Store(_))));
        let added = world.book.initialise(None, &name("eve"), &password(OTHER), world.now);
        assert!(matches!(added, Err(AdminError::Store(_))));
        assert!(world.bearer(&token, Role::Viewer).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), broken);
    }
}

#[test]
fn the_first_account_needs_the_one_time_token() {
    let mut world = World::new();
    let first = world.book.begin().unwrap().unwrap().reveal().to_owned();
    let token = world.book.begin().unwrap().unwrap().reveal().to_owned();
    let ada = name("ada");
    for wrong in ["", "Admin", &"0".repeat(64), &first, &token.to_uppercase(), &format!("0{token}")]
    {
        let refused = world.book.initialise(Some(wrong), &ada, &password(GOOD), world.now);
        assert!(matches!(refused, Err(AdminError::WrongSetup)), "{wrong}");
    }
    let weak = world.book.initialise(Some(&token), &ada, &password("short"), world.now);
    assert!(matches!(weak, Err(AdminError::Password(_))));
    world.book.initialise(Some(&token), &ada, &password(GOOD), world.now).unwrap();
    for used in [Some(token.as_str()), Some(""), None] {
        let eve = world.book.initialise(used, &name("eve"), &password(OTHER), world.now);
        assert!(matches!(eve, Err(AdminError::WrongSetup | AdminError::AlreadyInitialised)));
    }
    assert!(world.book.begin().unwrap().is_none());
    assert!(world.login("ada", GOOD).is_ok());
    assert!(!world.file().contains(&token));
}

#[test]
fn s7_a_password_is_kept_with_more_rounds_after_the_next_login() {
    let mut world = World::new();
    // `hashlib.pbkdf2_hmac('sha256', …, b'0123456789abcdef', 1000)` of Python.
    let phc = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$TNTgVNRKu0LOUgXQI8HiHQb2c3YRn0p80GVpjMtptb4";
    let text = format!(
        r#"[{{"username":"ada","passwordHash":"{phc}","role":"owner","createdAt":1,"changedAt":1}}]"#
    );
    state_file::write(&world.dir.path().join(".admin"), text.as_bytes(), 0o600).unwrap();
    assert!(world.login("ada", OTHER).is_err());
    assert!(world.file().contains("$i=1000,"));
    assert!(world.login("ada", GOOD).is_ok());
    assert!(world.file().contains("$i=600000,") && !world.file().contains("failures"));
    assert!(world.login("ada", GOOD).is_ok());
}

#[test]
fn a_record_of_the_original_is_taken_over_at_the_first_login() {
    let mut world = World::new();
    // crypto.pbkdf2Sync(password, '0f0f', 100000, 64, 'sha512') of 'green lamp' and of 'admin'.
    let record = |name: &str, hash: &str| {
        format!(
            r#"{{"username":"{name}","passwordHash":"{hash}","salt":"0f0f","createdAt":"2025-01-02"}}"#
        )
    };
    let text = format!("[{},{}]", record("ada", GREEN_LAMP), record("admin", ADMIN));
    state_file::write(&world.dir.path().join(".admin"), text.as_bytes(), 0o600).unwrap();
    assert!(world.login("ada", "Green lamp").is_err());
    assert!(world.login("admin", "admin").is_err(), "what the original began with lets nobody in");
    assert!(world.book.list(world.now).unwrap().iter().all(|listed| listed.is_original));
    assert!(world.login("ada", "green lamp").is_ok());
    let listed = world.book.list(world.now).unwrap();
    assert_eq!((listed[0].is_original, listed[0].role), (false, Role::Owner));
    assert!(world.login("ada", "green lamp").is_ok());
}

const GREEN_LAMP: &str = "2e48ad40c8ad58f33c739f239dc7f89024b702a8800de2c375b91f059105480c\
    7c1d8bbb52fbf52f7a423d5ae3b3ea3ee47c59d6c503675989db9c40cdc0f502";
const ADMIN: &str = "f9426304f383de93a0d5a508d3950766b9ace261720a7aa80ddaec5149bc0d83\
    4ddb6274413da3d39788dc1b6b2a289c38b1edc0697ab6d0a5c381b933d5a01f";

#[test]
fn a_session_ends_with_time_with_logout_and_with_the_rights_of_its_account() {
    let mut world = World::with_ada();
    world.book.add(&name("bob"), Role::Owner, &password(OTHER), world.now).unwrap();
    let token = world.token();
    let second = world.token();
    assert_ne!(token, second);
    assert!(world.counts(&token));
    world.book.logout(&token).unwrap();
    assert!(!world.counts(&token) && world.counts(&second));
    assert!(matches!(world.book.logout(&token), Err(AdminError::NoSession)));
    world.pass(Duration::from_secs(LIFE.idle));
    assert!(!world.counts(&second), "idle");
    let ends: [fn(&mut World); 4] = [
        |world| assert!(world.book.set_role(&name("ada"), Role::Viewer).is_ok()),
        |world| assert!(world.book.set_disabled(&name("ada"), true).is_ok()),
        |world| world.book.set_password(&name("ada"), &password(GOOD), world.now).unwrap(),
        |world| assert!(world.book.remove(&name("ada")).is_ok()),
    ];
    for end in ends {
        let token = world.token();
        let bobs = world.login("bob", OTHER).ok().unwrap().token.reveal().to_owned();
        end(&mut world);
        assert!(!world.counts(&token), "it goes on");
        assert!(world.counts(&bobs), "a session of somebody else ended");
        if world.book.set_disabled(&name("ada"), false).is_ok() {
            assert!(!world.counts(&token), "it is back");
            world.book.set_role(&name("ada"), Role::Owner).unwrap();
        }
    }
    world.book.sweep(world.now).unwrap();
    let left = world.book.sessions.list().unwrap();
    assert!(left.iter().all(|found| found.grant.user_id == name("bob")), "{left:?}");
}

#[test]
fn a_session_ends_after_a_day_however_it_is_used() {
    let mut world = World::with_ada();
    let session = world.login("ada", GOOD).ok().unwrap();
    assert_eq!(session.grant.expires_at, Some(world.now.seconds() + LIFE.max));
    // A worker that says that it was used just now.
    let used = world.dir.path().join("activeUsers/used");
    std::fs::create_dir_all(&used).unwrap();
    std::fs::File::create(used.join(session.token.digest().as_str())).unwrap();
    world.pass(Duration::from_secs(LIFE.max - 1));
    assert!(world.counts(session.token.reveal()));
    world.pass(Duration::from_secs(1));
    assert!(!world.counts(session.token.reveal()));
    world.book.sweep(world.now).unwrap();
    assert!(world.book.sessions.list().unwrap().is_empty());
}

#[test]
fn an_admin_has_a_bounded_number_of_sessions() {
    let mut world = World::with_ada();
    let first = world.token();
    for _ in 0..SESSIONS_PER_ADMIN {
        world.pass(Duration::from_secs(1));
        world.token();
    }
    assert!(!world.counts(&first));
    assert_eq!(world.book.list(world.now).unwrap()[0].sessions, SESSIONS_PER_ADMIN);
}

#[test]
fn a_password_is_changed_by_who_has_the_old_one() {
    let mut world = World::with_ada();
    let (token, elsewhere) = (world.token(), world.token());
    let change = |world: &mut World, token: &str, old: &str, new: &str| {
        world.book.change_password(token, &claim(old), &password(new), LIFE, world.now)
    };
    assert!(matches!(change(&mut world, &token, "x", OTHER), Err(AdminError::WrongCredentials)));
    assert!(matches!(change(&mut world, &token, GOOD, GOOD), Err(AdminError::Refused(_))));
    assert!(matches!(change(&mut world, &token, GOOD, "x"), Err(AdminError::Password(_))));
    let unknown = "0".repeat(64);
    assert!(matches!(change(&mut world, &unknown, GOOD, OTHER), Err(AdminError::NoSession)));
    let new = change(&mut world, &token, GOOD, OTHER).ok().unwrap();
    assert!(world.counts(new.token.reveal()));
    assert!(!world.counts(&token) && !world.counts(&elsewhere));
    assert!(world.login("ada", GOOD).is_err() && world.login("ada", OTHER).is_ok());
}

#[test]
fn what_is_dangerous_needs_a_password_that_was_given_lately() {
    let mut world = World::with_ada();
    let token = world.token();
    let program = Order { role: Some(Role::Owner), ..order("ci") };
    let program = world.book.create_token(program, world.now).ok().unwrap();
    let fresh =
        |world: &World, token: &str| world.bearer(token, Role::Owner).unwrap().is_fresh(world.now);
    assert!(matches!(fresh(&world, program.token.reveal()), Err(AdminError::Stale)));
    assert!(fresh(&world, &token).is_ok());
    world.pass(FRESH_PASSWORD);
    assert!(matches!(fresh(&world, &token), Err(AdminError::Stale)));
    let wrong = world.book.authenticate(&token, &claim(OTHER), LIFE, world.now);
    assert!(matches!(wrong, Err(AdminError::WrongCredentials)));
    assert!(world.counts(&token));
    let again = world.book.authenticate(&token, &claim(GOOD), LIFE, world.now).ok().unwrap();
    assert!(!world.counts(&token), "a new token with new rights");
    assert!(fresh(&world, again.token.reveal()).is_ok());
    let end = world.now.seconds() - FRESH_PASSWORD.as_secs() + LIFE.max;
    assert_eq!(again.grant.expires_at, Some(end), "it does not live longer");
}

#[test]
fn a_role_is_what_the_account_has() {
    let mut world = World::with_ada();
    world.book.add(&name("bob"), Role::Viewer, &password(OTHER), world.now).unwrap();
    let session = world.login("bob", OTHER).ok().unwrap();
    assert_eq!(session.grant.allowed_commands, AllowedCommands::none());
    let asked = |role| world.bearer(session.token.reveal(), role).map(drop);
    assert!(matches!(asked(Role::Owner), Err(AdminError::Role(Role::Owner))));
    assert!(matches!(asked(Role::Deployer), Err(AdminError::Role(Role::Deployer))));
    assert!(asked(Role::Viewer).is_ok());
}

#[test]
fn a_token_of_a_program_is_told_once_and_revoked_by_name_or_digest() {
    let mut world = World::with_ada();
    for refused in [
        Order { name: String::new(), ..order("") },
        order("a b"),
        order("../x"),
        order(&"a".repeat(65)),
        Order { user: UserId::admin(), ..order("ci") },
        Order { user: UserId::internet_user(), ..order("ci") },
        Order { paths: Some(Vec::new()), ..order("ci") },
        Order { expires_at: Some(world.now.seconds()), ..order("ci") },
    ] {
        let refused = world.book.create_token(refused, world.now);
        assert!(matches!(refused, Err(AdminError::Refused(_))));
    }
    let made = world.book.create_token(order("ci"), world.now).ok().unwrap();
    assert!(made.token.reveal().starts_with("ploinky_"));
    let again = world.book.create_token(order("ci"), world.now);
    assert!(matches!(again, Err(AdminError::TokenExists(_))));
    let other = world.book.create_token(order("cd"), world.now).ok().unwrap();
    let names: Vec<_> =
        world.book.tokens().unwrap().into_iter().map(|found| found.grant.name.unwrap()).collect();
    assert_eq!(names, ["cd", "ci"]);
    let digits = |count: usize| made.digest.as_str().chars().take(count).collect::<String>();
    for refused in ["nothing", "", &digits(7), &format!("{}x", digits(8))] {
        assert!(
            matches!(world.book.revoke_token(refused), Err(AdminError::NoToken(_))),
            "{refused}"
        );
    }
    assert_eq!(world.book.revoke_token(&digits(8)).unwrap(), "ci");
    assert_eq!(world.book.revoke_token("cd").unwrap(), "cd");
    assert!(world.book.tokens.find(&other.digest).unwrap().is_none());
    // The secrets are nowhere.
    for entry in ["tokens", "adminSessions", "."] {
        for entry in std::fs::read_dir(world.dir.path().join(entry)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for secret in [made.token.reveal(), other.token.reveal()] {
                assert!(!text.contains(secret) && !path.to_string_lossy().contains(secret));
            }
        }
    }
}

#[test]
fn a_token_without_a_role_does_nothing_to_admins() {
    let mut world = World::with_ada();
    let made = world.book.create_token(order("ci"), world.now).ok().unwrap();
    let asked = world.bearer(made.token.reveal(), Role::Viewer);
    assert!(matches!(asked, Err(AdminError::Role(Role::Viewer))));
    let ends = Order {
        expires_at: Some(world.now.seconds() + 60),
        role: Some(Role::Viewer),
        ..order("b")
    };
    let ends = world.book.create_token(ends, world.now).ok().unwrap();
    assert!(world.counts(ends.token.reveal()));
    world.pass(Duration::from_secs(60));
    assert!(!world.counts(ends.token.reveal()));
    world.book.sweep(world.now).unwrap();
    assert_eq!(world.book.tokens().unwrap().len(), 1);
}

#[test]
fn accounts_are_made_by_rules_and_bounded() {
    let mut world = World::with_ada();
    let now = world.now;
    let mut add = |text: &str, new: &str| {
        world.book.add(&name(text), Role::Viewer, &password(new), now).err()
    };
    assert!(matches!(add("ada", OTHER), Some(AdminError::AccountExists(_))));
    assert!(matches!(add("Admin", OTHER), Some(AdminError::Refused(_))));
    assert!(matches!(add(&"a".repeat(65), OTHER), Some(AdminError::Refused(_))));
    assert!(matches!(add("bob", "hunter2"), Some(AdminError::Password(_))));
    for number in 1..ploinky_contract::limits::ADMINS_MAX {
        assert!(add(&format!("admin{number}"), OTHER).is_none());
    }
    assert!(matches!(add("bob", OTHER), Some(AdminError::TooManyAccounts)));
    assert!(world.file().len() < ploinky_contract::limits::ADMIN_FILE_MAX_BYTES);
}
