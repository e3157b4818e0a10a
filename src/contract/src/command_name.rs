//! The name of a command of an agent.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::COMMAND_NAME_MAX_BYTES;

/// `name` or `namespace.name`: parts of `A-Z a-z 0-9 _ -` joined by dots, each starting with a letter or digit.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandName(String);

/// Why a text is no command name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not a command name: use `name` or `namespace.name` of A-Z a-z 0-9 _ -, at most {COMMAND_NAME_MAX_BYTES} bytes", .0.escape_debug())]
pub struct InvalidCommandName(String);

crate::text_type!(CommandName, InvalidCommandName);

impl FromStr for CommandName {
    type Err = InvalidCommandName;

    fn from_str(text: &str) -> Result<Self, InvalidCommandName> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if text.len() <= COMMAND_NAME_MAX_BYTES && text.split('.').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCommandName(text.chars().take(COMMAND_NAME_MAX_BYTES + 1).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_paths_patterns_and_options() {
        for text in
            ["", ".", "a.", ".a", "a..b", "../x", "a/b", "user.*", "*", "-x", "a b", "a\n", "ä"]
        {
            assert!(text.parse::<CommandName>().is_err(), "{text:?} was accepted");
        }
        for text in ["login", "user.create", "a.b.c", "x_1.y-2"] {
            assert!(text.parse::<CommandName>().is_ok(), "{text:?} was refused");
        }
    }
}
