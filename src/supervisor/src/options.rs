//! The command line: what differs between a host and a test.

use std::ffi::OsString;
use std::path::PathBuf;

use ploinky_contract::paths::{INSTALLED_AGENTS, PODMAN_SOCKET, QUADLET, STATE};

/// Where this process works.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Options {
    pub(crate) state: PathBuf,
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
    /// Say which version this is.
    Version,
}

/// The command line is wrong.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}; usage: ploinky-supervisor [--version] [--state DIR] [--quadlet DIR]")]
pub(crate) struct UsageError(String);

impl Default for Options {
    fn default() -> Self {
        Self {
            state: STATE.into(),
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
        ] {
            let found = parse(&words).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn defaults_are_the_host() {
        assert_eq!(parse(&[]), Ok(Command::Serve(Options::default())));
        assert_eq!(parse(&["--version"]), Ok(Command::Version));
        let other = Options { state: "/s".into(), quadlet: "/q".into(), ..Options::default() };
        assert_eq!(parse(&["--state", "/s", "--quadlet", "/q"]), Ok(Command::Serve(other)));
    }
}
