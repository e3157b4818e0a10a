//! `/management/api` with a supervisor that answers from a list.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ploinky_control::{AdminSession, ControlError, OBJECT_PATH};
use tokio::sync::oneshot;

use crate::client::{Reply, exchange};
use crate::host::{Host, config, eventually};

const TOKEN: &str = "abababababababababababababababababababababababababababababababab";
const NEXT: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

/// Knows ada, whose password is `right`, and her session [`TOKEN`].
#[derive(Clone, Default)]
struct Stub {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn hear(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }

    fn session(token: &str) -> AdminSession {
        AdminSession {
            token: token.to_owned(),
            username: "ada".to_owned(),
            role: "owner".to_owned(),
            expires_at: 4_000_000_000,
            idle_seconds: 1800,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of the interface")]
#[zbus::interface(name = "io.ploinky.Accounts1")]
impl Stub {
    fn login(
        &self,
        username: &str,
        password: Vec<u8>,
        from: &str,
    ) -> Result<AdminSession, ControlError> {
        self.hear(format!("login {username} {} {from}", text(&password)));
        match (username, text(&password).as_str()) {
            ("ada", "right") => Ok(Self::session(TOKEN)),
            ("busy", _) => Err(ControlError::Overloaded("8 wait".to_owned())),
            ("broken", _) => Err(ControlError::Failed("/var/lib/ploinky/.admin".to_owned())),
            // Whatever is wrong, the supervisor may say more than the client reads.
            (name, _) => Err(ControlError::Unauthenticated(format!("{name} is locked"))),
        }
    }

    fn logout(&self, token: &str) -> Result<(), ControlError> {
        self.hear(format!("logout {token}"));
        if token == TOKEN { Ok(()) } else { Err(ControlError::Unauthenticated(String::new())) }
    }

    fn authenticate(
        &self,
        token: &str,
        password: Vec<u8>,
        from: &str,
    ) -> Result<AdminSession, ControlError> {
        self.hear(format!("authenticate {token} {} {from}", text(&password)));
        if token == TOKEN && password == b"right" {
            Ok(Self::session(NEXT))
        } else {
            Err(ControlError::Unauthenticated(String::new()))
        }
    }

    fn change_password(
        &self,
        token: &str,
        old: Vec<u8>,
        new: Vec<u8>,
        from: &str,
    ) -> Result<AdminSession, ControlError> {
        self.hear(format!("change_password {token} {} {} {from}", text(&old), text(&new)));
        match text(&new).as_str() {
            "short" => {
                Err(ControlError::InvalidArgument("the password has 5 characters".to_owned()))
            }
            _ => Ok(Self::session(NEXT)),
        }
    }

    fn init_admin(
        &self,
        token: &str,
        username: &str,
        password: Vec<u8>,
    ) -> Result<(), ControlError> {
        self.hear(format!("init {token} {username} {}", text(&password)));
        match token {
            "once" => Ok(()),
            "late" => Err(ControlError::Conflict("there are admins already".to_owned())),
            _ => Err(ControlError::Unauthenticated(String::new())),
        }
    }
}

/// A supervisor on a thread, at its socket.
struct Supervisor {
    stub: Stub,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    fn start(host: &Host) -> Self {
        let socket = host.runtime().join("supervisor.sock");
        std::fs::remove_file(&socket).ok();
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stub = Stub::default();
        let (stop, stopped) = oneshot::channel();
        let served = stub.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let serve = async {
                    let mut connections = Vec::new();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let connection =
                            zbus::connection::Builder::unix_stream(stream.into_std().unwrap())
                                .server(zbus::Guid::generate())
                                .p2p()
                                .serve_at(OBJECT_PATH, served.clone())
                                .build();
                        connections.push(connection.await.unwrap());
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _stop = stopped => {}
                }
            });
        });
        Self { stub, stop: Some(stop), thread: Some(thread) }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.stub.asked.lock().unwrap())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().map(JoinHandle::join);
    }
}

fn host() -> Host {
    let host = Host::new();
    host.configure(&config(&[]));
    host
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /management/api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn login(username: &str, password: &str) -> String {
    post("login", "", &format!(r#"{{"username":"{username}","password":"{password}"}}"#))
}

fn cookie() -> String {
    format!("Cookie: authorizationToken={TOKEN}\r\n")
}

/// All that a client sees of an answer but its time.
fn seen(reply: &Reply) -> String {
    let lines = reply.text().to_owned();
    let mut headers: Vec<String> = ["cache-control", "content-type", "retry-after", "set-cookie"]
        .iter()
        .chain(["www-authenticate", "connection"].iter())
        .map(|name| format!("{name}: {:?}", reply.header(name)))
        .collect();
    headers.insert(0, reply.status.to_string());
    headers.push(lines);
    headers.join("\n")
}

#[test]
fn s8_whatever_is_wrong_with_a_login_the_answer_is_the_same() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let answers: Vec<String> =
        [("eve", "right"), ("ada", "wrong"), ("locked", "right"), ("", ""), ("Admin", "right")]
            .map(|(name, password)| seen(&exchange(server.address, login(name, password))))
            .to_vec();
    assert!(answers[0].starts_with("401\n"), "{}", answers[0]);
    assert!(!answers[0].contains("locked"), "{}", answers[0]);
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    let (status, code) = exchange(server.address, login("eve", "x")).failure();
    assert_eq!((status, code.as_str()), (401, "UNAUTHENTICATED"));
    assert_eq!(supervisor.asked().len(), 6);
}

#[test]
fn a_login_sets_the_cookie_and_keeps_the_token_from_scripts() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let reply = exchange(server.address, login("ada", "right"));
    assert_eq!(reply.status, 200);
    assert!(!reply.text().contains(TOKEN));
    let data = reply.json();
    assert_eq!(
        (&data["data"]["username"], &data["data"]["role"]),
        (&"ada".into(), &"owner".into())
    );
    let set = reply.header("set-cookie").unwrap();
    assert!(set.starts_with(&format!("authorizationToken={TOKEN}; Path=/; Max-Age=")), "{set}");
    assert!(set.ends_with("; HttpOnly; SameSite=Strict"), "{set}");
    assert_eq!(supervisor.asked(), ["login ada right 127.0.0.1"]);
    // Again, with the first session at hand: it ends.
    let body = r#"{"username":"ada","password":"right"}"#;
    exchange(server.address, post("login", &cookie(), body));
    let logout = format!("logout {TOKEN}");
    assert_eq!(supervisor.asked(), ["login ada right 127.0.0.1", logout.as_str()]);
    let form = "username=ada&password=right";
    let request = format!(
        "POST /management/api/login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(exchange(server.address, request).status, 200);
}

#[test]
fn a1_a_page_of_another_site_logs_nobody_in_or_out() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let body = r#"{"username":"ada","password":"right"}"#;
    for headers in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        for path in ["login", "logout", "password", "authenticate", "init"] {
            let headers = format!("{headers}{}", cookie());
            let reply = exchange(server.address, post(path, &headers, body));
            assert_eq!(reply.failure(), (403, "FORBIDDEN".to_owned()), "{path} {headers}");
        }
    }
    assert_eq!(supervisor.asked(), [""; 0]);
}

#[test]
fn what_is_no_request_of_an_admin_is_refused_before_the_supervisor_is_asked() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let huge = format!(r#"{{"username":"{}","password":"x"}}"#, "a".repeat(20_000));
    for (request, status) in [
        (post("login", "", "[]"), 400),
        (post("login", "", r#"{"username":"ada"}"#), 400),
        (post("login", "", &huge), 413),
        (post("", "", "{}"), 404),
        (post("login/x", "", "{}"), 404),
        (post("../login", "", "{}"), 404),
        (post("LOGIN", "", "{}"), 404),
        (post("check-auth", "", "{}"), 405),
        ("GET /management/api/login HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 405),
        (post("password", "", r#"{"oldPassword":"right","newPassword":"x"}"#), 401),
        (post("authenticate", "", r#"{"password":"right"}"#), 401),
        (login("ada", "right").replace("application/json", "text/html"), 415),
    ] {
        let reply = exchange(server.address, &request);
        assert_eq!(reply.status, status, "{request}\n{}", reply.text());
    }
    assert_eq!(supervisor.asked(), [""; 0]);
}

#[test]
fn an_admin_gives_the_password_again_changes_it_and_logs_out() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let ask = |path: &str, body: &str| exchange(server.address, post(path, &cookie(), body));
    assert_eq!(ask("authenticate", r#"{"password":"wrong"}"#).status, 401);
    let again = ask("authenticate", r#"{"password":"right"}"#);
    assert!(again.header("set-cookie").unwrap().contains(NEXT));
    let weak = ask("password", r#"{"oldPassword":"right","newPassword":"short"}"#);
    assert_eq!(weak.status, 400);
    assert!(weak.text().contains("the password has 5 characters"), "{}", weak.text());
    let changed = ask("password", r#"{"oldPassword":"right","newPassword":"another"}"#);
    assert!(changed.header("set-cookie").unwrap().contains(NEXT));
    let bye = ask("logout", "");
    assert_eq!(bye.status, 200);
    assert!(
        bye.header("set-cookie").unwrap().starts_with("authorizationToken=; Path=/; Max-Age=0")
    );
    assert_eq!(exchange(server.address, post("logout", "", "")).status, 200);
    assert_eq!(
        supervisor.asked(),
        [
            format!("authenticate {TOKEN} wrong 127.0.0.1"),
            format!("authenticate {TOKEN} right 127.0.0.1"),
            format!("change_password {TOKEN} right short 127.0.0.1"),
            format!("change_password {TOKEN} right another 127.0.0.1"),
            format!("logout {TOKEN}"),
        ]
    );
}

#[test]
fn the_first_account_is_made_with_the_one_time_token() {
    let host = host();
    let supervisor = Supervisor::start(&host);
    let server = host.start();
    let init = |token: &str| {
        let body = format!(r#"{{"token":"{token}","username":"ada","password":"a b"}}"#);
        exchange(server.address, post("init", "", &body)).status
    };
    assert_eq!([init("guessed"), init("late"), init("once")], [401, 409, 200]);
    assert_eq!(
        supervisor.asked(),
        ["init guessed ada a b", "init late ada a b", "init once ada a b"]
    );
}

#[test]
fn a_supervisor_that_is_busy_or_away_is_no_wrong_password() {
    let host = host();
    let server = host.start();
    let away = exchange(server.address, login("ada", "right"));
    assert_eq!(away.failure(), (503, "UNAVAILABLE".to_owned()));
    {
        let _supervisor = Supervisor::start(&host);
        let busy = exchange(server.address, login("busy", "right"));
        assert_eq!(busy.failure(), (429, "TOO_MANY_REQUESTS".to_owned()));
        assert_eq!(busy.header("retry-after"), Some("5"));
        let broken = exchange(server.address, login("broken", "right"));
        assert_eq!(broken.failure(), (503, "UNAVAILABLE".to_owned()));
        assert!(!broken.text().contains(".admin"), "{}", broken.text());
        assert_eq!(exchange(server.address, login("ada", "right")).status, 200);
    }
    let gone = exchange(server.address, login("ada", "right"));
    assert_eq!(gone.failure(), (503, "UNAVAILABLE".to_owned()));
    let _supervisor = Supervisor::start(&host);
    assert_eq!(exchange(server.address, login("ada", "right")).status, 200);
}

#[test]
fn check_auth_tells_admins_from_everybody_else() {
    let host = host();
    let server = host.start();
    let ask = |headers: &str| {
        let request =
            format!("GET /management/api/check-auth HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        exchange(server.address, request)
    };
    assert_eq!(ask("").text(), r#"{"authenticated":false}"#);
    assert_eq!(ask("Cookie: authorizationToken=Admin\r\n").text(), r#"{"authenticated":false}"#);
    let digest = TOKEN.parse::<ploinky_contract::Token>().unwrap().digest();
    let grant = r#"{"userId":"ada","allowedCommands":["*"],"role":"owner","createdAt":1,
        "expiresAt":4000000000,"idleSeconds":4000000000}"#;
    std::fs::write(host.state().admin_sessions().join(digest.as_str()), grant).unwrap();
    eventually("ada is known", || ask(&cookie()).json()["authenticated"] == true);
    let known = ask(&cookie()).json();
    assert_eq!((&known["username"], &known["role"]), (&"ada".into(), &"owner".into()));
    std::fs::remove_file(host.state().admin_sessions().join(digest.as_str())).unwrap();
    eventually("ada is forgotten", || ask(&cookie()).text() == r#"{"authenticated":false}"#);
}
