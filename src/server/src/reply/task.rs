//! Tasks as documents.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use ploinky_contract::{ErrorDocument, TaskDocument, TaskId, TaskPage, TaskState};
use ploinky_queue::code;
use serde::Serialize;

use super::{Large, json, protect, put, put_task_id, status_of_code};
use crate::task_queue::{Held, Outcome, TaskStatus};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

#[derive(Serialize)]
struct Accepted<'a> {
    success: bool,
    task: &'a TaskDocument,
}

#[derive(Serialize)]
struct CallbackKey<'a> {
    success: bool,
    key: &'a str,
}

/// The answer to a call whose task was accepted and has no outcome yet.
pub(crate) fn accepted(agent: &str, status: TaskStatus, wait: Option<Duration>) -> Response {
    let id = status.id;
    let document = document(agent, status, None);
    let mut response =
        json(StatusCode::ACCEPTED, bytes_of(&Accepted { success: true, task: &document }));
    let applied = match wait {
        Some(wait) => format!("respond-async, wait={}", wait.as_secs()),
        None => "respond-async".to_owned(),
    };
    let headers = response.headers_mut();
    put_task_id(headers, id);
    put(headers, header::LOCATION, &format!("/tasks/{id}"));
    put(headers, PREFERENCE_APPLIED, &applied);
    response
}

/// One task. `wait`: how long it was waited for its end, if that was asked for.
pub(crate) fn task(
    agent: &str,
    status: TaskStatus,
    held: Option<Held>,
    wait: Option<Duration>,
) -> Response {
    let mut response = one(StatusCode::OK, agent, status, held);
    put_wait(&mut response, wait);
    response
}

/// One task whose end was asked for.
pub(crate) fn ending(agent: &str, status: TaskStatus) -> Response {
    one(StatusCode::ACCEPTED, agent, status, None)
}

/// The status and the code with which a call of a task that has ended would be answered, for the log.
pub(crate) fn status_of_end(status: &TaskStatus) -> (u16, &str) {
    let (code, status) = match (&status.error, status.state) {
        (_, TaskState::Done) => ("", StatusCode::OK),
        (Some(error), _) => (error.code.as_str(), status_of_code(&error.code)),
        (None, TaskState::Cancelled) => (code::CANCELLED, status_of_code(code::CANCELLED)),
        (None, _) => ("", StatusCode::INTERNAL_SERVER_ERROR),
    };
    (status.as_u16(), code)
}

fn one(status_code: StatusCode, agent: &str, status: TaskStatus, held: Option<Held>) -> Response {
    let id = status.id;
    let (outcome, share) = match held {
        Some(Held { outcome, share, file: _ }) => (Some(outcome), share),
        None => (None, None),
    };
    let bytes = bytes_of(&document(agent, status, outcome));
    let bytes = match share {
        None => Bytes::from(bytes),
        Some(share) => Bytes::from_owner(Large { bytes, _share: share }),
    };
    let mut response = json(status_code, bytes);
    put_task_id(response.headers_mut(), id);
    response
}

/// Some tasks, each with the agent that has it.
pub(crate) fn task_page(tasks: Vec<(&str, TaskStatus)>, next: Option<String>) -> Response {
    let tasks = tasks.into_iter().map(|(agent, status)| document(agent, status, None)).collect();
    json(StatusCode::OK, bytes_of(&TaskPage { tasks, next }))
}

/// The answer to a wish that was carried out and leaves nothing to say.
pub(crate) fn removed(id: TaskId) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    protect(response.headers_mut());
    put_task_id(response.headers_mut(), id);
    response
}

/// The answer to a wish that removed so many tasks.
pub(crate) fn purged(count: usize) -> Response {
    json(StatusCode::OK, format!(r#"{{"success":true,"removed":{count}}}"#).into_bytes())
}

/// The key of an agent's callbacks.
pub(crate) fn callback_key(key: &str) -> Response {
    json(StatusCode::OK, bytes_of(&CallbackKey { success: true, key }))
}

/// Says that the wish to wait was carried out.
pub(crate) fn put_wait(response: &mut Response, wait: Option<Duration>) {
    if let Some(wait) = wait {
        put(response.headers_mut(), PREFERENCE_APPLIED, &format!("wait={}", wait.as_secs()));
    }
}

fn document(agent: &str, status: TaskStatus, outcome: Option<Outcome>) -> TaskDocument {
    let TaskStatus {
        id,
        command,
        owner,
        state,
        submitted_ms,
        started_ms,
        ended_ms,
        attempt,
        attempts,
        urgency,
        progress,
        error,
    } = status;
    let mut document = TaskDocument {
        id,
        agent: agent.to_owned(),
        command,
        owner,
        state,
        submitted_at: TaskDocument::time(submitted_ms),
        started_at: started_ms.map(TaskDocument::time),
        ended_at: ended_ms.map(TaskDocument::time),
        attempt,
        attempts,
        urgency,
        progress,
        data: None,
        file: None,
        error: error.map(ErrorDocument::from),
    };
    if let Some(outcome) = outcome {
        outcome.describe(&mut document);
    }
    document
}

/// Strings, numbers and checked JSON cannot fail to serialise.
fn bytes_of(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
