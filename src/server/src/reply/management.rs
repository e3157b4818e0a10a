//! What admins are told, and the statuses of what they do not get.

use axum::response::Response;
use http::StatusCode;
use ploinky_contract::limits::PASSWORD_RETRY;
use ploinky_contract::{Role, TaskDocument};
use ploinky_control::AdminSession;
use serde::Serialize;

use super::{Said, json};
use crate::guardian::Caller;
use crate::management::ManagementError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'a> {
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Begun<'a> {
    success: bool,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    username: &'a str,
    role: &'a str,
    expires_at: String,
    idle_seconds: u64,
}

/// Whether the caller is an admin. Users are none, whoever they are.
pub(crate) fn admin(caller: &Caller) -> Response {
    let grant = caller.known().map(crate::grants::Known::grant);
    let role =
        if caller.is_root() { Some(Role::Owner) } else { grant.and_then(|grant| grant.role) };
    let checked = Checked {
        authenticated: role.is_some(),
        username: role.map(|_role| grant.map_or(caller.user(), |grant| &grant.user_id).as_str()),
        role,
        expires_at: role.and(grant).and_then(|grant| grant.expires_at).map(time),
    };
    json(StatusCode::OK, bytes_of(&checked))
}

/// The answer to an admin who has a new session; its token is in the cookie alone, where no script sees it.
pub(crate) fn admin_session(session: &AdminSession) -> Response {
    let AdminSession { token: _, username, role, expires_at, idle_seconds } = session;
    let (expires_at, idle_seconds) = (time(*expires_at), *idle_seconds);
    let data = Data { username, role, expires_at, idle_seconds };
    json(StatusCode::OK, bytes_of(&Begun { success: true, data }))
}

/// What the refusal of something to an admin says.
pub(super) fn said(error: &ManagementError) -> Said {
    use ManagementError as E;
    let plain = |status, code| Said { status, code, retry_after_s: None };
    let seconds = u16::try_from(PASSWORD_RETRY.as_secs()).unwrap_or(u16::MAX);
    let later = |status, code| Said { status, code, retry_after_s: Some(seconds) };
    match error {
        E::Document(_) | E::Invalid(_) => plain(StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        E::WrongCredentials | E::NoSession => plain(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        E::Forbidden(_) => plain(StatusCode::FORBIDDEN, "FORBIDDEN"),
        E::PasswordNeeded(_) => plain(StatusCode::FORBIDDEN, "PASSWORD_NEEDED"),
        E::NotFound(_) => plain(StatusCode::NOT_FOUND, "NOT_FOUND"),
        E::Conflict(_) => plain(StatusCode::CONFLICT, "CONFLICT"),
        E::Overloaded => later(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS"),
        E::Away => later(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
    }
}

fn time(seconds: u64) -> String {
    TaskDocument::time(seconds.saturating_mul(1000))
}

/// Strings and numbers cannot fail to serialise.
fn bytes_of(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
