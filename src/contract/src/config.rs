//! `config.json`: the desired state of the host, and the only one.

mod settings;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::settings::{Settings, WorkersCount};
use crate::json::{self, Located};
use crate::limits::{CONFIG_MAX_BYTES, DEPLOYMENTS_MAX};
use crate::{AgentId, AgentName, AuthRules, DeployPath, Domain};

/// What should run, and where it answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hosts that answer.
    pub domains: Vec<DomainEntry>,
    /// Where agents come from; kept for the repositories of a later version.
    #[serde(default)]
    pub repositories: Vec<RepositoryEntry>,
    /// Agents and their paths.
    pub deployments: Vec<Deployment>,
    /// Settings of the host.
    #[serde(default)]
    pub settings: Settings,
}

/// A host that answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DomainEntry {
    /// Its name.
    pub name: Domain,
    /// `false`: no deployment of this domain answers.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What its agent at `/auth` may do.
    #[serde(default, skip_serializing_if = "AuthRules::is_default")]
    pub auth: AuthRules,
}

/// A repository of agents.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryEntry {
    /// A word to refer to it.
    pub name: AgentName,
    /// Where it is cloned from.
    pub url: String,
    /// The branch; the remote's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// `false`: not offered.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// An agent at a path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The host.
    pub domain: Domain,
    /// The path; `/` is the static agent.
    pub path: DeployPath,
    /// The agent's name.
    pub agent: AgentName,
    /// `local`: the code was handed over by `ploinkyctl deploy DIR` and lives with the deployment only.
    /// Absent: the agent is installed by a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<AgentName>,
    /// Fingerprint of the code, written by the supervisor at each deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// `false`: does not answer and does not run.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// `true`: does not run, and calls are answered by 503; what `ploinkyctl agent stop` sets.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
}

/// Why a configuration was refused. `at` is the JSON path of the value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{at}`: {reason}")]
pub struct ConfigError {
    at: String,
    reason: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: vec![DomainEntry::new(Domain::localhost())],
            repositories: Vec::new(),
            deployments: Vec::new(),
            settings: Settings::default(),
        }
    }
}

impl Config {
    /// Parses and checks the text of a `config.json`.
    ///
    /// # Errors
    /// Names the JSON path, the value and the rule.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let whole = |reason| ConfigError { at: ".".to_owned(), reason };
        if CONFIG_MAX_BYTES < text.len() {
            return Err(whole(format!(
                "the file has {} bytes; {CONFIG_MAX_BYTES} are allowed",
                text.len()
            )));
        }
        let config: Self =
            json::object(text).map_err(|Located { at, reason }| ConfigError { at, reason })?;
        config.check()?;
        Ok(config)
    }

    /// The text that [`Config::parse`] turns into an equal configuration; ends with a line feed.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists cannot fail to serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Checks the rules between the entries, also of a configuration that was changed in memory.
    ///
    /// # Errors
    /// Names the entry and the rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { domains, repositories, deployments, settings } = self;
        let mut names = BTreeSet::new();
        for (index, domain) in domains.iter().enumerate() {
            if !names.insert(&domain.name) {
                return Err(at(
                    format!("domains[{index}].name"),
                    format!("`{}` is there twice", domain.name),
                ));
            }
            domain
                .auth
                .check()
                .map_err(|(key, reason)| at(format!("domains[{index}].auth.{key}"), reason))?;
        }
        let mut repository_names = BTreeSet::new();
        for (index, repository) in repositories.iter().enumerate() {
            if !repository_names.insert(&repository.name) {
                return Err(at(
                    format!("repositories[{index}].name"),
                    format!("`{}` is there twice", repository.name),
                ));
            }
        }
        if DEPLOYMENTS_MAX < deployments.len() {
            let reason =
                format!("has {} entries; {DEPLOYMENTS_MAX} are allowed", deployments.len());
            return Err(at("deployments".to_owned(), reason));
        }
        let mut places = BTreeSet::new();
        for (index, deployment) in deployments.iter().enumerate() {
            let Deployment { domain, path, repository, .. } = deployment;
            if !names.contains(domain) {
                let reason =
                    format!("`{domain}` is not in `domains`; add {{\"name\":\"{domain}\"}} there");
                return Err(at(format!("deployments[{index}].domain"), reason));
            }
            if !places.insert((domain, path)) {
                let reason = format!("`{domain}{path}` is there twice; one path has one agent");
                return Err(at(format!("deployments[{index}].path"), reason));
            }
            if let Some(repository) = repository
                && repository.as_str() != "local"
            {
                let reason = format!(
                    "`{repository}` is not known: this version deploys from `local` or installed agents"
                );
                return Err(at(format!("deployments[{index}].repository"), reason));
            }
            AgentId::new(domain, path)
                .map_err(|e| at(format!("deployments[{index}]"), e.to_string()))?;
        }
        match settings.first_fault() {
            Some((key, reason)) => Err(at(format!("settings.{key}"), reason)),
            None => Ok(()),
        }
    }

    /// The deployment at exactly this place.
    pub fn deployment(&self, domain: &Domain, path: &DeployPath) -> Option<&Deployment> {
        self.deployments.iter().find(|d| d.domain == *domain && d.path == *path)
    }

    /// Whether users of `domain` can log in: an agent is deployed at `/auth`, whether it runs or not.
    pub fn has_auth(&self, domain: &Domain) -> bool {
        self.deployment(domain, &DeployPath::auth()).is_some_and(|auth| auth.enabled)
    }
}

impl DomainEntry {
    /// A domain that answers, and of which nothing more is said.
    pub fn new(name: Domain) -> Self {
        Self { name, enabled: true, auth: AuthRules::default() }
    }
}

impl Deployment {
    /// The id; the configuration was checked, so there is one.
    ///
    /// # Errors
    /// When domain and path are too long together.
    pub fn id(&self) -> Result<AgentId, crate::InvalidAgentId> {
        AgentId::new(&self.domain, &self.path)
    }
}

fn at(at: String, reason: String) -> ConfigError {
    ConfigError { at, reason }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_path_and_rule() {
        let deployment = r#"{"domain":"localhost","path":"/a","agent":"a"}"#;
        let with = |deployments: &str| {
            format!(r#"{{"domains":[{{"name":"localhost"}}],"deployments":[{deployments}]}}"#)
        };
        for (text, expected) in [
            ("{".to_owned(), "EOF while parsing"),
            ("[[],[],[]]".to_owned(), "`.`: is not a JSON object"),
            ("{}".to_owned(), "missing field `domains`"),
            (r#"{"domains":[],"deployments":[],"x":1}"#.to_owned(), "`x`: unknown field `x`"),
            (
                r#"{"domains":[{"name":"a"},{"name":"A"}],"deployments":[]}"#.to_owned(),
                "`domains[1].name`: `a` is there",
            ),
            (
                r#"{"domains":[{"name":"../x"}],"deployments":[]}"#.to_owned(),
                "`domains[0].name`: `../x` is not a domain",
            ),
            (
                with(&format!("{deployment},{deployment}")),
                "`deployments[1].path`: `localhost/a` is there twice",
            ),
            (
                with(r#"{"domain":"b","path":"/a","agent":"a"}"#),
                "`deployments[0].domain`: `b` is not in `domains`",
            ),
            (
                with(r#"{"domain":"localhost","path":"/../a","agent":"a"}"#),
                "`deployments[0].path`: `/../a` is not",
            ),
            (
                with(r#"{"domain":"localhost","path":"/a","agent":"A"}"#),
                "`deployments[0].agent`: `A` is not",
            ),
            (
                with(r#"{"domain":"localhost","path":"/a","agent":"a","enabled":"no"}"#),
                "`deployments[0].enabled`: invalid",
            ),
            (
                with(r#"{"domain":"localhost","path":"/a","agent":"a","repository":"x"}"#),
                "`deployments[0].repository`",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"port":0}}"#.to_owned(),
                "`settings.port`: 0 is not",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"taskRetention":0}}"#.to_owned(),
                "`settings.taskRetention`: 0 is not in the range 1 to 2592000 seconds",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"adminSessionIdle":1801}}"#
                    .to_owned(),
                "`settings.adminSessionIdle`: 1801 is not in the range 60 to 1800 seconds",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"adminSessionMax":0}}"#.to_owned(),
                "`settings.adminSessionMax`: 0 is not in the range 60 to 86400 seconds",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"callbackOrigins":["x"]}}"#
                    .to_owned(),
                "`settings.callbackOrigins[0]`: `x` is not an origin",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"trustedProxies":["10.0.0.1/8"]}}"#
                    .to_owned(),
                "`settings.trustedProxies[0]`: `10.0.0.1/8` is not an address",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"limits":{"burst":0}}}"#.to_owned(),
                "`settings.limits.burst`: 0 is not in the range 1 to 1000000",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"limits":{"rate":1}}}"#.to_owned(),
                "`settings.limits.rate`: unknown field `rate`",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"port":65536}}"#.to_owned(),
                "`settings.port`: invalid value",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"workersCount":"many"}}"#.to_owned(),
                "`settings.workersCount`: `many` is not `auto`",
            ),
            (
                r#"{"domains":[],"deployments":[],"settings":{"workersCount":65}}"#.to_owned(),
                "`settings.workersCount`: 65 is not `auto`",
            ),
        ] {
            let found = Config::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
    }

    #[test]
    fn rules_of_an_agent_at_auth_are_checked() {
        for (text, expected) in [
            (
                r#"{"domains":[{"name":"a","auth":{"admin":true}}],"deployments":[]}"#,
                "`domains[0].auth.admin`: unknown field `admin`",
            ),
            (
                r#"{"domains":[{"name":"a","auth":{"grants":["x*"]}}],"deployments":[]}"#,
                "`domains[0].auth.grants[0]`: `x*` is not a pattern",
            ),
            (
                r#"{"domains":[{"name":"a","auth":{"sessionIdle":59}}],"deployments":[]}"#,
                "`domains[0].auth.sessionIdle`: 59 is not in the range 60 to 2592000 seconds",
            ),
            (
                r#"{"domains":[{"name":"a","auth":{"sessionMax":900}}],"deployments":[]}"#,
                "`domains[0].auth.sessionIdle`: 1800 is longer than `sessionMax`, 900",
            ),
        ] {
            let found = Config::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        let text = r#"{"domains":[{"name":"localhost"},{"name":"x.org","enabled":false,
            "auth":{"grants":["a.*"],"grantsAdmin":true,"sessionIdle":60,"sessionMax":61}}],
            "deployments":[{"domain":"localhost","path":"/a","agent":"a","repository":"local","release":"1f","stopped":true}],
            "settings":{"port":80,"workersCount":3,"trustedProxies":["10.0.0.0/8","::1"],
                "limits":{"requestsPerSecond":0},"externalTls":true}}"#;
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(Config::parse(config.to_json().as_bytes()).unwrap(), config);
        assert_eq!(config.settings.workers_count, WorkersCount::Fixed(3));
        assert_eq!(
            Config::parse(Config::default().to_json().as_bytes()).unwrap(),
            Config::default()
        );
    }
}
