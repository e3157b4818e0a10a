//! The words by which a person names a deployed agent, and what they stand for.

use std::fmt;
use std::str::FromStr;

use ploinky_contract::{AgentId, AgentName, DeployPath, Domain, InvalidAgentId};
use ploinky_control::AgentStatus;

use crate::failure::Failure;

/// Slips of the finger between what was typed and a name that is offered, at most.
const FAR: usize = 3;
/// Names that are offered at most.
const OFFERED: usize = 3;

/// Where an agent is deployed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) domain: Domain,
    pub(crate) path: DeployPath,
}

/// `AGENT` of a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AgentArgument {
    /// `/path` of localhost, or `domain/path`.
    Place(Place),
    /// An agent id, or the name of an agent.
    Word(AgentId),
}

impl Place {
    /// The service that systemd runs for a container agent at this place.
    ///
    /// # Errors
    /// When domain and path are too long together.
    pub(crate) fn service(&self) -> Result<String, InvalidAgentId> {
        Ok(AgentId::new(&self.domain, &self.path)?.service())
    }

    /// The address of the place on this host.
    pub(crate) fn url(&self, port: u16) -> String {
        let Self { domain, path } = self;
        if port == 80 {
            format!("http://{domain}{path}")
        } else {
            format!("http://{domain}:{port}{path}")
        }
    }

    fn of(agent: &AgentStatus) -> Option<Self> {
        Some(Self { domain: agent.domain.parse().ok()?, path: agent.path.parse().ok()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.domain, self.path)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (domain, path) = match text.find('/') {
            None => {
                return Err(format!(
                    "`{}` has no path; write `localhost/echo`",
                    text.escape_debug()
                ));
            }
            Some(0) => ("localhost", text),
            Some(at) => text.split_at(at),
        };
        Ok(Self {
            domain: domain.parse().map_err(|e: ploinky_contract::InvalidDomain| e.to_string())?,
            path: path.parse().map_err(|e: ploinky_contract::InvalidDeployPath| e.to_string())?,
        })
    }
}

impl FromStr for AgentArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Place);
        }
        text.parse().map(Self::Word).map_err(|_shape: InvalidAgentId| {
            format!(
                "`{}` names no agent: use `/path`, `domain/path`, an agent id or the name of an agent",
                text.chars().take(80).collect::<String>().escape_debug()
            )
        })
    }
}

impl fmt::Display for AgentArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Word(word) => word.fmt(f),
        }
    }
}

/// The deployment that `argument` means among those of the host.
///
/// # Errors
/// When none or several are meant; the hint has the nearest names, or the places to choose from.
pub(crate) fn resolve(argument: &AgentArgument, agents: &[AgentStatus]) -> Result<Place, Failure> {
    let places = |is_meant: &dyn Fn(&AgentStatus) -> bool| -> Vec<Place> {
        agents.iter().filter(|agent| is_meant(agent)).filter_map(Place::of).collect()
    };
    let meant = match argument {
        AgentArgument::Place(place) => places(&|agent| {
            agent.domain == place.domain.as_str() && agent.path == place.path.as_str()
        }),
        AgentArgument::Word(word) => match places(&|agent| agent.id == word.as_str()) {
            by_id if by_id.is_empty() => places(&|agent| agent.agent == word.as_str()),
            by_id => by_id,
        },
    };
    match <[Place; 1]>::try_from(meant) {
        Ok([place]) => Ok(place),
        Err(none) if none.is_empty() => Err(unknown(argument, agents)),
        Err(several) => {
            let choices: Vec<_> = several.iter().map(|place| format!("`{place}`")).collect();
            Err(Failure::refused(format!("`{argument}` is deployed at {} places", several.len()))
                .hint(format!("name one of {}", choices.join(", "))))
        }
    }
}

fn unknown(argument: &AgentArgument, agents: &[AgentStatus]) -> Failure {
    let failure = match argument {
        AgentArgument::Place(place) => Failure::refused(format!("no agent is deployed at {place}")),
        AgentArgument::Word(word) => {
            Failure::refused(format!("no deployed agent has the id or name `{word}`"))
        }
    };
    let near = match argument {
        AgentArgument::Place(asked) => near_places(asked, agents),
        AgentArgument::Word(word) => {
            let names = agents.iter().flat_map(|agent| [&agent.id, &agent.agent]);
            nearest(word.as_str(), names.map(String::as_str))
        }
    };
    match near.as_slice() {
        [] if agents.is_empty() => {
            failure.hint("nothing is deployed; `ploinkyctl deploy --help` shows how to begin")
        }
        [] => failure.hint("`ploinkyctl agent list` shows what is deployed"),
        near => failure.hint(format!("did you mean {}?", near.join(" or "))),
    }
}

/// Places with a path like the asked one on the same domain, then the same path on others.
fn near_places(asked: &Place, agents: &[AgentStatus]) -> Vec<String> {
    let mut rated: Vec<(usize, String)> = agents
        .iter()
        .filter_map(Place::of)
        .filter_map(|place| {
            let distance = if place.path == asked.path {
                // Further than any mistyped path.
                2 * FAR
            } else {
                distance(asked.path.as_str(), place.path.as_str())?
                    + distance(asked.domain.as_str(), place.domain.as_str())?
            };
            Some((distance, place.to_string()))
        })
        .collect();
    rated.sort();
    rated.into_iter().take(OFFERED).map(|(_distance, place)| format!("`{place}`")).collect()
}

/// The names most like `asked`, best first, in back quotes.
pub(crate) fn nearest<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut rated: Vec<(usize, &str)> =
        names.filter_map(|name| Some((distance(asked, name)?, name))).collect();
    rated.sort_unstable();
    rated.dedup();
    rated.into_iter().take(OFFERED).map(|(_distance, name)| format!("`{name}`")).collect()
}

/// How many slips of the finger lie between two texts, if they are few for the length.
fn distance(asked: &str, name: &str) -> Option<usize> {
    let most = (asked.chars().count() / 3).clamp(1, FAR);
    let found = strsim::damerau_levenshtein(asked, name);
    (found <= most).then_some(found)
}

/// The name that an agent gets from the name of its directory: lower case, `-` for the rest.
pub(crate) fn name_from(directory: &str) -> AgentName {
    let mapped: String = directory
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let trimmed = mapped.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let short: String =
        trimmed.chars().take(ploinky_contract::limits::AGENT_NAME_MAX_BYTES).collect();
    short.trim_end_matches('-').parse().unwrap_or_else(|_empty| site())
}

#[expect(clippy::expect_used, reason = "the word is a valid name, as a test shows")]
fn site() -> AgentName {
    "site".parse().expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(places: &[(&str, &str, &str)]) -> Vec<AgentStatus> {
        places
            .iter()
            .map(|(domain, path, agent)| AgentStatus {
                id: AgentId::new(&domain.parse().unwrap(), &path.parse().unwrap())
                    .unwrap()
                    .to_string(),
                domain: (*domain).to_owned(),
                path: (*path).to_owned(),
                agent: (*agent).to_owned(),
                ..AgentStatus::default()
            })
            .collect()
    }

    #[test]
    fn texts_that_name_nothing_are_refused() {
        for text in
            ["", "-f", "a b", "%i", "a/../b", "a//b", "/.git", "x:1/a", "/auth/x", "..", "a\n"]
        {
            assert!(text.parse::<AgentArgument>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn an_argument_is_a_path_a_place_an_id_or_a_name() {
        let agents = deployed(&[
            ("localhost", "/", "site"),
            ("localhost", "/echo", "echo"),
            ("x.org", "/echo", "echo"),
            ("[::1]", "/a/b", "ab"),
        ]);
        for (text, expected) in [
            ("/", "localhost/"),
            ("/echo", "localhost/echo"),
            ("/echo/", "localhost/echo"),
            ("X.org/echo", "x.org/echo"),
            ("[::1]/a/b", "[::1]/a/b"),
            ("localhost-echo", "localhost/echo"),
            ("ab", "[::1]/a/b"),
        ] {
            let place = resolve(&text.parse().unwrap(), &agents).unwrap();
            assert_eq!(place.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn directories_lend_their_name() {
        for (directory, expected) in [
            ("echo", "echo"),
            ("My Site_2", "my-site-2"),
            ("2nd-try", "nd-try"),
            ("...", "site"),
            ("ä", "site"),
            ("-x-", "x"),
            (&"a".repeat(99), &"a".repeat(40)),
        ] {
            assert_eq!(name_from(directory).as_str(), expected, "{directory}");
        }
    }

    #[test]
    fn an_address_leaves_out_the_port_of_http() {
        let place: Place = "x.org/a".parse().unwrap();
        assert_eq!(
            (place.url(80), place.url(8000)),
            ("http://x.org/a".into(), "http://x.org:8000/a".into())
        );
    }
}
