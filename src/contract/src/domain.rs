//! The host part of a deployment: a DNS name, an IPv4 address or an IPv6 literal.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::DOMAIN_MAX_BYTES;

/// A host name without port, in lower case; IPv6 in brackets and in its canonical form (RFC 5952).
///
/// Labels follow RFC 1123: letters, digits and inner hyphens, at most 63 bytes each.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

/// Why a text is no domain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not a domain: use a host name such as `example.org`, an IPv4 address or an IPv6 address in brackets, without port, at most {DOMAIN_MAX_BYTES} bytes", .0.escape_debug())]
pub struct InvalidDomain(String);

crate::text_type!(Domain, InvalidDomain);

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let invalid = || InvalidDomain(text.chars().take(DOMAIN_MAX_BYTES + 1).collect());
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr =
                inner.strip_suffix(']').and_then(|inner| inner.parse().ok()).ok_or_else(invalid)?;
            return Ok(Self(format!("[{address}]")));
        }
        let name = text.to_ascii_lowercase();
        // "1.2.3" or "0x7f.1" are addresses to some programs and names to others: neither here.
        let last_is_number = name
            .rsplit('.')
            .next()
            .is_some_and(|label| label.starts_with(|c: char| c.is_ascii_digit()));
        if last_is_number {
            return name
                .parse::<Ipv4Addr>()
                .map(|a| Self(a.to_string()))
                .map_err(|_reason| invalid());
        }
        if name.len() <= DOMAIN_MAX_BYTES && name.split('.').all(is_label) {
            Ok(Self(name))
        } else {
            Err(invalid())
        }
    }
}

impl Domain {
    /// The domain that also answers for the loopback addresses.
    pub fn localhost() -> Self {
        Self("localhost".to_owned())
    }

    /// Whether this is the literal of a loopback address, `127.0.0.0/8` or `[::1]`.
    pub fn is_loopback_literal(&self) -> bool {
        self.0.parse::<Ipv4Addr>().is_ok_and(|a| a.is_loopback()) || self.0 == "[::1]"
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_hostile_and_half_names() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "a/b",
            "../x",
            "%h",
            "a\n",
            "a:80",
            "[::1",
            "::1",
            "[::1]:80",
            "[fe80::1%eth0]",
            "1.2.3",
            "256.1.1.1",
            "0x7f.1",
            "127.1",
            "ä.de",
            "a\0",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<Domain>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn normalises_case_and_addresses() {
        for (text, canonical) in [
            ("LocalHost", "localhost"),
            ("Example.ORG", "example.org"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
            ("xn--nxasmq6b.example", "xn--nxasmq6b.example"),
        ] {
            assert_eq!(text.parse::<Domain>().unwrap().as_str(), canonical);
        }
    }
}
