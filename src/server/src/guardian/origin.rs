//! Whether a page of another site made a request, which a browser would send with the cookie of its user.
//!
//! The cookie is `SameSite=Strict`, so that most browsers keep it to themselves then; this is for pages of sibling
//! domains, which are the same site, and for whoever finds a way around it.

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::body::essence;
use crate::refusal::Refusal;

/// Who made the page (Fetch Metadata, W3C).
const SITE: &str = "sec-fetch-site";
/// Content types that a form of any page can send without being asked.
const OF_FORMS: [&str; 3] =
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// Whether a browser says that a page of another site made this request. A visitor of such a page must not call
/// agents by it, least of all those on the visitor's own network.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get_all(SITE).iter().any(|value| value.as_bytes() == b"cross-site")
}

/// Checks a request that changes something and came with the cookie of somebody: no page but those of this origin
/// may have made it. `is_tls`: browsers reach us by TLS.
pub(super) fn check(parts: &Parts, is_tls: bool) -> Result<(), Refusal> {
    let Parts { method, headers, .. } = parts;
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        return Ok(());
    }
    check_always(headers, is_tls)
}

/// The same, of a request that changes something whatever its method.
pub(super) fn check_always(headers: &HeaderMap, is_tls: bool) -> Result<(), Refusal> {
    let mut sites = headers.get_all(SITE).iter().peekable();
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    if sites.peek().is_none() && origins.peek().is_none() {
        return if is_form(headers) { Err(Refusal::NoOrigin) } else { Ok(()) };
    }
    let is_own_site = sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    let is_own = origins.all(|origin| is_own_origin(origin.as_bytes(), headers, is_tls));
    if is_own_site && is_own { Ok(()) } else { Err(Refusal::CrossSite) }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        OF_FORMS.iter().any(|form| essence(value).eq_ignore_ascii_case(form.as_bytes()))
    })
}

/// Whether `origin`, never `null`, is the one that the request is for. A server in front may have taken the TLS away
/// without our knowing, but none puts it there.
fn is_own_origin(origin: &[u8], headers: &HeaderMap, is_tls: bool) -> bool {
    let (port, authority) = if let Some(rest) = strip_scheme(origin, b"https://") {
        (&b":443"[..], rest)
    } else {
        match strip_scheme(origin, b"http://") {
            Some(rest) if !is_tls => (&b":80"[..], rest),
            Some(_) | None => return false,
        }
    };
    let host = headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let bare = |authority| <[u8]>::strip_suffix(authority, port).unwrap_or(authority);
    !authority.is_empty() && bare(authority).eq_ignore_ascii_case(bare(host))
}

fn strip_scheme<'a>(origin: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = origin.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(method: &str, lines: &[(&str, &str)], is_tls: bool) -> &'static str {
        let mut request = Request::builder().method(method).header("host", "a.org:8000");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match check(&parts, is_tls) {
            Ok(()) => "own",
            Err(Refusal::CrossSite) => "other",
            Err(Refusal::NoOrigin) => "unknown",
            Err(_) => "?",
        }
    }

    const OWN: (&str, &str) = ("origin", "http://a.org:8000");

    #[test]
    fn s10_a_page_of_another_origin_changes_nothing() {
        for lines in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[("sec-fetch-site", "Same-Origin ,x")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[OWN, ("sec-fetch-site", "same-site")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://a.org")],
            &[("origin", "http://a.org:80")],
            &[("origin", "http://a.org:80001")],
            &[("origin", "http://b.org:8000")],
            &[("origin", "http://x.a.org:8000")],
            &[("origin", "http://a.org.b:8000")],
            &[("origin", "http://b@a.org:8000")],
            &[("origin", "http://a.org:8000/")],
            &[("origin", "http://")],
            &[("origin", "ftp://a.org:8000")],
            &[("origin", "a.org:8000")],
            &[("origin", "http://a.org:8000 http://b.org")],
            &[OWN, ("origin", "http://b.org")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://b.org")],
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "X"] {
                assert_eq!(of(method, lines, false), "other", "{method} {lines:?}");
            }
            assert_eq!(of("GET", lines, false), "own", "{lines:?}");
        }
        assert_eq!(of("POST", &[OWN], true), "other");
        for form in OF_FORMS {
            for value in [form.to_owned(), format!(" {};charset=x", form.to_uppercase())] {
                assert_eq!(of("POST", &[("content-type", &value)], false), "unknown", "{value}");
            }
        }
    }

    #[test]
    fn s10_pages_of_this_origin_and_programs_are_let_in() {
        let form = ("content-type", OF_FORMS[0]);
        for lines in [
            &[][..],
            &[("content-type", "application/json")],
            &[OWN, form],
            &[("origin", "HTTP://A.org:8000")],
            &[("sec-fetch-site", "same-origin"), form],
            &[("sec-fetch-site", "none")],
            &[OWN, ("sec-fetch-site", "same-origin"), form],
        ] {
            assert_eq!(of("POST", lines, false), "own", "{lines:?}");
        }
        // TLS may end in front of us, whether or not we know.
        for is_tls in [true, false] {
            assert_eq!(of("POST", &[("origin", "https://a.org:8000")], is_tls), "own");
        }
        for (host, origin) in [
            ("a.org", "https://a.org:443"),
            ("a.org:443", "https://a.org"),
            ("a.org", "http://a.org"),
            ("[::1]", "http://[::1]:80"),
        ] {
            let request = Request::post("/").header("host", host).header("origin", origin);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert!(check(&parts, false).is_ok(), "{host} {origin}");
        }
    }
}
