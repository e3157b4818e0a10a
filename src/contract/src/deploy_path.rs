//! The URL path at which an agent is deployed.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{DEPLOY_PATH_MAX_BYTES, DEPLOY_PATH_SEGMENTS_MAX};

/// Where the agent is deployed that lets users log in.
const AUTH: &str = "/auth";
/// First segments that belong to Ploinky itself (`/healthz` answers probes of load balancers).
const RESERVED: [&str; 6] = ["management", "auth", "client", "tasks", "healthz", "metrics"];

/// An absolute path of plain segments without a trailing slash; `/` is the static agent of the domain.
///
/// A segment is 1 to 63 of `A-Z a-z 0-9 . _ -` that starts and ends with a letter or digit, so that no segment
/// is hidden, relative, an option, or in need of URL escaping.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeployPath(String);

/// Why a text is no deployment path.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidDeployPath {
    /// The shape is wrong.
    #[error("`{}` is not a deployment path: use `/` or segments such as `/shop/api`, each 1 to 63 of A-Z a-z 0-9 . _ - that start and end with a letter or digit, at most {DEPLOY_PATH_SEGMENTS_MAX} segments and {DEPLOY_PATH_MAX_BYTES} bytes", .0.escape_debug())]
    Shape(String),
    /// The first segment is one of Ploinky's own.
    #[error(
        "the path `{0}` is reserved: /management, /client, /tasks, /healthz, /metrics and what is below /auth belong to Ploinky"
    )]
    Reserved(String),
}

crate::text_type!(DeployPath, InvalidDeployPath);

impl FromStr for DeployPath {
    type Err = InvalidDeployPath;

    fn from_str(text: &str) -> Result<Self, InvalidDeployPath> {
        let shape =
            || InvalidDeployPath::Shape(text.chars().take(DEPLOY_PATH_MAX_BYTES + 1).collect());
        if text == "/" {
            return Ok(Self(text.to_owned()));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let inner = trimmed.strip_prefix('/').ok_or_else(shape)?;
        let fits = trimmed.len() <= DEPLOY_PATH_MAX_BYTES
            && inner.split('/').count() <= DEPLOY_PATH_SEGMENTS_MAX;
        if !fits || !inner.split('/').all(is_segment) {
            return Err(shape());
        }
        if trimmed == AUTH {
            return Ok(Self(trimmed.to_owned()));
        }
        if inner.split('/').next().is_some_and(|first| RESERVED.contains(&first)) {
            return Err(InvalidDeployPath::Reserved(trimmed.to_owned()));
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl DeployPath {
    /// The path `/`, where only a static agent can be deployed.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The path `/auth`, where the agent is deployed that lets users of the domain log in.
    pub fn auth() -> Self {
        Self(AUTH.to_owned())
    }

    /// Whether this is `/auth`.
    pub fn is_auth(&self) -> bool {
        self.0 == AUTH
    }

    /// The segments, none for `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether `url_path` is this path or lies below it, on whole segments.
    pub fn covers(&self, url_path: &str) -> bool {
        self.is_root()
            || url_path
                .strip_prefix(self.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn is_segment(segment: &str) -> bool {
    (1..=63).contains(&segment.len())
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && segment.starts_with(|c: char| c.is_ascii_alphanumeric())
        && segment.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_hostile_paths() {
        for text in [
            "",
            "a",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/.git",
            "/a/.tasks",
            "/-a",
            "/a-",
            "/a b",
            "/%h",
            "/a%2fb",
            "/a\\b",
            "/a\n",
            "/a\0",
            "/a;b",
            "/ä",
            "/a?b",
            "/a#b",
            "/a$b",
            "/a:b",
            "/a\u{2028}",
            &format!("/{}", "a".repeat(64)),
            &"/a".repeat(9),
        ] {
            assert!(
                matches!(text.parse::<DeployPath>(), Err(InvalidDeployPath::Shape(_))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn rejects_reserved_first_segments_only() {
        for text in ["/management", "/management/x", "/auth/x", "/client", "/tasks/1", "/healthz"] {
            assert!(
                matches!(text.parse::<DeployPath>(), Err(InvalidDeployPath::Reserved(_))),
                "{text:?}"
            );
        }
        assert!("/managements".parse::<DeployPath>().is_ok());
        for text in ["/auth", "/auth/"] {
            assert_eq!(text.parse(), Ok(DeployPath::auth()), "{text:?}");
        }
        assert!(DeployPath::auth().is_auth() && !DeployPath::root().is_auth());
        assert!("/x/client".parse::<DeployPath>().is_ok());
    }

    #[test]
    fn covers_whole_segments() {
        let path: DeployPath = "/a/b/".parse().unwrap();
        assert_eq!(path.as_str(), "/a/b");
        assert!(path.covers("/a/b") && path.covers("/a/b/") && path.covers("/a/b/c"));
        assert!(!path.covers("/a/bc") && !path.covers("/a") && !path.covers("/"));
        assert!(DeployPath::root().covers("/x"));
    }
}
