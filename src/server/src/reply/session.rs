//! The cookie of a session, and sessions as documents.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use ploinky_contract::{AllowedCommands, Domain, Role, SessionPage, TaskDocument, Token, UserId};
use serde::Serialize;

use super::json;
use crate::guardian::{COOKIE, Caller, HOST_COOKIE};

#[derive(Serialize)]
struct Known<'a> {
    success: bool,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    authenticated: bool,
    user_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a Domain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_commands: Option<&'a AllowedCommands>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Who the caller is.
pub(crate) fn caller(caller: &Caller) -> Response {
    let grant = caller.known().map(crate::grants::Known::grant);
    let data = Data {
        authenticated: caller.is_somebody(),
        user_id: caller.user(),
        domain: grant.and_then(|grant| grant.domain.as_ref()),
        allowed_commands: grant.map(|grant| &grant.allowed_commands),
        role: grant.and_then(|grant| grant.role),
        expires_at: grant
            .and_then(|grant| grant.expires_at)
            .map(|end| TaskDocument::time(end.saturating_mul(1000))),
    };
    json(StatusCode::OK, bytes_of(&Known { success: true, data }))
}

/// Some sessions.
pub(crate) fn sessions(page: &SessionPage) -> Response {
    json(StatusCode::OK, bytes_of(page))
}

/// The answer to a wish that ended so many sessions.
pub(crate) fn ended(count: usize) -> Response {
    json(StatusCode::OK, format!(r#"{{"success":true,"ended":{count}}}"#).into_bytes())
}

/// Names, numbers and lists cannot fail to serialise.
fn bytes_of(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// Gives the client the token of its new session, for `seconds`. No script sees it, no other site sends it, and over
/// TLS nothing else carries it.
pub(crate) fn put_session(response: &mut Response, token: &Token, seconds: u64, is_tls: bool) {
    put_cookie(response, token.reveal(), seconds, is_tls);
}

/// Takes the token away again.
pub(crate) fn put_no_session(response: &mut Response, is_tls: bool) {
    put_cookie(response, "", 0, is_tls);
}

fn put_cookie(response: &mut Response, value: &str, seconds: u64, is_tls: bool) {
    let (name, secure) = if is_tls { (HOST_COOKIE, "; Secure") } else { (COOKIE, "") };
    let text =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Digits and words are always a legal value.
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_the_cookie_is_for_this_host_alone() {
        let token = Token::of_session([0xab; 32]);
        let cookie = |is_tls| {
            let mut response = Response::default();
            put_session(&mut response, &token, 86_400, is_tls);
            assert!(!format!("{response:?}").contains("abab"));
            response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned()
        };
        let digits = "ab".repeat(32);
        assert_eq!(
            cookie(false),
            format!(
                "authorizationToken={digits}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"
            )
        );
        assert_eq!(
            cookie(true),
            format!(
                "__Host-authorizationToken={digits}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict; Secure"
            )
        );
        let mut response = Response::default();
        put_no_session(&mut response, true);
        assert_eq!(
            response.headers()[header::SET_COOKIE],
            "__Host-authorizationToken=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
        );
    }
}
