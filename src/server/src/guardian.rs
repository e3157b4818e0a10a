//! Admission: the checks that every request passes before anything is done for it, cheap ones first.
//!
//! The only maker of [`Admitted`]. Does not route, and knows no status codes.

mod body;
mod call;
mod credential;
#[cfg(feature = "bench")]
mod decision;
mod form;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod header_value;
mod host;
mod identity;
mod origin;
mod permission;
mod prefer;
mod subscription;
mod wishes;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use ploinky_contract::limits::{
    BODY_TIMEOUT, MANAGEMENT_BODY_MAX_BYTES, REQUEST_MAX_BYTES, URI_MAX_BYTES,
};
use ploinky_contract::{CommandName, Domain, Token, UserId};
use serde_json::value::RawValue;

pub(crate) use self::body::{ReadError, essence};
pub(crate) use self::call::{CallError, has_lone_surrogate};
pub(crate) use self::credential::{COOKIE, Carrier, CredentialError, HOST_COOKIE};
#[cfg(feature = "bench")]
pub use self::decision::Decision;
pub(crate) use self::form::{AdmittedForm, admit_form};
pub(crate) use self::header_value::HeaderError;
pub(crate) use self::host::HostError;
pub(crate) use self::identity::{Caller, Door, Identity};
use self::origin::is_cross_site;
pub(crate) use self::permission::Gate;
pub(crate) use self::subscription::{Subscription, admit_subscription};
pub(crate) use self::wishes::Wishes;
use crate::byte_budget::ByteBudget;
use crate::refusal::Refusal;

/// A request head that passed every check. Its field is private: holding one is the proof.
#[derive(Debug)]
pub(crate) struct Head {
    domain: Domain,
}

/// A call that passed every check. Its fields are private: holding one is the proof.
#[derive(Debug)]
pub(crate) struct Admitted {
    user: UserId,
    command: CommandName,
    params: Vec<Box<RawValue>>,
    wishes: Wishes,
}

impl Head {
    /// The domain that the request is for.
    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl Admitted {
    /// For whom the call runs.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// What is called.
    pub(crate) fn command(&self) -> &CommandName {
        &self.command
    }

    /// How it is to be carried out.
    pub(crate) fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// For whom, what, the parameters as the client wrote them, and how.
    pub(crate) fn into_parts(self) -> (UserId, CommandName, Vec<Box<RawValue>>, Wishes) {
        let Self { user, command, params, wishes } = self;
        (user, command, params, wishes)
    }
}

/// Checks what every request must fulfil, whatever it is for.
///
/// The listener already refused what is not framed as HTTP/1 is.
pub(crate) fn check_head(parts: &Parts) -> Result<Head, Refusal> {
    let Parts { method, uri, headers, .. } = parts;
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let target_bytes = uri.path().len() + uri.query().map_or(0, str::len);
    if URI_MAX_BYTES < target_bytes {
        return Err(Refusal::UriTooLong);
    }
    if headers.get_all(header::UPGRADE).iter().any(|value| names_h2c(value.as_bytes())) {
        return Err(Refusal::Upgrade);
    }
    Ok(Head { domain: host::domain(headers, uri).map_err(Refusal::Host)? })
}

/// Refuses a request with a method that is not among those allowed, which have commas and spaces between them.
pub(crate) fn check_method(parts: &Parts, allowed: &'static str) -> Result<(), Refusal> {
    if allowed.split(", ").any(|method| method == parts.method.as_str()) {
        Ok(())
    } else {
        Err(Refusal::Method { method: parts.method.clone(), allowed })
    }
}

/// Tells who makes the request, from the socket that it came by and from what the client shows.
pub(crate) fn identify(
    _proof: &Head,
    parts: &Parts,
    identity: Identity<'_>,
) -> Result<Caller, Refusal> {
    identity::identify(parts, identity)
}

/// Admits a call of `caller` to an agent behind `gate`: method, media type, length, then the body itself, and
/// whether the caller may call what it names. A body that is not small takes from `bodies` until it is parsed.
pub(crate) async fn admit(
    _proof: &Head,
    parts: &Parts,
    body: Body,
    bodies: &ByteBudget,
    (caller, gate): (&Caller, &Gate),
) -> Result<Admitted, Refusal> {
    check_method(parts, "POST")?;
    if is_cross_site(&parts.headers) {
        return Err(Refusal::CrossSite);
    }
    if !body::has_media_type(&parts.headers) {
        return Err(Refusal::MediaType);
    }
    let wishes = Wishes::of(&parts.headers)?;
    if announced_bytes(&parts.headers).is_some_and(|length| (REQUEST_MAX_BYTES as u64) < length) {
        return Err(Refusal::Read(ReadError::TooLarge { limit: REQUEST_MAX_BYTES }));
    }
    let (bytes, _share) =
        body::read(body, REQUEST_MAX_BYTES, BODY_TIMEOUT, bodies).await.map_err(Refusal::Read)?;
    let (command, params) = call::parse(&bytes).map_err(Refusal::Call)?;
    gate.permit(caller, &command)?;
    Ok(Admitted { user: caller.user().clone(), command, params, wishes })
}

/// Admits a document of an admin: the page that made it, media type, length, then the body itself.
pub(crate) async fn admit_document(
    _proof: &Head,
    parts: &Parts,
    body: Body,
    bodies: &ByteBudget,
    is_tls: bool,
) -> Result<Bytes, Refusal> {
    origin::check(parts, is_tls)?;
    if !body::has_media_type(&parts.headers) {
        return Err(Refusal::MediaType);
    }
    let limit = MANAGEMENT_BODY_MAX_BYTES;
    if announced_bytes(&parts.headers).is_some_and(|length| (limit as u64) < length) {
        return Err(Refusal::Read(ReadError::TooLarge { limit }));
    }
    let (bytes, _share) =
        body::read(body, limit, BODY_TIMEOUT, bodies).await.map_err(Refusal::Read)?;
    Ok(bytes)
}

/// The token that the client shows, for the supervisor to look at; whether anybody has it is not asked here.
pub(crate) fn shown_token(
    _proof: &Head,
    parts: &Parts,
    is_tls: bool,
) -> Result<Option<Token>, Refusal> {
    let shown = credential::of(&parts.headers, is_tls).map_err(Refusal::Credential)?;
    Ok(shown.and_then(|shown| shown.token))
}

/// Admits a request for tasks: how long the answer may be put off.
pub(crate) fn admit_to_tasks(_proof: &Head, parts: &Parts) -> Result<Option<Duration>, Refusal> {
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    if !is_read && is_cross_site(&parts.headers) {
        return Err(Refusal::CrossSite);
    }
    Ok(prefer::of(&parts.headers)?.wait)
}

/// Whether `caller` may have a task of `command` accepted once more.
pub(crate) fn permit_again(
    caller: &Caller,
    gate: &Gate,
    command: &CommandName,
) -> Result<(), Refusal> {
    if caller.is_admin() { Ok(()) } else { gate.permit(caller, command) }
}

/// The `Content-Length`, which the parser below has checked to be one number.
pub(crate) fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn names_h2c(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(request: http::request::Builder) -> Result<String, Refusal> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check_head(&parts).map(|head| head.domain().as_str().to_owned())
    }

    fn to_a() -> http::request::Builder {
        Request::builder().uri("/").header("host", "a")
    }

    #[test]
    fn proxies_tunnels_and_long_targets_are_refused() {
        let connect = to_a().method("CONNECT");
        assert!(matches!(head(connect), Err(Refusal::Connect)));
        for value in ["h2c", "websocket, H2C"] {
            let upgrade = to_a().header("upgrade", value);
            assert!(matches!(head(upgrade), Err(Refusal::Upgrade)));
        }
        let long = to_a().uri(format!("/{}", "a".repeat(URI_MAX_BYTES)));
        assert!(matches!(head(long), Err(Refusal::UriTooLong)));
        let long = to_a().uri(format!("/?{}", "a".repeat(URI_MAX_BYTES)));
        assert!(matches!(head(long), Err(Refusal::UriTooLong)));
        assert!(matches!(
            head(Request::builder().uri("/")),
            Err(Refusal::Host(HostError::Missing))
        ));
    }

    async fn call(
        request: http::request::Builder,
        body: &'static str,
    ) -> Result<Admitted, Refusal> {
        let (parts, body) = request.body(Body::from(body)).unwrap().into_parts();
        let bodies = ByteBudget::new(0);
        let gate = Gate { path: "/a".parse().unwrap(), public: None, has_auth: false };
        admit(&check_head(&parts)?, &parts, body, &bodies, (&Caller::of_test(None), &gate)).await
    }

    #[tokio::test]
    async fn the_checks_come_in_order_of_their_cost() {
        let wrong =
            || to_a().header("content-type", "text/html").header("content-length", "9999999");
        assert!(matches!(call(wrong(), "x").await, Err(Refusal::Method { .. })));
        assert!(matches!(call(wrong().method("POST"), "x").await, Err(Refusal::MediaType)));
        let large = to_a().method("POST").header("content-length", "1048577");
        assert!(matches!(call(large, "x").await, Err(Refusal::Read(ReadError::TooLarge { .. }))));
        let broken = to_a().method("POST").header("content-length", "1");
        assert!(matches!(call(broken, "x").await, Err(Refusal::Call(_))));
    }

    #[tokio::test]
    async fn a_wrong_wish_is_refused_before_the_body_is_read() {
        let wrong =
            to_a().method("POST").header("prefer", "wait=61").header("content-length", "9999999");
        assert!(matches!(call(wrong, "x").await, Err(Refusal::Header(_))));
    }

    #[test]
    fn a_page_of_another_site_ends_no_tasks() {
        let asked = |method: &str| {
            let request = to_a().method(method).header("sec-fetch-site", "cross-site");
            let (parts, ()) = request.body(()).unwrap().into_parts();
            admit_to_tasks(&check_head(&parts).unwrap(), &parts)
        };
        for method in ["DELETE", "POST"] {
            assert!(matches!(asked(method), Err(Refusal::CrossSite)), "{method}");
        }
        assert_eq!(asked("GET").unwrap(), None);
    }

    #[tokio::test]
    async fn a_page_of_another_site_calls_nothing() {
        let from = |site: &'static str| to_a().method("POST").header("sec-fetch-site", site);
        let body = r#"{"command":"a"}"#;
        assert!(matches!(call(from("cross-site"), body).await, Err(Refusal::CrossSite)));
        let twice = from("same-origin").header("sec-fetch-site", "cross-site");
        assert!(matches!(call(twice, body).await, Err(Refusal::CrossSite)));
        for site in ["same-origin", "same-site", "none"] {
            assert!(call(from(site), body).await.is_ok(), "{site}");
        }
    }
}
