//! Tests of the whole: files, memory and watch together.
#![expect(clippy::disallowed_methods, reason = "tests make files of all kinds")]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ploinky_contract::Token;
use ploinky_contract::limits::{GRANT_MAX_BYTES, SESSIONS_PER_USER};
use tempfile::TempDir;

use super::*;

const NOW: u64 = 1_000_000;

struct Host {
    root: TempDir,
    state: StateDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path());
        for path in [state.last_uses(), state.admin_sessions(), state.tokens()] {
            fs::create_dir_all(path).unwrap();
        }
        Self { root, state }
    }

    fn session(&self, user: &str) -> TokenDigest {
        let token = self.grants().sessions().mint(&grant(user)).unwrap();
        self.age(&token.digest(), NOW);
        token.digest()
    }

    fn age(&self, digest: &TokenDigest, seconds: u64) {
        let file = File::open(self.state.user_sessions().join(digest.as_str())).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn grants(&self) -> Grants {
        Grants::new(&self.state)
    }
}

fn grant(user: &str) -> Grant {
    let text = format!(
        r#"{{"userId":"{user}","domain":"localhost","allowedCommands":["*"],
            "createdAt":{},"expiresAt":{},"idleSeconds":1000}}"#,
        NOW - 10,
        NOW + 10_000
    );
    Grant::parse(text.as_bytes()).unwrap()
}

fn token(number: u8) -> Token {
    Token::of_session([number; 32])
}

fn put(directory: &Path, digest: &TokenDigest, text: &str) {
    let path = directory.join(digest.as_str());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    File::open(&path).and_then(|file| file.set_modified(UNIX_EPOCH)).unwrap();
}

fn user_of(grants: &Grants, digest: &TokenDigest, now_s: u64) -> Option<String> {
    let known = grants.find(digest, now_s).unwrap()?;
    Some(known.grant().user_id.to_string())
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn what_is_no_grant_of_who_may_write_there_does_not_count() {
    let host = Host::new();
    let text = grant("alice").to_json();
    let sessions = host.state.user_sessions();
    for (number, text) in [
        (1, String::new()),
        (2, "{}".to_owned()),
        (3, " ".repeat(GRANT_MAX_BYTES + 1)),
        (4, text.replace("\"createdAt\"", "\"role\":\"owner\",\"createdAt\"")),
        (5, text.replace("\"createdAt\"", "\"name\":\"ci\",\"createdAt\"")),
        (6, text.replace("\"domain\":\"localhost\",", "")),
    ] {
        put(&sessions, &token(number).digest(), &text);
    }
    let real = host.root.path().join("real");
    fs::write(&real, &text).unwrap();
    symlink(&real, sessions.join(token(7).digest().as_str())).unwrap();
    fs::create_dir(sessions.join(token(8).digest().as_str())).unwrap();
    let pipe = sessions.join(token(9).digest().as_str());
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    put(&sessions, &token(10).digest(), &text);
    let writable = sessions.join(token(10).digest().as_str());
    fs::set_permissions(&writable, Permissions::from_mode(0o660)).unwrap();
    // In the directories of the supervisor: a session where tokens are, and the file of somebody else.
    put(&host.state.tokens(), &token(11).digest(), &text);
    let admin = text.replace("\"createdAt\"", "\"role\":\"owner\",\"createdAt\"");
    put(&host.state.admin_sessions(), &token(12).digest(), &admin);
    let foreign = host.state.admin_sessions().join(token(12).digest().as_str());
    // Tests run as root; without that nothing of the supervisor counts anyway.
    std::os::unix::fs::chown(&foreign, Some(12345), None).ok();
    let grants = host.grants();
    for number in 0..=13 {
        let found = grants.find(&token(number).digest(), NOW).unwrap();
        assert!(found.is_none(), "{number}: {found:?}");
    }
    let digest = host.session("alice");
    assert_eq!(user_of(&grants, &digest, NOW).as_deref(), Some("alice"));
}

#[test]
fn what_the_supervisor_wrote_stands_in_front_of_what_an_instance_did() {
    let host = Host::new();
    let text = grant("alice").to_json();
    put(&host.state.user_sessions(), &token(1).digest(), &text);
    let admin = text
        .replace("alice", "root")
        .replace("\"domain\":\"localhost\",", "")
        .replace("\"createdAt\"", "\"role\":\"owner\",\"createdAt\"");
    put(&host.state.admin_sessions(), &token(1).digest(), &admin);
    let program = r#"{"userId":"ci","allowedCommands":["*"],"name":"ci","createdAt":1}"#;
    put(&host.state.tokens(), &token(2).digest(), program);
    let grants = host.grants();
    let known = grants.find(&token(1).digest(), NOW).unwrap().unwrap();
    assert_eq!((known.kind(), known.grant().user_id.as_str()), (Kind::AdminSession, "root"));
    let known = grants.find(&token(2).digest(), NOW).unwrap().unwrap();
    assert_eq!((known.kind(), known.grant().user_id.as_str()), (Kind::Token, "ci"));
    // Their last use is noted beside them, and goes with them.
    let uses = || fs::read_dir(host.state.last_uses()).unwrap().count();
    assert_eq!(uses(), 2);
    fs::remove_file(host.state.tokens().join(token(2).digest().as_str())).unwrap();
    grants.sessions().sweep(NOW).unwrap();
    assert_eq!(uses(), 1);
}

#[test]
fn directories_may_be_missing_and_come_later() {
    let host = Host::new();
    fs::remove_dir_all(host.root.path()).unwrap();
    let grants = host.grants();
    assert_eq!(user_of(&grants, &token(1).digest(), NOW), None);
    assert!(grants.sessions().list().unwrap().is_empty());
    assert!(matches!(grants.sessions().mint(&grant("alice")), Err(MintError::Io(_))));
    fs::create_dir_all(host.state.last_uses()).unwrap();
    let digest = host.session("alice");
    assert_eq!(user_of(&grants, &digest, NOW).as_deref(), Some("alice"));
    fs::remove_file(host.state.user_sessions().join(digest.as_str())).unwrap();
    eventually("the session is gone", || user_of(&grants, &digest, NOW).is_none());
}

#[test]
fn a_session_that_is_removed_ends_everywhere_whoever_tells_of_it() {
    let host = Host::new();
    let (told, ended) = (host.grants(), host.grants());
    // Without a word of the kernel: only the look of who uses it.
    let blind = host.grants();
    *blind.shared.watch.watcher() = None;
    let digest = host.session("alice");
    for grants in [&told, &ended, &blind] {
        assert_eq!(user_of(grants, &digest, NOW).as_deref(), Some("alice"));
    }
    assert!(ended.sessions().end(&digest).unwrap());
    assert_eq!(user_of(&ended, &digest, NOW), None);
    eventually("it is told", || user_of(&told, &digest, NOW).is_none());
    eventually("it is seen", || user_of(&blind, &digest, NOW).is_none());
    assert!(!ended.sessions().end(&digest).unwrap());
}

#[test]
fn a_session_ends_without_use_and_goes_on_with_it() {
    let host = Host::new();
    let digest = host.session("alice");
    assert_eq!(user_of(&host.grants(), &digest, NOW + 1000), None);
    let grants = host.grants();
    // Each use is written down when enough time has passed, so that another instance knows it.
    for step in 1..=5 {
        assert!(user_of(&grants, &digest, NOW + 900 * step).is_some(), "{step}");
        host.age(&digest, NOW + 900 * step);
        assert!(user_of(&host.grants(), &digest, NOW + 900 * step).is_some(), "{step}");
    }
    assert_eq!(user_of(&grants, &digest, NOW + 10_000), None);
    assert!(user_of(&grants, &digest, NOW + 4600).is_some());
    // It is noted with the clock of the host, which is later than the times of this test.
    let modified = fs::metadata(host.state.user_sessions().join(digest.as_str())).unwrap();
    assert!(UNIX_EPOCH + Duration::from_secs(NOW + 10_000) < modified.modified().unwrap());
    assert_eq!(grants.sessions().sweep(NOW + 9_999).unwrap(), 0);
    assert_eq!(grants.sessions().sweep(NOW + 10_000).unwrap(), 1);
    assert!(grants.sessions().list().unwrap().is_empty());
}

#[test]
fn a_user_who_logs_in_without_end_has_so_many_sessions_and_takes_nobody_elses() {
    let host = Host::new();
    let (other, first) = (host.session("bob"), host.session("alice"));
    host.age(&first, NOW - 5);
    for _ in 1..SESSIONS_PER_USER {
        host.session("alice");
    }
    let grants = host.grants();
    let count = || grants.sessions().list().unwrap().len();
    assert_eq!(count(), SESSIONS_PER_USER + 1);
    assert!(user_of(&grants, &first, NOW).is_some());
    host.session("alice");
    assert_eq!(count(), SESSIONS_PER_USER + 1);
    assert_eq!(user_of(&grants, &first, NOW), None);
    assert!(user_of(&grants, &other, NOW).is_some());
    let left_over = host.state.user_sessions().join(format!(".new-{first}"));
    File::create(&left_over).unwrap().set_modified(UNIX_EPOCH).unwrap();
    grants.sessions().sweep(NOW).unwrap();
    assert!(!left_over.exists());
}
