//! The table of status codes: which one a refusal has, and which one a failed task.

use http::StatusCode;
use ploinky_queue::{BadResult, RecordError, code};

use super::{management, upload};
use crate::guardian::ReadError;
use crate::listener::FramingError;
use crate::refusal::Refusal;

/// A queue of accepted tasks does not become short in a second.
const BACKLOG_RETRY_S: u16 = 10;

/// What a refusal says to the caller.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// Seconds.
    pub(super) retry_after_s: Option<u16>,
}

/// The status, the code and the patience that a refusal asks for.
pub(super) fn said(refusal: &Refusal) -> Said {
    let plain = |status, code| Said { status, code, retry_after_s: None };
    let later = |status, code, seconds| Said { status, code, retry_after_s: Some(seconds) };
    match refusal {
        Refusal::Host(_)
        | Refusal::Connect
        | Refusal::Upgrade
        | Refusal::Credential(_)
        | Refusal::MustBeWaitedFor
        | Refusal::Call(_)
        | Refusal::Header(_)
        | Refusal::Query(_)
        | Refusal::Read(ReadError::Broken(_) | ReadError::Chunks(_)) => {
            plain(StatusCode::BAD_REQUEST, "BAD_REQUEST")
        }
        Refusal::Framing(FramingError::TooLong | FramingError::TooMany) => {
            plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "BAD_REQUEST")
        }
        Refusal::TooManyRequests { wait, .. } => {
            let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).saturating_add(1);
            later(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", seconds)
        }
        Refusal::UriTooLong => plain(StatusCode::URI_TOO_LONG, "BAD_REQUEST"),
        Refusal::Method { .. } => plain(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
        Refusal::CrossSite
        | Refusal::NoOrigin
        | Refusal::OtherDomain
        | Refusal::Forbidden(_)
        | Refusal::CommandNeeded => plain(StatusCode::FORBIDDEN, "FORBIDDEN"),
        Refusal::MediaType => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST"),
        Refusal::Read(ReadError::TooLarge { .. }) => {
            plain(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE")
        }
        Refusal::Framing(FramingError::TooSlow)
        | Refusal::Read(ReadError::TooSlow { .. } | ReadError::Stalled(_)) => {
            plain(StatusCode::REQUEST_TIMEOUT, "BAD_REQUEST")
        }
        Refusal::Framing(_) => plain(StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        Refusal::Callback(_) => plain(StatusCode::BAD_REQUEST, "CALLBACK_REFUSED"),
        Refusal::KeyReused(_) => plain(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
        Refusal::Unauthenticated | Refusal::InvalidToken | Refusal::LoginRefused => {
            plain(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED")
        }
        Refusal::TaskNotFound => plain(StatusCode::NOT_FOUND, "TASK_NOT_FOUND"),
        Refusal::TaskNotEnded(_) => plain(StatusCode::CONFLICT, "TASK_NOT_ENDED"),
        Refusal::TaskEnded(_) => plain(StatusCode::CONFLICT, "TASK_ENDED"),
        Refusal::NotRepeatable(_) | Refusal::UnknownFiles => {
            plain(StatusCode::CONFLICT, "TASK_NOT_REPEATABLE")
        }
        Refusal::OutcomeUnknown { .. } => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, "OUTCOME_UNKNOWN")
        }
        Refusal::Upload(error) => upload::said(error),
        Refusal::Management(error) => management::said(error),
        Refusal::StreamUnsupported => plain(StatusCode::NOT_IMPLEMENTED, "STREAM_UNSUPPORTED"),
        Refusal::SessionNotFound => plain(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND"),
        Refusal::NothingThere | Refusal::NoFile => plain(StatusCode::NOT_FOUND, "NOT_FOUND"),
        Refusal::UnknownCommand(_) => plain(StatusCode::NOT_FOUND, code::UNKNOWN_COMMAND),
        Refusal::Backlog { .. } | Refusal::BacklogOfUser { .. } => {
            later(StatusCode::TOO_MANY_REQUESTS, "AGENT_BUSY", BACKLOG_RETRY_S)
        }
        Refusal::Busy | Refusal::StreamsOfAgent => {
            later(StatusCode::TOO_MANY_REQUESTS, "AGENT_BUSY", 1)
        }
        Refusal::Stopped => plain(StatusCode::SERVICE_UNAVAILABLE, "AGENT_STOPPED"),
        Refusal::AgentDown => later(StatusCode::SERVICE_UNAVAILABLE, "AGENT_DOWN", 1),
        Refusal::Read(ReadError::NoMemory)
        | Refusal::SameKeyIsComing
        | Refusal::Streams
        | Refusal::SessionsFull
        | Refusal::NoSession(_)
        | Refusal::Broken
        | Refusal::Overrun
        | Refusal::Queue(_)
        | Refusal::Submit(_)
        | Refusal::Internal(_)
        | Refusal::GivenUp(_) => later(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", 1),
        Refusal::NoSpace => plain(StatusCode::INSUFFICIENT_STORAGE, "NO_SPACE"),
        Refusal::Deadline(_) => plain(StatusCode::GATEWAY_TIMEOUT, code::DEADLINE),
        Refusal::BadResult(BadResult::Record(RecordError::TooLong { .. })) => {
            plain(StatusCode::BAD_GATEWAY, code::RESULT_TOO_LARGE)
        }
        Refusal::BadResult(_) | Refusal::BadLogin(_) => {
            plain(StatusCode::BAD_GATEWAY, code::AGENT_BAD_RESULT)
        }
    }
}

/// The status for the code of a failed task; the handler may have made up the code.
pub(super) fn status_of_code(code: &str) -> StatusCode {
    match code {
        code::UNKNOWN_COMMAND | "NOT_FOUND" => StatusCode::NOT_FOUND,
        code::INVALID_PARAMS | "BAD_REQUEST" => StatusCode::BAD_REQUEST,
        "UNAUTHENTICATED" | "INVALID_CREDENTIALS" => StatusCode::UNAUTHORIZED,
        "FORBIDDEN" => StatusCode::FORBIDDEN,
        "CONFLICT" => StatusCode::CONFLICT,
        "TOO_MANY_REQUESTS" => StatusCode::TOO_MANY_REQUESTS,
        code::RESULT_TOO_LARGE | code::AGENT_BAD_RESULT | code::AGENT_CRASHED => {
            StatusCode::BAD_GATEWAY
        }
        code::CANCELLED => StatusCode::SERVICE_UNAVAILABLE,
        code::DEADLINE => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether nothing more is read of the connection: a part of the body may still be on its way, or a server in front
/// may have read another request than we did.
pub(super) fn ends_connection(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Read(_) | Refusal::Connect | Refusal::Upgrade | Refusal::Host(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_may_choose_among_the_statuses_of_its_callers_and_no_others() {
        for (code, status) in [
            ("BAD_REQUEST", 400),
            ("INVALID_CREDENTIALS", 401),
            ("FORBIDDEN", 403),
            ("NOT_FOUND", 404),
            ("CONFLICT", 409),
            ("TOO_MANY_REQUESTS", 429),
            ("", 500),
            ("200", 500),
            ("invalid_credentials", 500),
            ("NO_SPACE", 500),
        ] {
            assert_eq!(status_of_code(code).as_u16(), status, "{code}");
        }
    }
}
