//! Admins on a real host: the supervisor alone knows passwords, and all instances do what it says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{json, ok, run, sh, start_four, wait_for};
use crate::http::{Reply, request};

const GOOD: &str = "a sentence that nobody guesses";
const OTHER: &str = "another one which is new here";
/// Sockets by which root reaches one instance after the other; a login there is one as anywhere.
const INSTANCES: [u16; 4] = [1, 2, 3, 4];
/// Connections among which the kernel has given some to each instance.
const MANY: usize = 64;

fn post(path: &str, headers: &str, body: &Value) -> Reply {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    let path = format!("/management/api/{path}");
    request("POST", &path, &headers, body.to_string().as_bytes()).unwrap()
}

fn login(password: &str) -> Reply {
    post("login", "", &json!({ "username": "ada", "password": password }))
}

/// The status of a login at one instance.
fn login_at(instance: u16, password: &str) -> u16 {
    let body = json!({ "username": "ada", "password": password });
    let script = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' --unix-socket /run/ploinky/admin-{instance}.sock \
         --json '{body}' http://localhost/management/api/login"
    );
    sh(&script).parse().unwrap()
}

/// The cookie that a login or a change of the password has set.
fn cookie(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let set = reply.header("set-cookie").unwrap();
    format!("Cookie: {}\r\n", set.split(';').next().unwrap())
}

fn is_known(cookie: &str) -> bool {
    let reply = request("GET", "/management/api/check-auth", cookie, b"").unwrap();
    reply.json()["authenticated"] == true
}

/// Whether all instances say so, on connections of their own.
fn all(mut ask: impl FnMut() -> bool) -> bool {
    (0..MANY).all(|_| ask())
}

fn failures() -> Value {
    json(&["ploinkyctl", "admin", "list", "--json"])[0]["failures"].clone()
}

fn forget() {
    sh("rm -f /var/lib/ploinky/.admin /var/lib/ploinky/adminSessions/* /var/lib/ploinky/tokens/*");
    sh("systemctl restart ploinky-supervisor");
}

#[test]
fn admins_log_in_by_the_supervisor_and_all_instances_know() {
    start_four();
    forget();
    let journal = sh("journalctl -u ploinky-supervisor -o cat --since -5min");
    let setup = journal.rsplit("one-time token: ").next().unwrap().get(..64).unwrap();
    let first = |token: &str| {
        post("init", "", &json!({ "token": token, "username": "ada", "password": GOOD })).status
    };
    assert_eq!([first(&"0".repeat(64)), first(setup), first(setup)], [401, 200, 401]);
    assert_eq!(sh("stat -c %U:%G:%a /var/lib/ploinky/.admin").trim(), "root:root:600");
    assert!(!run(&["runuser", "-u", "nobody", "--", "ls", "/run/ploinky"]).status.success());

    // The wait after wrong passwords is the same one for all instances.
    for _ in 0..5 {
        assert_eq!(login(OTHER).status, 401);
    }
    for closed in [1_100, 2_100, 4_100] {
        std::thread::park_timeout(Duration::from_millis(closed));
        assert_eq!(login(OTHER).status, 401);
    }
    assert_eq!(INSTANCES.map(|instance| login_at(instance, GOOD)), [401; 4]);
    // What is not looked at does not count.
    assert_eq!(failures(), 8);
    ok(&["ploinkyctl", "admin", "unlock", "ada"]);
    assert_eq!(INSTANCES.map(|instance| login_at(instance, GOOD)), [200; 4]);

    // A password that is changed ends what began with the old one, everywhere.
    let (one, two) = (cookie(&login(GOOD)), cookie(&login(GOOD)));
    assert!(all(|| is_known(&one)) && all(|| is_known(&two)));
    let body = json!({ "oldPassword": GOOD, "newPassword": OTHER });
    let changed = cookie(&post("password", &one, &body));
    let ((), took) = wait_for("the end of both", || {
        all(|| !is_known(&one)).then_some(()).filter(|()| all(|| !is_known(&two)))
    });
    println!("a changed password ended two sessions at four instances within {took:?}");
    assert!(all(|| is_known(&changed)));
    assert_eq!(login(GOOD).status, 401);

    // A token of a program counts until it is revoked.
    let token = ok(&["ploinkyctl", "token", "create", "ci", "--allow", "build.*"]);
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    let status = || request("GET", "/auth/session", &bearer, b"").unwrap().status;
    wait_for("the token", || all(|| status() == 200).then_some(()));
    ok(&["ploinkyctl", "token", "revoke", "ci"]);
    let ((), took) = wait_for("the end of the token", || all(|| status() == 401).then_some(()));
    println!("a revoked token was refused by four instances within {took:?}");
    assert!(!sh("grep -rl ploinky_ /var/lib/ploinky/tokens || true").contains("tokens/"));

    // Without the supervisor nobody logs in, and who is in stays in.
    sh("systemctl stop ploinky-supervisor");
    assert_eq!(login(OTHER).status, 503);
    assert!(all(|| is_known(&changed)));
    assert_eq!(property_of_supervisor(), "inactive", "a login has started it");
    sh("systemctl start ploinky-supervisor");
    assert_eq!(INSTANCES.map(|instance| login_at(instance, OTHER)), [200; 4]);
    assert_eq!(post("logout", &changed, &json!({})).status, 200);
    wait_for("the logout", || all(|| !is_known(&changed)).then_some(()));

    let audit = ok(&["ploinkyctl", "audit", "--since", "-10min", "--json"]);
    for act in ["admin.init", "admin.login", "admin.lock", "admin.unlock", "token.revoke"] {
        assert!(audit.contains(&format!("\"ACTION\":\"{act}\"")), "{act} is not in the journal");
    }
    assert!(![GOOD, OTHER, token.trim()].iter().any(|secret| audit.contains(secret)));
    forget();
}

fn property_of_supervisor() -> String {
    crate::host::property("ploinky-supervisor", "ActiveState")
}
