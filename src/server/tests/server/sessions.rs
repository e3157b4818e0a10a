//! Sessions as clients meet them: what makes one, what it is good for, and how it ends.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ploinky_contract::Token;
use serde_json::json;

use crate::agent::Agent;
use crate::client::{Client, Reply, ask_text, call_with, exchange, exchange_as_admin};
use crate::host::{Host, Server, config, eventually, queue_files};

/// A host with `/auth`, the agent `/a`, and `/open`, of which `echo` is public; `rules` are the `auth` of localhost.
struct City {
    host: Host,
    server: Server,
    _agents: Vec<Agent>,
}

/// Requests on one connection, of which there is a most.
const REQUESTS: usize = 500;
const NO_RULES: &str = "{}";
const ALICE: &str = r#"{"userId":"alice"}"#;
const ECHO: &str = r#"{"command":"echo","params":[1]}"#;

impl City {
    fn new(rules: &str) -> Self {
        let host = Host::new();
        host.agent("localhost", "/auth", 30);
        host.agent("localhost", "/a", 30);
        host.agent_with("localhost", "/open", 30, r#","public":["echo"]"#);
        let text = host_config(rules, "");
        host.configure(&text);
        let agents = ["/auth", "/a", "/open"]
            .map(|path| Agent::start(&host.directory("localhost", path).tasks()));
        let server = host.start();
        Self { host, server, _agents: agents.into() }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> Reply {
        exchange(self.server.address, call_with(path, headers, body))
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        exchange(self.server.address, ask_text(method, path, headers))
    }

    /// The answer of the agent is `said`.
    fn log_in(&self, said: &str) -> Reply {
        self.post("/auth", "", &format!(r#"{{"command":"login","params":[{said}]}}"#))
    }

    fn token(&self, said: &str) -> String {
        let reply = self.log_in(said);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["data"]["authorizationToken"].as_str().unwrap().to_owned()
    }

    fn calls(&self) -> usize {
        ["/auth", "/a", "/open"]
            .iter()
            .map(|path| queue_files(&self.host.directory("localhost", path).tasks()).len())
            .sum()
    }
}

/// The configuration with these `auth` of localhost and more members of `settings`. The tests ask more often than one
/// client may.
fn host_config(rules: &str, settings: &str) -> String {
    let domains = r#""localhost"}]"#;
    let domain = format!(r#""localhost","auth":{rules}}}]"#);
    let limits = format!(r#"{{"settings":{{"limits":{{"requestsPerSecond":0}}{settings}}},"#);
    config(&["/auth", "/a", "/open"]).replacen(domains, &domain, 1).replacen('{', &limits, 1)
}

fn cookie(token: &str) -> String {
    format!("Cookie: authorizationToken={token}\r\n")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn unauthenticated() -> (u16, String) {
    (401, "UNAUTHENTICATED".to_owned())
}

fn forbidden() -> (u16, String) {
    (403, "FORBIDDEN".to_owned())
}

/// All files below `root` that hold `text`, in their names or in their bytes.
fn files_with(root: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file()
            && (name.contains(text)
                || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text))
        {
            found.push(name);
        }
    }
    found
}

#[test]
fn i4_nobody_calls_what_nobody_opened_and_nothing_is_written() {
    let city = City::new(NO_RULES);
    let stranger = Token::of_session([7; 32]);
    let long = "a".repeat(10 << 10);
    let upper = "A".repeat(64);
    for shown in
        ["", "Admin", "admin", "*", "../../x", "a", &long, &upper, "\"x\"", stranger.reveal()]
    {
        let headers = cookie(shown);
        for request in [
            call_with("/a", &headers, ECHO),
            call_with("/a", &format!("{headers}Prefer: respond-async\r\n"), ECHO),
            call_with("/a", &format!("{headers}Idempotency-Key: k\r\n"), ECHO),
            call_with("/auth", &headers, r#"{"command":"user.list"}"#),
            call_with("/open", &headers, r#"{"command":"request"}"#),
            ask_text("GET", "/a/subscribe?command=echo", &headers),
            ask_text("GET", "/tasks", &headers),
            ask_text("GET", "/auth/sessions", &headers),
            ask_text("DELETE", "/auth/sessions", &headers),
            call_with(
                "/a/upload?command=echo",
                &format!("{headers}Content-Type: multipart/form-data; boundary=x\r\n"),
                "--x--",
            ),
        ] {
            let reply = exchange(city.server.address, &request);
            assert_eq!(reply.failure(), unauthenticated(), "{request:.200}");
            assert_eq!(reply.header("www-authenticate"), Some(r#"Bearer realm="ploinky""#));
        }
        let reply = city.post("/open", &headers, ECHO);
        assert_eq!(reply.json()["data"], json!(["InternetUser", 1]), "{shown:.80}");
        let reply = city.ask("GET", "/auth/session", &headers);
        assert_eq!(reply.json()["data"], json!({"authenticated": false, "userId": "InternetUser"}));
        // The same as a token is told to be none, wherever it is shown.
        for (method, path) in [
            ("POST", "/open"),
            ("POST", "/auth"),
            ("GET", "/tasks"),
            ("GET", "/auth/session"),
            ("GET", "/a/subscribe?command=echo"),
        ] {
            let reply = city.ask(method, path, &bearer(shown));
            match shown {
                "" | "*" | "\"x\"" => assert_eq!(reply.failure().0, 400, "{shown} {path}"),
                _ => {
                    assert_eq!(reply.failure(), unauthenticated(), "{shown:.80} {path}");
                    assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
                }
            }
        }
    }
    let twice = format!("Cookie: authorizationToken={long}; authorizationToken={long}\r\n");
    assert_eq!(city.post("/open", &twice, ECHO).failure().0, 400);
    let by_url = city.post(&format!("/a?authorizationToken={}", stranger.reveal()), "", ECHO);
    assert_eq!(by_url.failure(), unauthenticated());
    eventually("nothing is left", || city.calls() == 0);
    assert!(files_with(&city.host.state().user_sessions(), "").is_empty());
}

#[test]
fn c6_an_answer_that_is_no_login_makes_no_session() {
    let city = City::new(NO_RULES);
    for said in ["\"wrong\"", "null", "false"] {
        assert_eq!(city.log_in(said).failure(), unauthenticated(), "{said}");
    }
    for said in [
        "{}",
        "[]",
        "\"alice\"",
        r#"{"userId":"Admin"}"#,
        r#"{"userId":"InternetUser"}"#,
        r#"{"userId":"a b"}"#,
        r#"{"userId":"alice","allowedCommands":["us*"]}"#,
    ] {
        let reply = city.log_in(said);
        assert_eq!(reply.failure(), (502, "AGENT_BAD_RESULT".to_owned()), "{said}");
        assert_eq!(reply.header("set-cookie"), None);
    }
    for headers in ["Prefer: respond-async\r\n", "Idempotency-Key: k\r\n"] {
        for body in [r#"{"command":"login","params":["x"]}"#, r#"{"command":"logout"}"#] {
            assert_eq!(city.post("/auth", headers, body).failure().0, 400, "{headers} {body}");
        }
    }
    assert_eq!(city.ask("POST", "/auth/upload", "").failure().0, 404);
    assert_eq!(city.ask("GET", "/auth/subscribe?command=login", "").failure().0, 404);
    // Another agent's words are no login.
    let token = city.token(ALICE);
    let reply =
        city.post("/a", &bearer(&token), &format!(r#"{{"command":"login","params":[{ALICE}]}}"#));
    assert_eq!((reply.status, reply.header("set-cookie")), (200, None));
    assert_eq!(files_with(&city.host.state().user_sessions(), "").len(), 1);
}

#[test]
fn a_login_makes_a_session_whose_token_is_nowhere_else() {
    let city = City::new(NO_RULES);
    let reply = city.log_in(r#"{"userId":"alice","authorizationToken":"Admin","displayName":"A"}"#);
    let data = &reply.json()["data"];
    let token = data["authorizationToken"].as_str().unwrap();
    assert_eq!(
        (token.len(), &data["userId"], &data["displayName"]),
        (64, &json!("alice"), &json!("A"))
    );
    assert_eq!(
        reply.header("set-cookie").unwrap(),
        format!("authorizationToken={token}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    for headers in [cookie(token), bearer(token)] {
        let reply = city.post("/a", &headers, ECHO);
        assert_eq!(reply.json()["data"], json!(["alice", 1]));
        let reply = city.post("/a", &headers, r#"{"command":"request","params":["Admin"]}"#);
        let written = &reply.json()["data"];
        assert_eq!(
            (&written["owner"], &written["params"]),
            (&json!("alice"), &json!(["alice", "Admin"]))
        );
        assert!(!reply.text().contains(token));
        let known = city.ask("GET", "/auth/session", &headers).json();
        assert_eq!(known["data"]["userId"], "alice");
        // What the agent asked for is not the agent's to give.
        assert_eq!(known["data"].get("role"), None);
        assert_eq!(city.ask("GET", "/tasks", &headers).json()["tasks"], json!([]));
    }
    let sessions = city.host.state().user_sessions();
    let name = token.parse::<Token>().unwrap().digest().to_string();
    let file = sessions.join(&name);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    eventually("the calls are gone", || city.calls() == 0);
    for root in [city.host.state().root(), &city.host.runtime()] {
        assert_eq!(files_with(root, token), Vec::<String>::new());
    }
    // Each login makes another one, and takes the place of the one that it came with.
    let again =
        city.post("/auth", &cookie(token), &format!(r#"{{"command":"login","params":[{ALICE}]}}"#));
    assert_ne!(again.json()["data"]["authorizationToken"], token);
    assert_eq!(city.post("/a", &bearer(token), ECHO).failure(), unauthenticated());
    assert_eq!(files_with(&sessions, "").len(), 1);
}

#[test]
fn u1_u4_a_session_is_good_for_what_was_granted() {
    let city = City::new(r#"{"grants":["echo","user.*"],"sessionIdle":60,"sessionMax":120}"#);
    let reply = city.log_in(r#"{"userId":"alice","allowedCommands":["*"]}"#);
    assert_eq!(reply.json()["data"]["allowedCommands"], json!(["user.*", "echo"]));
    assert!(reply.header("set-cookie").unwrap().contains("Max-Age=120;"));
    let token = bearer(reply.json()["data"]["authorizationToken"].as_str().unwrap());
    for (path, command) in
        [("/a", "request"), ("/open", "request"), ("/a", "user"), ("/a", "ECHO"), ("/a", "users.x")]
    {
        let body = format!(r#"{{"command":"{command}"}}"#);
        assert_eq!(city.post(path, &token, &body).failure(), forbidden(), "{path} {command}");
        let reply = city.ask("GET", &format!("{path}/subscribe?command={command}"), &token);
        assert_eq!(reply.failure(), forbidden(), "{path} {command}");
        let headers = format!("{token}Content-Type: multipart/form-data; boundary=x\r\n");
        for query in [format!("?command={command}"), String::new()] {
            let reply = exchange(
                city.server.address,
                call_with(&format!("{path}/upload{query}"), &headers, "--x--"),
            );
            assert_eq!(reply.failure(), forbidden(), "{path} {command}");
        }
    }
    assert_eq!(city.calls(), 0);
    assert_eq!(city.post("/a", &token, ECHO).status, 200);
    // On another domain nobody knows the session.
    let elsewhere = call_with("/a", &token, ECHO).replace("Host: localhost", "Host: example.org");
    assert_eq!(exchange(city.server.address, elsewhere).failure().0, 404);
    let loopback = call_with("/a", &token, ECHO).replace("Host: localhost", "Host: 127.0.0.1");
    assert_eq!(exchange(city.server.address, loopback).status, 200);
    for body in [
        r#"{"command":"echo","runForUserId":"Admin"}"#,
        r#"{"command":"echo","params":[],"user":"Admin"}"#,
        r#"{"command":"echo","params":[],"params":["Admin"]}"#,
        r#"{"command":"echo","__proto__":{"user":"Admin"}}"#,
    ] {
        assert_eq!(city.post("/a", &token, body).failure().0, 400, "{body}");
    }
}

#[test]
fn u3_tasks_of_others_are_not_there() {
    let city = City::new(NO_RULES);
    let (alice, bob) = (bearer(&city.token(ALICE)), bearer(&city.token(r#"{"userId":"bob"}"#)));
    let accepted = city.post("/a", &format!("{alice}Prefer: respond-async\r\n"), ECHO);
    let id = accepted.header("task-id").unwrap().to_owned();
    let unknown = "0".repeat(32);
    for (method, rest) in
        [("GET", ""), ("GET", "/result"), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")]
    {
        for headers in [&bob, ""] {
            let path = |id: &str| format!("/tasks/{id}{rest}");
            let (theirs, nobodys) =
                (city.ask(method, &path(&id), headers), city.ask(method, &path(&unknown), headers));
            assert_eq!(theirs.failure(), (404, "TASK_NOT_FOUND".to_owned()));
            assert_eq!((&theirs.headers, &theirs.body), (&nobodys.headers, &nobodys.body));
        }
    }
    assert_eq!(city.ask("GET", "/tasks", &bob).json()["tasks"], json!([]));
    assert_eq!(city.ask("GET", "/tasks?owner=alice", &bob).json()["tasks"], json!([]));
    let own = city.ask("GET", "/tasks", &alice).json();
    assert_eq!((&own["tasks"][0]["id"], own["tasks"].as_array().unwrap().len()), (&json!(id), 1));
    assert_eq!(
        city.ask("GET", &format!("/tasks/{id}"), &format!("{alice}Prefer: wait=20\r\n")).status,
        200
    );
}

#[test]
fn s6_u5_a_logout_ends_the_session_in_every_instance() {
    let city = City::new(NO_RULES);
    let others = [city.host.start(), city.host.start(), city.host.start()];
    let all: Vec<_> = others.iter().chain([&city.server]).collect();
    for carrier in [cookie, bearer] {
        let token = city.token(ALICE);
        let request = call_with("/a", &carrier(&token), ECHO);
        for server in &all {
            assert_eq!(exchange(server.address, &request).status, 200);
        }
        let reply = city.post("/auth", &carrier(&token), r#"{"command":"logout"}"#);
        assert_eq!((reply.status, reply.json()["success"].clone()), (200, json!(true)));
        let ended = Instant::now();
        assert_eq!(
            reply.header("set-cookie"),
            Some("authorizationToken=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
        );
        // The instance that ended it knows it at once.
        assert_eq!(exchange(city.server.address, &request).failure(), unauthenticated());
        for server in &all {
            eventually("the session is over", || exchange(server.address, &request).status == 401);
        }
        println!("four instances refuse {} ms after the logout", ended.elapsed().as_millis());
        let mut clients = Vec::new();
        let count = all.len();
        for number in 0..5_000 {
            if number % REQUESTS == 0 {
                clients = all.iter().map(|server| Client::connect(server.address)).collect();
            }
            let client = &mut clients[number % count];
            client.send(&request);
            assert_eq!(client.reply().status, 401, "{number}");
        }
    }
    // Without a session there is nothing to end, and nothing to say.
    assert_eq!(city.post("/auth", "", r#"{"command":"logout"}"#).status, 200);
}

#[test]
fn sessions_are_listed_and_ended_by_those_who_may() {
    let city = City::new(NO_RULES);
    let (alice, second, bob) =
        (city.token(ALICE), city.token(ALICE), city.token(r#"{"userId":"bob"}"#));
    let ids = |reply: &Reply| -> BTreeSet<String> {
        let json = reply.json();
        json["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let id = |token: &str| {
        let digest = token.parse::<Token>().unwrap().digest();
        digest.as_str().chars().take(16).collect::<String>()
    };
    let own = city.ask("GET", "/auth/sessions", &bearer(&alice));
    assert_eq!(ids(&own), BTreeSet::from([id(&alice), id(&second)]));
    assert!(!own.text().contains(&alice));
    assert!(ids(&city.ask("GET", "/auth/sessions?user=bob", &bearer(&alice))).is_empty());
    for foreign in [
        id(&bob),
        "0".repeat(16),
        "0".repeat(15),
        "x".repeat(16),
        "../x".to_owned(),
        id(&bob).chars().take(12).collect(),
    ] {
        let reply = city.ask("DELETE", &format!("/auth/sessions/{foreign}"), &bearer(&alice));
        assert_eq!(reply.failure(), (404, "SESSION_NOT_FOUND".to_owned()), "{foreign}");
    }
    let reply = city.ask("DELETE", "/auth/sessions?user=bob", &bearer(&alice));
    assert_eq!(reply.json(), json!({"success": true, "ended": 0}));
    let cross = city.ask(
        "DELETE",
        "/auth/sessions",
        &format!("{}Sec-Fetch-Site: cross-site\r\n", cookie(&alice)),
    );
    assert_eq!(cross.failure(), forbidden());
    let ended = city.ask("DELETE", &format!("/auth/sessions/{}", id(&second)), &cookie(&alice));
    assert_eq!((ended.status, ended.body.len()), (204, 0));
    assert_eq!(city.post("/a", &bearer(&second), ECHO).status, 401);
    let root = |method: &str, path: &str| {
        exchange_as_admin(&city.server.admin, ask_text(method, path, ""))
    };
    assert_eq!(ids(&root("GET", "/auth/sessions")), BTreeSet::from([id(&alice), id(&bob)]));
    assert_eq!(root("DELETE", "/auth/sessions").failure().0, 400);
    assert_eq!(root("GET", "/auth/sessions?x=1").failure().0, 400);
    assert_eq!(root("DELETE", "/auth/sessions?user=bob").json()["ended"], 1);
    assert_eq!(city.post("/a", &bearer(&bob), ECHO).status, 401);
    // All of one's own.
    city.token(ALICE);
    assert_eq!(city.ask("DELETE", "/auth/sessions", &bearer(&alice)).json()["ended"], 2);
    assert!(files_with(&city.host.state().user_sessions(), "").is_empty());
}

#[test]
fn u5_an_agent_at_auth_ends_the_sessions_of_whom_it_names() {
    let city = City::new(NO_RULES);
    let (first, second) = (city.token(ALICE), city.token(ALICE));
    let bob = city.token(r#"{"userId":"bob"}"#);
    // Of another agent the same words end nothing.
    let words =
        |command: &str| format!(r#"{{"command":"{command}","params":[{{"revokeUser":"alice"}}]}}"#);
    assert_eq!(city.post("/a", &bearer(&bob), &words("login")).status, 200);
    assert_eq!(city.post("/a", &bearer(&first), ECHO).status, 200);
    assert_eq!(city.post("/auth", &bearer(&bob), &words("user.change")).status, 200);
    for token in [&first, &second] {
        assert_eq!(city.post("/a", &bearer(token), ECHO).failure(), unauthenticated());
    }
    assert_eq!(city.post("/a", &bearer(&bob), ECHO).status, 200);
}

#[test]
fn a_restart_keeps_sessions_and_a_proxy_with_tls_has_another_cookie() {
    let mut city = City::new(NO_RULES);
    let token = city.token(ALICE);
    city.server = city.host.start();
    assert_eq!(city.post("/a", &cookie(&token), ECHO).status, 200);
    let text = host_config(NO_RULES, r#","externalTls":true"#);
    city.host.configure(&text);
    eventually("the setting holds", || city.post("/a", &cookie(&token), ECHO).status == 401);
    let host_cookie = format!("Cookie: __Host-authorizationToken={token}\r\n");
    assert_eq!(city.post("/a", &host_cookie, ECHO).status, 200);
    // So has each client of a proxy that the admin trusts, and that tells of TLS.
    city.host.configure(&host_config(NO_RULES, r#","trustedProxies":["127.0.0.1"]"#));
    let by_proxy = |cookie: &str| {
        format!("{cookie}X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n")
    };
    eventually("the setting holds", || {
        city.post("/a", &by_proxy(&cookie(&token)), ECHO).status == 401
            && city.post("/a", &cookie(&token), ECHO).status == 200
    });
    let login = format!(r#"{{"command":"login","params":[{ALICE}]}}"#);
    let reply = city.post("/auth", &by_proxy(&host_cookie), &login);
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-authorizationToken=") && set.ends_with("; Secure"), "{set}");
}

#[test]
fn s8_a_token_that_is_unknown_and_one_that_has_ended_cost_the_same() {
    let city = City::new(NO_RULES);
    let ended = city.token(ALICE);
    city.post("/auth", &bearer(&ended), r#"{"command":"logout"}"#);
    let unknown = Token::of_session([9; 32]);
    let mut client = Client::connect(city.server.address);
    let requests =
        [&ended, unknown.reveal()].map(|token| ask_text("GET", "/auth/session", &bearer(token)));
    let mut times: [Vec<Duration>; 2] = Default::default();
    let mut shown = BTreeSet::new();
    for number in 0..4_000 {
        if number % REQUESTS == 0 {
            client = Client::connect(city.server.address);
        }
        let which = number % 2;
        let start = Instant::now();
        client.send(&requests[which]);
        let reply = client.reply();
        times[which].push(start.elapsed());
        let headers: Vec<_> =
            reply.headers.into_iter().filter(|(name, _)| name != "date").collect();
        shown.insert((reply.status, reply.body, headers));
    }
    assert_eq!(shown.len(), 1);
    let [one, two] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    println!("medians: ended {:.1} µs, unknown {:.1} µs", one * 1e6, two * 1e6);
    assert!((0.8..1.25).contains(&(one / two)), "{one} {two}");
}
