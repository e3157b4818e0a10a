//! The bundled Security Agent: users, their sessions, and what of them a deployment keeps.

use serde_json::{Value, json};

use crate::host::{json as json_of, ok, refused, run, sh, wait_for};
use crate::http::{Reply, call, call_with};
use crate::t02_agents::deploy_echo;

const GOOD: &str = "seven blue lamps on a wall";
const OTHER: &str = "nine green doors by a lake";

/// The agent at `/auth` of localhost while a test runs.
struct Auth;

impl Auth {
    fn deploy() -> Self {
        deploy_echo();
        ok(&["ploinkyctl", "deploy", "localhost", "/auth", "security"]);
        let auth = Self;
        wait_for("an agent at /auth", || (login("nobody", "x").status == 401).then_some(()));
        auth
    }
}

impl Drop for Auth {
    fn drop(&mut self) {
        // A second panic while one unwinds would end all tests.
        run(&["ploinkyctl", "undeploy", "localhost", "/auth"]);
        if std::thread::panicking() {
            return;
        }
        wait_for("echo is open again", || {
            (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
        });
    }
}

fn login(name: &str, password: &str) -> Reply {
    call("/auth", "login", &json!([name, password])).unwrap()
}

fn token(name: &str, password: &str) -> String {
    let reply = login(name, password);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["data"]["userId"], name, "{body}");
    body["data"]["authorizationToken"].as_str().unwrap().to_owned()
}

/// A call with this token: who the agent was told it is, or the status that refuses.
fn whoami(token: &str) -> Result<Value, u16> {
    let header = format!("Authorization: Bearer {token}\r\n");
    let reply = call_with("/echo", &header, "echo.whoami", &json!([])).unwrap();
    if reply.status == 200 { Ok(reply.json()["data"].clone()) } else { Err(reply.status) }
}

fn add(name: &str, password: &str, words: &str) {
    sh(&format!("printf '%s\\n' '{password}' | ploinkyctl user add {words} -- '{name}'"));
}

fn root_may(command: &str) {
    ok(&["sh", "-c", command]);
}

#[test]
fn an_image_for_it_is_made_without_a_registry() {
    sh("podman build --quiet --tag localhost/ploinky-empty:1 /usr/share/ploinky/agents/security");
    ok(&["podman", "image", "rm", "localhost/ploinky-empty:1"]);
}

#[test]
fn a_user_logs_in_and_calls_until_the_admin_says_otherwise() {
    let _auth = Auth::deploy();
    assert_eq!(call("/echo", "echo.whoami", &json!([])).unwrap().status, 401);
    add("alice", GOOD, "");
    assert_eq!(login("alice", OTHER).status, 401);
    let session = token("alice", GOOD);
    assert_eq!(whoami(&session), Ok(json!("alice")));
    // A user is no manager of users, and has a password of their own.
    let header = format!("Authorization: Bearer {session}\r\n");
    for (command, params) in [
        ("user.list", json!([])),
        ("user.add", json!(["mallory", OTHER])),
        ("user.permissions", json!(["alice", ["user.*"]])),
        ("user.remove", json!(["alice"])),
    ] {
        let reply = call_with("/auth", &header, command, &params).unwrap();
        assert_eq!(reply.status, 403, "{command}: {}", reply.text());
    }
    for (change, back) in [
        ("ploinkyctl user disable alice", "ploinkyctl user enable alice"),
        ("ploinkyctl user permissions alice 'echo.*'", "true"),
        ("ploinkyctl user permissions alice echo.ping", "ploinkyctl user permissions alice '*'"),
    ] {
        let session = token("alice", GOOD);
        assert!(whoami(&session).is_ok());
        root_may(change);
        wait_for("the end of the session", || (whoami(&session) == Err(401)).then_some(()));
        let again = login("alice", GOOD);
        match change.split(' ').nth(2) {
            Some("disable") => assert_eq!(again.status, 401),
            _ if change.ends_with("echo.ping") => {
                assert_eq!(whoami(&token("alice", GOOD)), Err(403));
            }
            _ => assert_eq!(whoami(&token("alice", GOOD)), Ok(json!("alice"))),
        }
        root_may(back);
    }
    let session = token("alice", GOOD);
    let header = format!("Authorization: Bearer {session}\r\n");
    let changed = call_with("/auth", &header, "password.change", &json!([GOOD, OTHER])).unwrap();
    assert_eq!(changed.status, 200, "{}", changed.text());
    wait_for("the end of the session", || (whoami(&session) == Err(401)).then_some(()));
    assert_eq!(login("alice", GOOD).status, 401);
    assert!(whoami(&token("alice", OTHER)).is_ok());
}

#[test]
fn users_outlive_restarts_and_redeployments_and_go_with_the_agent() {
    let auth = Auth::deploy();
    add("alice", GOOD, "--allow 'echo.*'");
    let shown = || json_of(&["ploinkyctl", "--json", "user", "show", "alice"]);
    let before = shown();
    assert_eq!(before["allowedCommands"], json!(["echo.*"]));
    ok(&["systemctl", "restart", "ploinky-agent-localhost-auth.service"]);
    wait_for("the agent after its restart", || (login("alice", GOOD).status == 200).then_some(()));
    ok(&["ploinkyctl", "deploy", "localhost", "/auth", "security"]);
    wait_for("the agent after its redeployment", || {
        (login("alice", GOOD).status == 200).then_some(())
    });
    assert_eq!(shown(), before);
    // Nobody but the agent sees its data, and what is in it cannot be read by anybody else.
    let base = json_of(&["ploinkyctl", "--json", "agent", "status", "/auth"]);
    let base = base.get("agents").map_or(&base, |agents| &agents[0])["uidFirst"].clone();
    let found = sh("cd /var/lib/ploinky/agents/localhost/auth && stat -c '%n %u %g %a' data");
    assert_eq!(found.trim(), format!("data {base} {base} 700"));
    let mounts =
        ok(&["podman", "inspect", "--format", "{{json .Mounts}}", "ploinky-localhost-auth"]);
    let mounts: Value = serde_json::from_str(&mounts).unwrap();
    let data =
        mounts.as_array().unwrap().iter().find(|m| m["Destination"] == "/agent/data").unwrap();
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(data["Options"].as_array().unwrap().contains(&json!(option)), "{data}");
    }
    let echo =
        ok(&["podman", "exec", "ploinky-localhost-echo", "sh", "-c", "ls /agent/data 2>&1; true"]);
    assert!(echo.contains("No such file"), "{echo}");
    let (_, text) = refused(&[
        "setpriv",
        "--reuid",
        "ploinky",
        "--clear-groups",
        "ls",
        "/var/lib/ploinky/agents/localhost/auth/data",
    ]);
    assert!(text.contains("Permission denied"), "{text}");
    drop(auth);
    let left = sh("ls -d /var/lib/ploinky/agents/localhost/auth 2>/dev/null || true");
    assert_eq!(left, "");
    let auth = Auth::deploy();
    assert_eq!(login("alice", GOOD).status, 401);
    let listed = json_of(&["ploinkyctl", "--json", "user", "list"]);
    assert_eq!(listed, json!({"users": []}));
    drop(auth);
    let (_, text) = refused(&["ploinkyctl", "user", "list"]);
    assert!(text.contains("ploinkyctl deploy localhost /auth security"), "{text}");
}

#[test]
fn wrong_passwords_and_wrong_names_get_one_answer_and_the_right_one_has_to_wait() {
    let _auth = Auth::deploy();
    add("alice", GOOD, "");
    add("bob", GOOD, "");
    root_may("ploinkyctl user disable bob");
    let said = |name: &str, password: &str| {
        let reply = login(name, password);
        let body = reply.text();
        (reply.status, body)
    };
    let expected = said("alice", OTHER);
    assert_eq!(expected.0, 401);
    for (name, password) in [
        ("alice", ""),
        ("Alice", GOOD),
        ("bob", GOOD),
        ("carol", GOOD),
        ("Admin", GOOD),
        ("InternetUser", GOOD),
        ("", GOOD),
        ("../users/alice", GOOD),
        ("..%2falice", GOOD),
        ("alice\0", GOOD),
        ("alice\n", GOOD),
        ("*", GOOD),
        ("\u{202e}alice", GOOD),
        ("alice.json", GOOD),
        (&"a".repeat(10 << 10), GOOD),
    ] {
        assert_eq!(said(name, password), expected, "{name:?}");
    }
    // Two were wrong until here.
    for _ in 2..5 {
        assert_eq!(said("alice", OTHER), expected);
    }
    assert_eq!(said("alice", GOOD), expected, "the right password has to wait");
    wait_for("the end of the wait", || (login("alice", GOOD).status == 200).then_some(()));
    for params in [
        json!([]),
        json!(["alice"]),
        json!(["alice", 7]),
        json!([{}, []]),
        json!(["alice", GOOD, 1]),
    ] {
        let reply = call("/auth", "login", &params).unwrap();
        assert_eq!(reply.status, 400, "{params}: {}", reply.text());
    }
}

#[test]
fn names_and_passwords_that_break_a_rule_are_refused_and_leave_nothing() {
    let _auth = Auth::deploy();
    let try_add = |name: &str, password: &str| {
        let line = format!("printf '%s\\n' '{password}' | ploinkyctl user add -- \"$1\"");
        refused(&["sh", "-c", &line, "sh", name]).1
    };
    for name in
        ["", " ", "a b", "Admin", "internetuser", "\u{e4}", "a\nb", "a\"b", "a\\b", &"a".repeat(65)]
    {
        let text = try_add(name, GOOD);
        assert!(text.contains("BAD_REQUEST"), "{name:?}: {text}");
    }
    for password in ["", "short", "password123456789", "aliceabc1aliceabc1", "aaaaaaaaaaaaaaaa"] {
        let text = try_add("aliceabc1", password);
        assert!(text.contains("the password"), "{password}: {text}");
    }
    for name in ["../../x", "..", ".admin", "%2e%2e", "/etc/passwd", "a.json", "$HOME", "-rf", "*"]
    {
        add(name, GOOD, "");
        assert!(token(name, GOOD).len() == 64, "{name}");
    }
    let root = "/var/lib/ploinky/agents/localhost/auth/data";
    let users = sh(&format!(
        "ls {root}/users | wc -l; find {root} -type f | grep -v -e /users/ -e /failures/ -e '/data/[.]' || true"
    ));
    assert_eq!(users.trim(), "9");
}

/// The blocks of the README in this language that begin so.
fn example(language: &str, begins: &str) -> String {
    let readme = include_str!("../../packaging/agents/security/README.md");
    let blocks = readme.split("```").skip(1).step_by(2);
    let mut blocks = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    blocks.find(|block| block.contains(begins)).expect(begins).to_owned()
}

#[test]
fn the_security_agent_of_the_readme_lets_its_user_in() {
    deploy_echo();
    let script = |name: &str| example("sh", &format!("# {name}:"));
    sh(&format!(
        "rm -rf /tmp/one && mkdir /tmp/one && cd /tmp/one && printf 'open sesame' >secret
cat >manifest.json <<'END'\n{}END\ncat >login.sh <<'END'\n{}END\ncat >leave.sh <<'END'\n{}END",
        example("json", "one-user"),
        script("login.sh"),
        script("leave.sh")
    ));
    ok(&["ploinkyctl", "deploy", "localhost", "/auth", "/tmp/one"]);
    let auth = Auth;
    wait_for("an agent at /auth", || (login("nobody", "x").status == 401).then_some(()));
    let session = token("alice", "open sesame");
    assert_eq!(whoami(&session), Ok(json!("alice")));
    let header = format!("Authorization: Bearer {session}\r\n");
    // What it may call is what the agent said.
    assert_eq!(call_with("/auth", &header, "leaves", &json!([])).unwrap().status, 403);
    assert_eq!(call_with("/auth", &header, "leave", &json!([])).unwrap().status, 200);
    wait_for("the end of the session", || (whoami(&session) == Err(401)).then_some(()));
    let (_, text) = refused(&["ploinkyctl", "user", "list"]);
    assert!(text.contains("another than the bundled one"), "{text}");
    drop(auth);
}

#[test]
fn many_logins_at_once_are_sent_away_with_the_time_to_come_back() {
    let _auth = Auth::deploy();
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..40).map(|_| scope.spawn(|| login("nobody", OTHER))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (busy, wrong): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 429);
    assert!(wrong.iter().all(|reply| reply.status == 401));
    assert!(9 <= wrong.len() && !busy.is_empty(), "{} and {}", wrong.len(), busy.len());
    for reply in busy {
        assert!(reply.header("retry-after").is_some(), "{}", reply.text());
    }
    let (status, _) =
        wait_for("room", || Some(login("nobody", OTHER).status).filter(|s| *s != 429));
    assert_eq!(status, 401);
}
