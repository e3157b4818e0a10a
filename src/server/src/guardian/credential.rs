//! What a client shows to be known: the header `Authorization`, or else a cookie. Parsed strictly; what the token
//! stands for is looked up elsewhere.
//!
//! Not by a crate for cookies: those repair and skip, and here two cookies of one name must be refused.

use http::{HeaderMap, header};
use ploinky_contract::Token;

/// The cookie of a session over plain HTTP.
pub(crate) const COOKIE: &str = "authorizationToken";
/// The same over TLS: browsers take it from this host alone, for all of it, and over TLS alone (RFC 6265bis, 4.1.3.2).
pub(crate) const HOST_COOKIE: &str = "__Host-authorizationToken";

/// How a token came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carrier {
    /// By a browser, which sends it whoever made the page.
    Cookie,
    /// By somebody who has it and meant to send it.
    Bearer,
}

/// What was shown.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) carrier: Carrier,
    /// `None`: it has not the form of a token, so that nobody has it.
    pub(super) token: Option<Token>,
}

/// Why what was shown cannot be understood. Nothing of it is repeated, as it may be nearly a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum CredentialError {
    /// More than one header, so that nobody knows which one counts.
    #[error("the header authorization must be there once")]
    SeveralHeaders,
    /// The header is not a scheme and what belongs to it, or not a token behind `Bearer` (RFC 6750, 2.1).
    #[error("the header authorization is not `Bearer` and a token")]
    Header,
    /// More than one cookie, of which another site may have set one.
    #[error("the cookie of the session must be there once")]
    SeveralCookies,
}

/// What the client shows. If there is an `Authorization` header, it alone counts. One of another scheme than Bearer
/// shows nothing that anybody here knows.
pub(super) fn of(headers: &HeaderMap, is_tls: bool) -> Result<Option<Credential>, CredentialError> {
    if headers.contains_key(header::AUTHORIZATION) {
        return bearer(headers).map(|token| Some(Credential { carrier: Carrier::Bearer, token }));
    }
    let value = cookie(headers, if is_tls { HOST_COOKIE } else { COOKIE })?;
    Ok(value.map(|value| Credential { carrier: Carrier::Cookie, token: token(value) }))
}

fn bearer(headers: &HeaderMap) -> Result<Option<Token>, CredentialError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().map_or(&b""[..], |value| value.as_bytes());
    if values.next().is_some() {
        return Err(CredentialError::SeveralHeaders);
    }
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(end).ok_or(CredentialError::Header)?;
    if scheme.is_empty() || !scheme.iter().all(|byte| is_token_char(*byte)) {
        return Err(CredentialError::Header);
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let shown = rest.trim_ascii_start();
    let is_token68 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if shown.is_empty() || !shown.iter().all(is_token68) {
        return Err(CredentialError::Header);
    }
    Ok(token(shown))
}

/// The value of the one cookie of this name. Cookies of others may have any form.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, CredentialError> {
    let mut found = None;
    let lines = headers.get_all(header::COOKIE).iter();
    for pair in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        if let Some(value) =
            pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
            && found.replace(value).is_some()
        {
            return Err(CredentialError::SeveralCookies);
        }
    }
    Ok(found)
}

fn token(bytes: &[u8]) -> Option<Token> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Shown = Result<Option<(Carrier, Option<String>)>, CredentialError>;

    fn shown(lines: &[(&'static str, &str)], is_tls: bool) -> Shown {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let found = of(&headers, is_tls)?;
        Ok(found.map(|found| (found.carrier, found.token.map(|token| token.reveal().to_owned()))))
    }

    const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn i4_what_can_be_understood_in_two_ways_is_refused() {
        let cookie = format!("authorizationToken={TOKEN}");
        for lines in [
            &[("cookie", &*format!("{cookie}; {cookie}"))][..],
            &[("cookie", &cookie), ("cookie", &cookie)],
            &[("cookie", &*format!("{cookie};a=b;authorizationToken="))],
        ] {
            assert_eq!(shown(lines, false), Err(CredentialError::SeveralCookies), "{lines:?}");
        }
        for value in
            ["", " ", "Bearer", "Bearer ", "Bearer  ", "Bearer a b", "Bearer a,b", "Bearer \"a\""]
        {
            assert_eq!(
                shown(&[("authorization", value)], false),
                Err(CredentialError::Header),
                "{value:?}"
            );
        }
        for value in ["Bearer=x", "Bear\u{e9}r x", "@ x", "Bearer ä"] {
            assert_eq!(
                shown(&[("authorization", value)], false),
                Err(CredentialError::Header),
                "{value:?}"
            );
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert_eq!(shown(&twice, false), Err(CredentialError::SeveralHeaders));
    }

    #[test]
    fn i4_what_has_not_the_form_of_a_token_is_nobodys() {
        let upper = TOKEN.to_uppercase();
        let long = "a".repeat(10 << 10);
        for value in [
            "",
            "Admin",
            "admin",
            "*",
            "../../x",
            "a",
            &long,
            &upper,
            &format!("{TOKEN}0"),
            &format!("\"{TOKEN}\""),
            "%",
            "ä",
            &format!("{TOKEN}%0a"),
            "ploinky_",
            "null",
        ] {
            let line = format!("a=b; authorizationToken={value}");
            assert_eq!(
                shown(&[("cookie", &line)], false),
                Ok(Some((Carrier::Cookie, None))),
                "{value:?}"
            );
        }
        for value in ["Admin", "*".repeat(0).as_str(), &upper, &long, "../../x", "a=="] {
            if !value.is_empty() {
                let line = format!("Bearer {value}");
                assert_eq!(
                    shown(&[("authorization", &line)], false),
                    Ok(Some((Carrier::Bearer, None)))
                );
            }
        }
        // Another scheme shows nothing, and the cookie beside it does not count.
        let cookie = format!("authorizationToken={TOKEN}");
        for value in ["Basic QWRtaW46", "Digest username=\"Admin\"", "Negotiate"] {
            let lines = [("authorization", value), ("cookie", &cookie)];
            assert_eq!(shown(&lines, false), Ok(Some((Carrier::Bearer, None))), "{value}");
        }
    }

    #[test]
    fn each_carrier_counts_in_its_place_alone() {
        let cookie = |name: &str| format!("x; y=\"a;b\";\t{name}={TOKEN} ; z");
        let is = |carrier| Ok(Some((carrier, Some(TOKEN.to_owned()))));
        for (name, is_tls, expected) in [
            (COOKIE, false, is(Carrier::Cookie)),
            (HOST_COOKIE, true, is(Carrier::Cookie)),
            (COOKIE, true, Ok(None)),
            (HOST_COOKIE, false, Ok(None)),
            ("AuthorizationToken", false, Ok(None)),
            ("xauthorizationToken", false, Ok(None)),
            ("authorizationToken ", false, Ok(None)),
        ] {
            assert_eq!(shown(&[("cookie", &cookie(name))], is_tls), expected, "{name}");
        }
        for scheme in ["Bearer ", "bearer   ", "BEARER "] {
            let line = format!("{scheme}{TOKEN}");
            assert_eq!(shown(&[("authorization", &line)], false), is(Carrier::Bearer), "{scheme}");
        }
        let program = format!("Bearer ploinky_{TOKEN}");
        let cookie = format!("authorizationToken={TOKEN}");
        let both = [("authorization", &*program), ("cookie", &*cookie)];
        let expected = Some((Carrier::Bearer, Some(format!("ploinky_{TOKEN}"))));
        assert_eq!(shown(&both, false), Ok(expected));
        assert_eq!(shown(&[], false), Ok(None));
    }
}
