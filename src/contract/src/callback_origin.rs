//! Where outcomes of tasks may be posted to.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Domain;

/// `https://host`, `http://host`, or either with `:port`; nothing behind it. What the admin allows, so that no
/// client of an agent can make this host call another one.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallbackOrigin(String);

/// Why a text is no origin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not an origin: write `https://host` or `http://host`, with `:port` if it is not the usual one, and nothing behind it", .0.escape_debug())]
pub struct InvalidCallbackOrigin(String);

crate::text_type!(CallbackOrigin, InvalidCallbackOrigin);

impl CallbackOrigin {
    /// Whether `url` lies at this origin. The text is compared, so that there are no two readings of it: the
    /// origin, then the end or a `/`.
    pub fn covers(&self, url: &str) -> bool {
        url.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'"'))
    }
}

impl FromStr for CallbackOrigin {
    type Err = InvalidCallbackOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidCallbackOrigin> {
        let refused = || InvalidCallbackOrigin(text.chars().take(300).collect());
        let authority = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(refused)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (authority, None),
        };
        let has_port = port.is_none_or(|port| {
            port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port)
        });
        match host.parse::<Domain>() {
            Ok(domain) if domain.as_str() == host && has_port => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_an_origin() {
        for text in [
            "",
            "example.org",
            "ftp://example.org",
            "https://",
            "https://example.org/",
            "https://example.org/x",
            "https://u@example.org",
            "https://example.org:0",
            "https://example.org:65536",
            "https://example.org:080",
            "https://Example.org",
            "https://example.org?x",
            "https://a b",
            "HTTPS://example.org",
            "https://example.org:",
        ] {
            assert!(text.parse::<CallbackOrigin>().is_err(), "{text} was accepted");
        }
        for text in
            ["https://example.org", "http://10.0.0.1:8080", "http://[::1]:80", "http://[::1]"]
        {
            assert!(text.parse::<CallbackOrigin>().is_ok(), "{text} was refused");
        }
    }

    #[test]
    fn nothing_but_the_origin_itself_is_covered() {
        let origin: CallbackOrigin = "https://example.org".parse().unwrap();
        for url in [
            "https://example.org.evil.net/",
            "https://example.org@evil.net/",
            "http://example.org/",
            "https://example.org:8443/",
            "https://example.orgx",
            "https://example.org/a b",
            "https://example.org/#x",
            "https://example.org/\\evil",
            "https://example.org/\"x",
            " https://example.org/",
        ] {
            assert!(!origin.covers(url), "{url} is covered");
        }
        for url in ["https://example.org", "https://example.org/hook?task=1"] {
            assert!(origin.covers(url), "{url} is not covered");
        }
    }
}
