//! A call of an agent on this host, over HTTP.
//!
//! The connection goes to this host whatever the name in the address is: a name chooses the domain, which is
//! sent as `Host`; only an address in digits is connected to as it stands. Nothing is resolved.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ploinky_contract::limits::{RESULT_MAX_BYTES, SYNC_TIMEOUT_MAX};
use ploinky_contract::{CommandName, Domain};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::place::Place;

/// Time to connect to this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the whole call; the instance itself ends a task before.
const CALL_TIMEOUT: Duration = SYNC_TIMEOUT_MAX.saturating_add(Duration::from_secs(10));
/// Bytes of a response: a result and what is around it.
const RESPONSE_MAX_BYTES: u64 = RESULT_MAX_BYTES as u64 + 64 * 1024;

/// Where a call goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// Host and path of the agent.
    pub(crate) place: Place,
    /// The port, if the address has one.
    pub(crate) port: Option<u16>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// `Task-Id` of the response.
    pub(crate) task: Option<String>,
    /// The body as it came.
    pub(crate) body: Vec<u8>,
}

/// The body of an answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Body<'a> {
    /// Whether the agent did what it was asked.
    #[serde(default)]
    pub(crate) success: bool,
    /// `data` of a success; absent is `null`.
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
    /// `message` of a failure.
    pub(crate) message: Option<String>,
    /// `code` of a failure.
    pub(crate) code: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing listens.
    #[error("nothing answers at port {port}")]
    Connect { port: u16, source: io::Error },
    /// It took too long.
    #[error("no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// What came was no answer.
    #[error("the answer cannot be read")]
    Protocol { source: ureq::Error },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("`https://` is not possible: calls go to this host without TLS".to_owned());
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Ok(Self { place: text.parse()?, port: None });
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or_else(|| "the port is not a number from 1 to 65535".to_owned())?)
            }
            Some(_) | None => (authority, 80),
        };
        if host.is_empty() {
            return Err("the address has no host".to_owned());
        }
        Ok(Self { place: format!("{host}{path}").parse()?, port: Some(port) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// The parameter that a word means: JSON if it is JSON, else the word.
pub(crate) fn parameter(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_no_json| Value::from(word))
}

/// Sends one command and waits for its outcome.
pub(crate) fn post(
    place: &Place,
    port: u16,
    command: &CommandName,
    parameters: &[Value],
) -> Result<Answer, CallError> {
    let body = serde_json::json!({ "command": command, "params": parameters }).to_string();
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("ploinkyctl/", env!("CARGO_PKG_VERSION")))
        .build();
    let url = format!("http://{}:{port}{}", connect_to(&place.domain), place.path);
    let host =
        if port == 80 { place.domain.to_string() } else { format!("{}:{port}", place.domain) };
    let mut response = ureq::Agent::new_with_config(config)
        .post(url)
        .header("Host", host)
        .header("Content-Type", "application/json")
        .send(body.as_str())
        .map_err(|e| explained(e, port))?;
    let status = response.status().as_u16();
    let task = response.headers().get("task-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = response
        .body_mut()
        .with_config()
        .limit(RESPONSE_MAX_BYTES)
        .read_to_vec()
        .map_err(|e| explained(e, port))?;
    Ok(Answer { status, task, body })
}

fn connect_to(domain: &Domain) -> String {
    let bare = domain.as_str().trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(_) => domain.to_string(),
        Err(_) => "127.0.0.1".to_owned(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of the client may grow")]
fn explained(error: ureq::Error, port: u16) -> CallError {
    match error {
        ureq::Error::Timeout(_) => CallError::Timeout,
        ureq::Error::ConnectionFailed => {
            CallError::Connect { port, source: rustix::io::Errno::CONNREFUSED.into() }
        }
        ureq::Error::Io(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
            CallError::Connect { port, source }
        }
        source => CallError::Protocol { source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_elsewhere_are_refused() {
        for text in [
            "https://localhost/echo",
            "http://",
            "http://localhost:0/echo",
            "http://localhost:99999/echo",
            "http://user@localhost/echo",
            "http://a b/echo",
            "http://localhost/../x",
            "http://localhost/echo?x=1",
            "echo",
            "",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn an_address_is_a_path_a_place_or_a_url() {
        for (text, place, port) in [
            ("/echo", "localhost/echo", None),
            ("x.org/echo", "x.org/echo", None),
            ("http://x.org/echo", "x.org/echo", Some(80)),
            ("http://127.0.0.1:8000/echo/", "127.0.0.1/echo", Some(8000)),
            ("http://[::1]:8000/a", "[::1]/a", Some(8000)),
            ("http://[::1]/a", "[::1]/a", Some(80)),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.place.to_string().as_str(), address.port), (place, port), "{text}");
        }
    }

    #[test]
    fn a_word_is_json_if_it_can_be() {
        let found: Vec<Value> =
            ["1", "-5", "true", "null", "\"1\"", "[1,\"a\"]", "a b", "", "{", "01"]
                .map(parameter)
                .to_vec();
        let expected = serde_json::json!([1, -5, true, null, "1", [1, "a"], "a b", "", "{", "01"]);
        assert_eq!(Value::from(found), expected);
    }

    #[test]
    fn only_digits_are_connected_to_as_they_stand() {
        let target = |domain: &str| connect_to(&domain.parse().unwrap());
        assert_eq!(target("example.org"), "127.0.0.1");
        assert_eq!(target("localhost"), "127.0.0.1");
        assert_eq!(target("127.0.0.2"), "127.0.0.2");
        assert_eq!(target("[::1]"), "[::1]");
    }
}
