//! Requests with the cookie of a session that no page of this origin made (test catalogue S10).

use ploinky_contract::Token;

use crate::agent::Agent;
use crate::client::exchange;
use crate::host::Host;

/// A session of `alice` who may do all on localhost, and its token.
fn session(host: &Host) -> String {
    let token = Token::of_session([7; 32]);
    let directory = host.state().user_sessions();
    std::fs::create_dir_all(&directory).unwrap();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    let grant = format!(
        r#"{{"userId":"alice","domain":"localhost","allowedCommands":["*"],"createdAt":{now},
            "expiresAt":{},"idleSeconds":1800}}"#,
        now + 3600
    );
    std::fs::write(directory.join(token.digest().as_str()), grant).unwrap();
    token.reveal().to_owned()
}

/// Every kind of request that changes something, up to the headers that tell of its page.
fn entries() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("POST /a", "Content-Type: application/json\r\n", r#"{"command":"echo"}"#),
        ("POST /a/upload", "Content-Type: multipart/form-data; boundary=x\r\n", "--x--\r\n"),
        ("GET /a/subscribe?command=echo", "", ""),
        ("DELETE /tasks?state=dead", "", ""),
        ("DELETE /tasks/00000000000000000000000000000000", "", ""),
        ("POST /tasks/00000000000000000000000000000000/cancel", "", ""),
    ]
}

#[test]
fn s10_a_page_of_another_origin_changes_nothing_by_any_way() {
    let (host, directory) = Host::with_agent(30);
    let token = session(&host);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    for (line, headers, body) in entries() {
        let ask = |credential: &str, page: &str| {
            let request = format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}{credential}{page}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            exchange(server.address, request)
        };
        let cookie = format!("Cookie: authorizationToken={token}\r\n");
        for page in [
            "Origin: http://evil.example\r\n",
            "Origin: http://localhost:81\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example\r\n",
        ] {
            let reply = ask(&cookie, page);
            assert_eq!(reply.failure(), (403, "FORBIDDEN".to_owned()), "{line} {page}");
        }
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for (credential, page) in [
            (&cookie, "Origin: http://localhost\r\n"),
            (&cookie, "Sec-Fetch-Site: same-origin\r\n"),
            (&bearer, "Origin: http://evil.example\r\n"),
            (&bearer, "Sec-Fetch-Site: same-site\r\n"),
        ] {
            assert_ne!(ask(credential, page).status, 403, "{line} {credential} {page}");
        }
    }
}

#[test]
fn s10_a_form_that_does_not_say_where_it_comes_from_changes_nothing() {
    let (host, directory) = Host::with_agent(30);
    let token = session(&host);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let ask = |headers: &str| {
        let body = r#"{"command":"echo"}"#;
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(server.address, request).status
    };
    let cookie = format!("Cookie: authorizationToken={token}\r\n");
    for form in ["application/x-www-form-urlencoded", "text/plain; charset=x"] {
        let form = format!("Content-Type: {form}\r\n");
        assert_eq!(ask(&format!("{cookie}{form}")), 403, "{form}");
        assert_eq!(ask(&format!("{cookie}{form}Origin: http://localhost\r\n")), 200, "{form}");
        assert_eq!(ask(&form), 200, "{form}");
    }
    assert_eq!(ask(&format!("{cookie}Content-Type: application/json\r\n")), 200);
}
