//! The name of an agent, as its manifest says it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::AGENT_NAME_MAX_BYTES;

/// `[a-z][a-z0-9-]{0,39}`, not ending with `-`: safe as a directory, a word on a command line and a bus argument.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

/// Why a text is no agent name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not an agent name: use 1 to {AGENT_NAME_MAX_BYTES} of a-z, 0-9 and -, starting with a letter, not ending with -", .0.escape_debug())]
pub struct InvalidAgentName(String);

crate::text_type!(AgentName, InvalidAgentName);

impl FromStr for AgentName {
    type Err = InvalidAgentName;

    fn from_str(text: &str) -> Result<Self, InvalidAgentName> {
        let known = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        if known && starts && text.len() <= AGENT_NAME_MAX_BYTES && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAgentName(text.chars().take(AGENT_NAME_MAX_BYTES + 1).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_names_that_could_escape_a_path_or_a_unit() {
        for text in
            ["", "1st", "Up", "a/b", "..", "a\nExec=x", "a@b", "%i", "a-", "-a", &"a".repeat(41)]
        {
            assert!(text.parse::<AgentName>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn accepts_plain_names() {
        for text in ["a", "echo", "hello-node", "x2", &"a".repeat(40)] {
            assert_eq!(text.parse::<AgentName>().unwrap().as_str(), text);
        }
    }
}
