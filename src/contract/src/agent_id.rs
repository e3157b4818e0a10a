//! The id of a deployed agent: one word made from domain and path, without collisions.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::AGENT_ID_MAX_BYTES;
use crate::{DeployPath, Domain};

/// Names the unit, the container and the user range of one deployment.
///
/// Domain and segments are joined by one `-`; a `-` inside them is doubled. As no segment or label starts or
/// ends with `-`, an odd run of `-` is always a border and an even one never, so the mapping is injective:
/// `/a/b` gives `localhost-a-b`, `/a-b` gives `localhost-a--b`, `/a_b` stays `localhost-a_b`. An IPv6 domain
/// is written `ip6_` with `_` for `:`, which no host name can be. `/` gives `<domain>-_root`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

/// Why there is no agent id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAgentId {
    /// Domain and path together are too long for a unit name.
    #[error(
        "domain `{domain}` and path `{path}` are too long together: their id would have {length} bytes, {AGENT_ID_MAX_BYTES} are allowed"
    )]
    TooLong {
        /// The domain.
        domain: Domain,
        /// The path.
        path: DeployPath,
        /// Bytes of the id.
        length: usize,
    },
    /// The text has other characters than an id can have.
    #[error("`{}` is not an agent id", .0.escape_debug())]
    Shape(String),
}

crate::text_type!(AgentId, InvalidAgentId);

impl AgentId {
    /// The id of the agent at `path` of `domain`.
    ///
    /// # Errors
    /// When the id would exceed [`AGENT_ID_MAX_BYTES`].
    pub fn new(domain: &Domain, path: &DeployPath) -> Result<Self, InvalidAgentId> {
        let id = format!("{}-{}", Self::domain_component(domain), Self::path_component(path));
        if AGENT_ID_MAX_BYTES < id.len() {
            return Err(InvalidAgentId::TooLong {
                domain: domain.clone(),
                path: path.clone(),
                length: id.len(),
            });
        }
        Ok(Self(id))
    }

    /// The directory name of a domain below the agents directory.
    pub fn domain_component(domain: &Domain) -> String {
        match domain.as_str().strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(address) => format!("ip6_{}", address.replace(':', "_")),
            None => domain.as_str().replace('-', "--"),
        }
    }

    /// The directory name of a path below its domain's directory.
    pub fn path_component(path: &DeployPath) -> String {
        if path.is_root() {
            return "_root".to_owned();
        }
        path.segments().map(|segment| segment.replace('-', "--")).collect::<Vec<_>>().join("-")
    }

    /// The systemd service that Quadlet makes for this agent.
    pub fn service(&self) -> String {
        format!("ploinky-agent-{self}.service")
    }

    /// The Quadlet file of this agent.
    pub fn quadlet_file(&self) -> String {
        format!("ploinky-agent-{self}.container")
    }

    /// The Podman container of this agent.
    pub fn container(&self) -> String {
        format!("ploinky-{self}")
    }
}

impl FromStr for AgentId {
    type Err = InvalidAgentId;

    fn from_str(text: &str) -> Result<Self, InvalidAgentId> {
        let known =
            text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if known && starts && text.len() <= AGENT_ID_MAX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAgentId::Shape(text.chars().take(AGENT_ID_MAX_BYTES + 1).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn different_deployments_never_share_an_id() {
        let domains = ["localhost", "a", "a.b", "a-b", "a--b.c", "b", "[::1]", "[1::]", "ip6"];
        let segments = ["a", "b", "a-b", "a--b", "a_b", "a.b", "A", "a-b-a"];
        let mut paths = vec!["/".to_owned()];
        for first in segments {
            paths.push(format!("/{first}"));
            for second in segments {
                paths.push(format!("/{first}/{second}"));
                paths.push(format!("/{first}/{second}/a"));
            }
        }
        let mut seen = BTreeMap::new();
        for domain in domains {
            for path in &paths {
                let id = AgentId::new(&domain.parse().unwrap(), &path.parse().unwrap()).unwrap();
                assert!(id.as_str().parse::<AgentId>().is_ok(), "{id}");
                let other = seen.insert(id.clone(), (domain, path));
                assert_eq!(other, None, "{id} is also {domain}{path}");
            }
        }
    }

    #[test]
    fn names_follow_the_id() {
        let id =
            AgentId::new(&"my-host.org".parse().unwrap(), &"/a_b/c-d".parse().unwrap()).unwrap();
        assert_eq!(id.service(), "ploinky-agent-my--host.org-a_b-c--d.service");
        assert_eq!(id.container(), "ploinky-my--host.org-a_b-c--d");
    }

    #[test]
    fn an_id_too_long_for_a_unit_name_is_refused() {
        let domain =
            [["a"; 60].concat(), ["b"; 60].concat(), ["c"; 60].concat()].join(".").parse().unwrap();
        assert!(matches!(
            AgentId::new(&domain, &"/abc".parse().unwrap()),
            Err(InvalidAgentId::TooLong { .. })
        ));
    }
}
