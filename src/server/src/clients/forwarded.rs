//! What a trusted proxy says of the client in front of it: `X-Forwarded-For`, else `Forwarded` (RFC 7239).
//!
//! Read from the end, as each proxy appends what it saw: before the first address that is no trusted proxy
//! stands what a stranger wrote.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ploinky_contract::limits::PROXY_HOPS_MAX;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the proxies in front of us saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Forwarded {
    /// The first address that is no trusted proxy, else the farthest one that is known.
    pub(super) address: IpAddr,
    /// Whether the proxy was asked over TLS.
    pub(super) is_tls: bool,
}

/// Reads what the proxy at `peer` says.
pub(super) fn read(
    peer: IpAddr,
    headers: &HeaderMap,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Forwarded {
    // Nearly all proxies set `X-Forwarded-For`, and most of them hand on a `Forwarded` that a stranger wrote.
    if headers.contains_key(FOR) {
        let address = farthest(peer, entries(headers, &FOR).map(address_of), is_proxy);
        let is_tls = entries(headers, &PROTO).next().is_some_and(is_https);
        return Forwarded { address, is_tls };
    }
    let pairs = |entry| parameter(entry, "for").and_then(address_of);
    let address = farthest(peer, entries(headers, &FORWARDED).map(pairs), is_proxy);
    let proto = match entries(headers, &FORWARDED).next() {
        Some(entry) => parameter(entry, "proto"),
        None => entries(headers, &PROTO).next(),
    };
    Forwarded { address, is_tls: proto.is_some_and(is_https) }
}

fn farthest(
    peer: IpAddr,
    entries: impl Iterator<Item = Option<IpAddr>>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut farthest = peer.to_canonical();
    for entry in entries.take(PROXY_HOPS_MAX) {
        // What is no address says that the proxy does not know.
        let Some(address) = entry else { break };
        farthest = address;
        if !is_proxy(address) {
            break;
        }
    }
    farthest
}

/// The entries of a list, last one first, however many lines it has.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default().rsplit(',');
    headers.get_all(name).iter().rev().flat_map(text).map(str::trim)
}

/// The value of `name` in one entry of `Forwarded`.
fn parameter<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, which may have a port; that of IPv6 may stand in brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|both: SocketAddr| both.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn is_https(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let is_proxy = |address: IpAddr| address.to_string().starts_with("10.");
        let found = read("10.0.0.1".parse().unwrap(), &headers, is_proxy);
        (found.address.to_string(), found.is_tls)
    }

    #[test]
    fn what_a_stranger_wrote_in_front_is_not_taken() {
        let many = format!("192.0.2.1{}", ", 10.0.0.2".repeat(100));
        for (lines, address) in [
            (&[][..], "10.0.0.1"),
            (&[("x-forwarded-for", "")], "10.0.0.1"),
            (&[("x-forwarded-for", "unknown")], "10.0.0.1"),
            (&[("x-forwarded-for", "192.0.2.1, unknown")], "10.0.0.1"),
            (&[("x-forwarded-for", "192.0.2.1, ä, 10.0.0.2")], "10.0.0.1"),
            (&[("x-forwarded-for", "127.0.0.1, 192.0.2.1")], "192.0.2.1"),
            (&[("x-forwarded-for", "127.0.0.1, 192.0.2.1, 10.0.0.3")], "192.0.2.1"),
            (&[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
            (&[("x-forwarded-for", &many)], "10.0.0.2"),
            (&[("forwarded", "for=127.0.0.1, for=192.0.2.1")], "192.0.2.1"),
            (&[("forwarded", "for=\"127.0.0.1, for=_x")], "10.0.0.1"),
            (&[("forwarded", "for=127.0.0.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
        ] {
            assert_eq!(of(lines), (address.to_owned(), false), "{lines:?}");
        }
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        for (entry, address) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.9", "10.0.0.9"),
        ] {
            assert_eq!(of(&[("x-forwarded-for", entry)]).0, address);
            assert_eq!(of(&[("forwarded", &format!("by=_p;For=\"{entry}\""))]).0, address);
        }
    }

    #[test]
    fn the_proxy_next_to_us_says_whether_there_was_tls() {
        let client = ("x-forwarded-for", "192.0.2.1");
        for (lines, is_tls) in [
            (&[client][..], false),
            (&[client, ("x-forwarded-proto", "http")], false),
            (&[client, ("x-forwarded-proto", "https, http")], false),
            (&[client, ("forwarded", "proto=https")], false),
            (&[client, ("x-forwarded-proto", "HTTPS")], true),
            (&[("forwarded", "proto=https;for=192.0.2.1, for=10.0.0.2")], false),
            (&[("forwarded", "proto=https;for=192.0.2.1")], true),
            (&[("x-forwarded-proto", "https")], true),
        ] {
            assert_eq!(of(lines).1, is_tls, "{lines:?}");
        }
    }
}
