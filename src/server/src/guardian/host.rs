//! Which domain a request is for: exactly one `Host`, and a target that does not contradict it.

use http::uri::Authority;
use http::{HeaderMap, Uri, header};
use ploinky_contract::{Domain, InvalidDomain};

/// Why a request names no domain.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HostError {
    /// RFC 9112, 3.2: a request without `Host` must be refused.
    #[error("the request has no Host header")]
    Missing,
    /// RFC 9112, 3.2: so must one with two.
    #[error("the request has more than one Host header")]
    Several,
    /// The value is not `host` or `host:port`.
    #[error("the Host header is not `host` or `host:port`")]
    Shape,
    /// The host is none.
    #[error("the Host header is wrong: {0}")]
    Domain(InvalidDomain),
    /// The target is a whole URL for another host.
    #[error("the request target names another host than the Host header")]
    Foreign,
}

/// The domain that the request is for, without port.
pub(super) fn domain(headers: &HeaderMap, uri: &Uri) -> Result<Domain, HostError> {
    let mut values = headers.get_all(header::HOST).iter();
    let value = values.next().ok_or(HostError::Missing)?;
    if values.next().is_some() {
        return Err(HostError::Several);
    }
    let value = value.to_str().map_err(|_not_ascii| HostError::Shape)?;
    let domain = without_port(value)?.parse().map_err(HostError::Domain)?;
    match uri.authority().map(Authority::as_str) {
        Some(authority) if !authority.eq_ignore_ascii_case(value) => Err(HostError::Foreign),
        Some(_) | None => Ok(domain),
    }
}

fn without_port(value: &str) -> Result<&str, HostError> {
    // The colons of an IPv6 address are inside its brackets.
    let border = value.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = value
        .as_bytes()
        .iter()
        .skip(border)
        .position(|byte| *byte == b':')
        .map_or(value.len(), |position| border + position);
    let (host, port) = value.split_at_checked(colon).ok_or(HostError::Shape)?;
    let digits = port.strip_prefix(':').unwrap_or_default();
    let is_port = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok());
    if is_port { Ok(host) } else { Err(HostError::Shape) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(hosts: &[&str], target: &str) -> Result<String, HostError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        domain(&headers, &target.parse().unwrap()).map(|domain| domain.as_str().to_owned())
    }

    #[test]
    fn hosts_that_are_missing_doubled_or_hostile_are_refused() {
        assert_eq!(of(&[], "/"), Err(HostError::Missing));
        assert_eq!(of(&["a", "a"], "/"), Err(HostError::Several));
        for host in ["a:b", "a:65536", "a:-1", "a:80:80", "[::1]:x", "ä", "::1", "[::1"] {
            assert_eq!(of(&[host], "/"), Err(HostError::Shape), "{host:?}");
        }
        for host in ["", "..", "../x", "a b", "user@a", "a/b", "[::1]x", "%00", "a_b", ":80", "*"] {
            assert!(matches!(of(&[host], "/"), Err(HostError::Domain(_))), "{host:?}");
        }
    }

    #[test]
    fn a_target_for_another_host_is_refused() {
        for target in ["http://b/x", "http://a:81/x", "http://a.b/x", "http://u@a:80/x"] {
            assert_eq!(of(&["a:80"], target), Err(HostError::Foreign), "{target}");
        }
        assert_eq!(of(&["a:80"], "http://A:80/x"), Ok("a".to_owned()));
    }

    #[test]
    fn the_port_is_left_out_and_the_case_does_not_matter() {
        for (host, expected) in [
            ("LocalHost", "localhost"),
            ("example.org:8000", "example.org"),
            ("example.org:", "example.org"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:8000", "[::1]"),
        ] {
            assert_eq!(of(&[host], "/x"), Ok(expected.to_owned()), "{host:?}");
        }
    }
}
