//! A stream of events as a response, and its last event.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use ploinky_contract::TaskId;
use ploinky_queue::{TaskError, code};

use super::{NO_STORE, failure, protect, put_task_id, said, success};
use crate::refusal::Refusal;
use crate::streams::{Broken, Last};
use crate::task_queue::{Held, Outcome};

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// nginx in front of us would keep the events until there are many.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO: HeaderValue = HeaderValue::from_static("no");

/// The response to a subscription; `body` is its events.
pub(crate) fn events(id: TaskId, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    protect(headers);
    headers.insert(header::CONTENT_TYPE, EVENTS);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(ACCEL_BUFFERING, NO);
    put_task_id(headers, id);
    response
}

/// The response to a client that asks for the rest of a stream: it shall not ask again.
pub(crate) fn lost() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    protect(response.headers_mut());
    response
}

/// The last event of a stream whose task has an outcome, or none.
pub(crate) fn last_event(ended: &Result<Held, Refusal>) -> Last {
    let (is_success, answer) = match ended {
        Ok(Held { outcome: Outcome::Done(value), .. }) => (true, success(value)),
        Ok(Held { outcome: Outcome::Failed(error), .. }) => {
            let TaskError { message, code, details } = error;
            (false, failure(message, code, details.as_deref()))
        }
        Ok(Held { outcome: Outcome::File(_), .. }) => {
            let message = "a stream does not end with a file";
            (false, failure(message, code::AGENT_BAD_RESULT, None))
        }
        Err(refused) => (false, failure(&refused.to_string(), said(refused).code, None)),
    };
    Last { is_success, answer: Bytes::from(answer) }
}

/// The last event of a stream that ends before its task.
pub(crate) fn early_end(why: Broken) -> Last {
    let (message, code) = match why {
        Broken::Restart => ("the server restarts; subscribe again", "SERVER_RESTART"),
        Broken::LineTooLong => {
            ("the agent wrote a line that is too long for a stream", code::AGENT_BAD_RESULT)
        }
        Broken::Pipe => ("the stream cannot be read", "UNAVAILABLE"),
    };
    Last { is_success: false, answer: Bytes::from(failure(message, code, None)) }
}
