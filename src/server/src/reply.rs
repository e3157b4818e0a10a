//! From an outcome, a file or a refusal to the response: the only module that knows status codes.
//!
//! The caller gets a stable `code` and a sentence; a status from 500 on never describes our insides.

mod events;
mod file;
mod management;
mod output;
mod page;
mod protection;
mod session;
mod status;
mod task;
mod upload;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ploinky_contract::TaskId;
use ploinky_queue::{Outcome, TaskError, code};
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use self::events::{early_end, events, last_event, lost};
pub(crate) use self::file::found;
pub(crate) use self::management::{admin, admin_session};
pub(crate) use self::output::{again as file_again, once as file_once};
use self::page::page;
use self::protection::{protect, protect_site};
pub(crate) use self::session::{caller, ended, put_no_session, put_session, sessions};
use self::status::{Said, ends_connection, said, status_of_code};
pub(crate) use self::task::{
    accepted, callback_key, ending, purged, put_wait, removed, status_of_end, task, task_page,
};
use crate::byte_budget::ByteShare;
use crate::refusal::Refusal;

const TASK_ID: HeaderName = HeaderName::from_static("task-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// What a client may show (RFC 9110, 15.5.2).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"ploinky\"");
/// The same to a client whose token is not accepted (RFC 6750, 3.1).
const CHALLENGE_AGAIN: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"ploinky\", error=\"invalid_token\"");
/// When to come back to an agent that has too much to do.
const AGENT_RETRY: HeaderValue = HeaderValue::from_static("1");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What a connection gets that is one too many of its address: it is closed before anything of it is read.
pub(crate) const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n\
    Retry-After: 10\r\nContent-Length: 0\r\n\r\n";

/// Who reads a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reader {
    /// A program, which wants JSON.
    Program,
    /// A person with a browser, who wants a page.
    Person,
}

/// A response that takes part of the memory for results.
struct Large {
    bytes: Vec<u8>,
    _share: ByteShare,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    error: bool,
    message: &'a str,
    code: &'a str,
    details: &'a RawValue,
}

/// The response to a task that has an outcome. `share` is given back when the client has taken the response.
pub(crate) fn outcome(id: TaskId, outcome: &Outcome, share: Option<ByteShare>) -> Response {
    let (status, bytes) = match outcome {
        Outcome::Done(value) => (StatusCode::OK, success(value)),
        Outcome::File(_) => (
            status_of_code(code::AGENT_BAD_RESULT),
            failure(
                "the result is a file, which cannot be given here",
                code::AGENT_BAD_RESULT,
                None,
            ),
        ),
        Outcome::Failed(error) => {
            let TaskError { message, code, details } = error;
            (status_of_code(code), failure(message, code, details.as_deref()))
        }
    };
    let bytes = match share {
        None => Bytes::from(bytes),
        Some(share) => Bytes::from_owner(Large { bytes, _share: share }),
    };
    let mut response = json(status, bytes);
    let headers = response.headers_mut();
    put_task_id(headers, id);
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, AGENT_RETRY);
    }
    response
}

/// The stable code of an outcome; empty for success.
pub(crate) fn code_of_outcome(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done(_) | Outcome::File(_) => "",
        Outcome::Failed(error) => &error.code,
    }
}

/// The stable code of a refusal.
pub(crate) fn code_of_refusal(refusal: &Refusal) -> &'static str {
    said(refusal).code
}

/// The response to a request without a result. `close`: the rest of the request is not read, so the
/// connection cannot be used any more.
pub(crate) fn refusal(
    refusal: &Refusal,
    id: Option<TaskId>,
    reader: Reader,
    close: bool,
) -> Response {
    let Said { status, code, retry_after_s } = said(refusal);
    let message = refusal.to_string();
    let mut response = match reader {
        Reader::Program => json(status, failure(&message, code, None)),
        Reader::Person => page(status, &message),
    };
    let headers = response.headers_mut();
    if let Some(id) = id {
        put_task_id(headers, id);
    }
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Refusal::Method { allowed, .. } = refusal {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    if matches!(refusal, Refusal::InvalidToken) {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE_AGAIN);
    }
    if let Refusal::KeyReused(id) | Refusal::OutcomeUnknown { id, .. } = refusal {
        put_task_id(headers, *id);
    }
    if close || ends_connection(refusal) {
        headers.insert(header::CONNECTION, CLOSE);
    }
    response
}

/// The response to a wish that was carried out; `value` is what the agent said to it.
pub(crate) fn done(value: Option<&RawValue>) -> Response {
    let none = || br#"{"success":true,"data":null}"#.to_vec();
    json(StatusCode::OK, value.map_or_else(none, success))
}

/// A response without a body.
pub(crate) fn nothing(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    protect(headers);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// The response to a probe.
pub(crate) fn health(instance: u16) -> Response {
    json(StatusCode::OK, format!(r#"{{"status":"ok","instance":{instance}}}"#).into_bytes())
}

fn success(value: &RawValue) -> Vec<u8> {
    let value = value.get();
    let mut bytes = Vec::with_capacity(value.len() + 32);
    bytes.extend_from_slice(br#"{"success":true,"data":"#);
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'}');
    bytes
}

fn failure(message: &str, code: &str, details: Option<&RawValue>) -> Vec<u8> {
    let none = RawValue::from_string("{}".to_owned()).ok();
    // Strings and checked JSON cannot fail to serialise; without details there is always an answer.
    details
        .or(none.as_deref())
        .and_then(|details| {
            serde_json::to_vec(&Failure { error: true, message, code, details }).ok()
        })
        .unwrap_or_default()
}

fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(bytes.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    protect(headers);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

fn put_task_id(headers: &mut HeaderMap, id: TaskId) {
    put(headers, TASK_ID, id.as_str());
}

/// Our own texts are all legal values; one that is not would be left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use ploinky_queue::{BadResult, RecordError};

    use super::*;
    use crate::guardian::{CredentialError, ReadError};
    use crate::listener::FramingError;

    async fn shown(response: Response) -> (u16, String, String) {
        let status = response.status().as_u16();
        let header = |name: HeaderName| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let facts =
            [header::RETRY_AFTER, header::ALLOW, header::CONNECTION, header::WWW_AUTHENTICATE]
                .map(header);
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, facts, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_refusal_has_its_status_and_its_code() {
        let too_long = RecordError::TooLong { length: 1, limit: 0 };
        let cannot = || io::Error::from_raw_os_error(5);
        let body = crate::guardian::CallError::NotUtf8;
        for (refused, status, code, facts) in [
            (Refusal::Host(crate::guardian::HostError::Missing), 400, "BAD_REQUEST", "close"),
            (Refusal::Connect, 400, "BAD_REQUEST", "close"),
            (Refusal::Framing(FramingError::Both), 400, "BAD_REQUEST", ""),
            (Refusal::Framing(FramingError::TooLong), 431, "BAD_REQUEST", ""),
            (Refusal::Framing(FramingError::TooSlow), 408, "BAD_REQUEST", ""),
            (Refusal::Upgrade, 400, "BAD_REQUEST", "close"),
            (Refusal::UriTooLong, 414, "BAD_REQUEST", ""),
            (
                Refusal::Method { method: http::Method::GET, allowed: "POST" },
                405,
                "METHOD_NOT_ALLOWED",
                "POST",
            ),
            (Refusal::CrossSite, 403, "FORBIDDEN", ""),
            (Refusal::NoOrigin, 403, "FORBIDDEN", ""),
            (Refusal::OtherDomain, 403, "FORBIDDEN", ""),
            (Refusal::CommandNeeded, 403, "FORBIDDEN", ""),
            (Refusal::Forbidden("a".parse().unwrap()), 403, "FORBIDDEN", ""),
            (Refusal::Credential(CredentialError::Header), 400, "BAD_REQUEST", ""),
            (Refusal::Unauthenticated, 401, "UNAUTHENTICATED", r#"Bearer realm="ploinky""#),
            (
                Refusal::InvalidToken,
                401,
                "UNAUTHENTICATED",
                r#"Bearer realm="ploinky", error="invalid_token""#,
            ),
            (Refusal::MediaType, 415, "BAD_REQUEST", ""),
            (Refusal::Read(ReadError::TooLarge { limit: 1 }), 413, "BODY_TOO_LARGE", "close"),
            (
                Refusal::Read(ReadError::TooSlow { limit: Duration::ZERO }),
                408,
                "BAD_REQUEST",
                "close",
            ),
            (Refusal::Read(ReadError::NoMemory), 503, "UNAVAILABLE", "1 close"),
            (Refusal::Call(body), 400, "BAD_REQUEST", ""),
            (Refusal::NothingThere, 404, "NOT_FOUND", ""),
            (Refusal::UnknownCommand("a".parse().unwrap()), 404, "UNKNOWN_COMMAND", ""),
            (Refusal::Stopped, 503, "AGENT_STOPPED", ""),
            (Refusal::Broken, 503, "UNAVAILABLE", "1"),
            (Refusal::Busy, 429, "AGENT_BUSY", "1"),
            (
                Refusal::TooManyRequests { rate: 1, wait: Duration::from_millis(1999) },
                429,
                "TOO_MANY_REQUESTS",
                "2",
            ),
            (Refusal::StreamsOfAgent, 429, "AGENT_BUSY", "1"),
            (Refusal::NoSpace, 507, "NO_SPACE", ""),
            (Refusal::Internal(cannot()), 503, "UNAVAILABLE", "1"),
            (Refusal::AgentDown, 503, "AGENT_DOWN", "1"),
            (Refusal::Deadline(Duration::ZERO), 504, "DEADLINE", ""),
            (Refusal::BadResult(BadResult::Record(too_long)), 502, "RESULT_TOO_LARGE", ""),
            (Refusal::BadResult(BadResult::Open { source: cannot() }), 502, "AGENT_BAD_RESULT", ""),
        ] {
            let message = refused.to_string();
            let (found, said, body) = shown(refusal(&refused, None, Reader::Program, false)).await;
            assert_eq!((found, said.as_str()), (status, facts), "{refused:?}");
            let expected = format!(
                r#"{{"error":true,"message":{},"code":"{code}","details":{{}}}}"#,
                serde_json::to_string(&message).unwrap()
            );
            assert_eq!(body, expected);
            assert!(!body.contains("os error"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_large_response_gives_its_memory_back_when_it_is_gone() {
        let budget = crate::byte_budget::ByteBudget::new(10);
        let value = RawValue::from_string("[1]".to_owned()).unwrap();
        let share = budget.take(10);
        let response = outcome(TaskId::from_random([7; 16]), &Outcome::Done(value), share);
        let (_head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, r#"{"success":true,"data":[1]}"#);
        assert!(budget.take(1).is_none());
        drop(bytes);
        assert!(budget.take(10).is_some());
    }

    #[tokio::test]
    async fn a_failed_task_keeps_its_own_words() {
        let id = TaskId::from_random([7; 16]);
        for (code, status) in [
            ("UNKNOWN_COMMAND", 404),
            ("NOT_FOUND", 404),
            ("UNAUTHENTICATED", 401),
            ("FORBIDDEN", 403),
            ("CONFLICT", 409),
            ("TOO_MANY_REQUESTS", 429),
            ("INVALID_PARAMS", 400),
            ("HANDLER_FAILED", 500),
            ("SOMETHING_OF_ITS_OWN", 500),
            ("AGENT_BUSY", 500),
            ("AGENT_CRASHED", 502),
            ("AGENT_BAD_RESULT", 502),
            ("RESULT_TOO_LARGE", 502),
            ("CANCELLED", 503),
            ("DEADLINE", 504),
        ] {
            let details = RawValue::from_string(r#"{"exitCode":3}"#.to_owned()).ok();
            let error = TaskError { message: "no <b>".to_owned(), code: code.to_owned(), details };
            let response = outcome(id, &Outcome::Failed(error), None);
            assert_eq!(response.headers()["task-id"], id.as_str());
            let (found, _, body) = shown(response).await;
            let expected = format!(
                r#"{{"error":true,"message":"no <b>","code":"{code}","details":{{"exitCode":3}}}}"#
            );
            assert_eq!((found, body), (status, expected));
        }
    }

    #[tokio::test]
    async fn a_value_is_handed_on_byte_for_byte() {
        let value = r#"{"b":1e400, "a":[ "\ud83d\ude00","<" ]}"#;
        let done = Outcome::Done(RawValue::from_string(value.to_owned()).unwrap());
        let response = outcome(TaskId::from_random([7; 16]), &done, None);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (status, _, body) = shown(response).await;
        assert_eq!((status, body), (200, format!(r#"{{"success":true,"data":{value}}}"#)));
    }
}
