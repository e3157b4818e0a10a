//! The command line: what differs between a host and a test.

use std::ffi::OsString;
use std::path::PathBuf;

use ploinky_contract::AgentId;
use ploinky_contract::limits::UID_RANGE_FIRST;
use ploinky_contract::paths::{INSTALLED_AGENTS, PODMAN_SOCKET, QUADLET, RUNTIME, STATE};

/// Where this process works.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) runtime: PathBuf,
    pub(crate) quadlet: PathBuf,
    pub(crate) installed_agents: PathBuf,
    pub(crate) podman_socket: PathBuf,
    pub(crate) etc: PathBuf,
}

/// What the command line asks for.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Work.
    Serve(Options),
    /// Make the queue in memory of an agent, whose range begins with this uid, and end.
    MakeLane(AgentId, u32),
    /// Say which version this is.
    Version,
}

/// The command line is wrong.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0}; usage: ploinky-supervisor [--version] [--state DIR] [--quadlet DIR] | make-lane AGENT UID"
)]
pub(crate) struct UsageError(String);

impl Default for Options {
    fn default() -> Self {
        Self {
            state: STATE.into(),
            runtime: RUNTIME.into(),
            quadlet: QUADLET.into(),
            installed_agents: INSTALLED_AGENTS.into(),
            podman_socket: PODMAN_SOCKET.into(),
            etc: "/etc".into(),
        }
    }
}

impl Command {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// Names the word.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut options = Options::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy().into_owned();
            let target = match text.as_str() {
                "--version" => return Ok(Self::Version),
                "make-lane" => return Self::make_lane(words),
                "--state" => &mut options.state,
                "--quadlet" => &mut options.quadlet,
                _ => return Err(UsageError(format!("unknown argument `{}`", text.escape_debug()))),
            };
            let value = words.next().filter(|value| !value.is_empty());
            *target =
                value.ok_or_else(|| UsageError(format!("`{text}` needs a directory")))?.into();
        }
        Ok(Self::Serve(options))
    }

    fn make_lane(words: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let [agent, uid] = words.as_slice() else {
            return Err(UsageError("`make-lane` needs an agent and a uid".to_owned()));
        };
        let agent = agent.parse::<AgentId>().map_err(|error| UsageError(error.to_string()))?;
        match uid.parse::<u32>() {
            Ok(uid) if UID_RANGE_FIRST <= uid => Ok(Self::MakeLane(agent, uid)),
            Ok(_) | Err(_) => {
                let uid = uid.escape_debug();
                Err(UsageError(format!("`{uid}` is not the first uid of an agent's range")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, String> {
        Command::parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_words_are_named() {
        for (words, expected) in [
            (vec!["--colour"], "unknown argument `--colour`; usage:"),
            (vec!["x"], "unknown argument `x`"),
            (vec!["--state"], "`--state` needs a directory"),
            (vec!["--quadlet", ""], "`--quadlet` needs a directory"),
            (vec!["make-lane", "localhost-a"], "`make-lane` needs an agent and a uid"),
            (vec!["make-lane", "../a", "1073741824"], "`../a` is not an agent id"),
            (vec!["make-lane", "localhost-a", "0"], "`0` is not the first uid of an agent's range"),
            (vec!["make-lane", "localhost-a", "1073741824", "x"], "`make-lane` needs an agent"),
        ] {
            let found = parse(&words).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn defaults_are_the_host() {
        assert_eq!(parse(&[]), Ok(Command::Serve(Options::default())));
        assert_eq!(parse(&["--version"]), Ok(Command::Version));
        let lane = Command::MakeLane("localhost-a".parse().unwrap(), 1 << 30);
        assert_eq!(parse(&["make-lane", "localhost-a", "1073741824"]), Ok(lane));
        let other = Options { state: "/s".into(), quadlet: "/q".into(), ..Options::default() };
        assert_eq!(parse(&["--state", "/s", "--quadlet", "/q"]), Ok(Command::Serve(other)));
    }
}
