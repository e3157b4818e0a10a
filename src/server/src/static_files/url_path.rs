//! What a URL path may name: the check before anything is looked up.

use percent_encoding::percent_decode_str;
use ploinky_contract::limits::STATIC_PATH_MAX_BYTES;

/// Bytes of one file name (`NAME_MAX` of Linux).
const NAME_MAX_BYTES: usize = 255;
/// The one hidden directory that is public by its nature (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// File names below the root, each a single component that is neither hidden nor relative.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct UrlPath {
    pub(super) names: Vec<String>,
    /// The path ends with a slash, so a directory is meant.
    pub(super) is_directory: bool,
}

/// The path of a URL, decoded once. `None` for everything that names no public file.
pub(super) fn parse(raw: &str) -> Option<UrlPath> {
    if STATIC_PATH_MAX_BYTES < raw.len() {
        return None;
    }
    let inner = raw.strip_prefix('/')?;
    let (inner, is_directory) = match inner.strip_suffix('/') {
        Some(shorter) => (shorter, true),
        None => (inner, inner.is_empty()),
    };
    // "/" is the root; "//" is not.
    if inner.is_empty() {
        return (raw == "/").then(|| UrlPath { names: Vec::new(), is_directory: true });
    }
    let names = inner.split('/').map(name).collect::<Option<_>>()?;
    Some(UrlPath { names, is_directory })
}

fn name(raw: &str) -> Option<String> {
    if !is_well_escaped(raw) {
        return None;
    }
    let name = percent_decode_str(raw).decode_utf8().ok()?;
    let hidden = name.starts_with('.') && name != WELL_KNOWN;
    let strange = name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'));
    let fits = (1..=NAME_MAX_BYTES).contains(&name.len());
    (fits && !hidden && !strange).then(|| name.into_owned())
}

fn is_well_escaped(raw: &str) -> bool {
    raw.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_name_nothing() {
        for raw in [
            "",
            "*",
            "etc/passwd",
            "//",
            "//etc",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/./",
            "/../",
            "/a/../b",
            "/a/./b",
            "/..%2fetc",
            "/%2e%2e/etc",
            "/%2E%2E%2Fetc",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/..%5c..%5c",
            "/..%252f",
            "/..%c0%af",
            "/%c0%ae%c0%ae/",
            "/....//",
            "/;x=/../",
            "/a%00",
            "/a%00.html",
            "/a%0ab",
            "/a%7f",
            "/%ff",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%u002e",
            "/.tasks/",
            "/.admin",
            "/.git/config",
            "/.env",
            "/a/.htpasswd",
            "/.well-known/.hidden",
            "/.well-known-not",
            &format!("/{}", "a".repeat(256)),
            &"/a".repeat(2049),
            &"/..".repeat(1000),
        ] {
            assert_eq!(parse(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn plain_paths_are_decoded_once() {
        for (raw, names, is_directory) in [
            ("/", &[][..], true),
            ("/a", &["a"], false),
            ("/a/", &["a"], true),
            ("/a/b.html", &["a", "b.html"], false),
            ("/%61%20b", &["a b"], false),
            ("/%252e%252e/x", &["%2e%2e", "x"], false),
            ("/%C3%A4", &["ä"], false),
            ("/a;b=c", &["a;b=c"], false),
            ("/a.", &["a."], false),
            ("/C:", &["C:"], false),
            ("/.well-known/acme-challenge/x", &[".well-known", "acme-challenge", "x"], false),
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(parse(raw), Some(UrlPath { names, is_directory }), "{raw:?}");
        }
    }
}
