//! Which commands somebody may call: one pattern, and a list of them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{COMMAND_NAME_MAX_BYTES, COMMAND_PATTERNS_MAX};
use crate::{CommandName, InvalidCommandName};

/// One command (`user.create`), all below a namespace (`user.*`), or all (`*`). Case counts.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum CommandPattern {
    /// Everything.
    All,
    /// Everything below a namespace, at any depth; not the namespace itself as a command.
    Below(CommandName),
    /// One command.
    Exactly(CommandName),
}

/// Why a text is no pattern of commands.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{}` is not a pattern of commands: use the name of a command, `namespace.*` or `*`",
    .0.escape_debug()
)]
pub struct InvalidCommandPattern(String);

/// What somebody may call: at most [`COMMAND_PATTERNS_MAX`] patterns; with none of them nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<CommandPattern>", into = "Vec<CommandPattern>")]
pub struct AllowedCommands(Vec<CommandPattern>);

/// Why a list of patterns is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found} patterns of commands are too many; {COMMAND_PATTERNS_MAX} are allowed")]
pub struct TooManyPatterns {
    found: usize,
}

impl CommandPattern {
    /// Whether `command` may be called.
    pub fn allows(&self, command: &CommandName) -> bool {
        match self {
            Self::All => true,
            Self::Exactly(name) => name == command,
            Self::Below(namespace) => command
                .as_str()
                .strip_prefix(namespace.as_str())
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }

    /// Whether everything that `other` allows is allowed.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) | (Self::Exactly(_), Self::Below(_)) => false,
            (_, Self::Exactly(name)) => self.allows(name),
            (Self::Below(outer), Self::Below(inner)) => outer == inner || self.allows(inner),
        }
    }
}

impl AllowedCommands {
    /// Everything.
    pub fn all() -> Self {
        Self(vec![CommandPattern::All])
    }

    /// Nothing.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether `command` may be called.
    pub fn allow(&self, command: &CommandName) -> bool {
        self.0.iter().any(|pattern| pattern.allows(command))
    }

    /// What of these `bound` allows, too: a pattern that reaches beyond it is cut down to it.
    #[must_use]
    pub fn within(&self, bound: &Self) -> Self {
        let mut left = Vec::new();
        for wanted in &self.0 {
            if bound.0.iter().any(|pattern| pattern.covers(wanted)) {
                left.push(wanted.clone());
            } else {
                left.extend(bound.0.iter().filter(|pattern| wanted.covers(pattern)).cloned());
            }
        }
        left.sort();
        left.dedup();
        Self(left)
    }

    /// The patterns.
    pub fn patterns(&self) -> &[CommandPattern] {
        &self.0
    }
}

impl FromStr for CommandPattern {
    type Err = InvalidCommandPattern;

    fn from_str(text: &str) -> Result<Self, InvalidCommandPattern> {
        let parsed = match text.strip_suffix(".*") {
            _ if text == "*" => return Ok(Self::All),
            Some(namespace) => namespace.parse().map(Self::Below),
            None => text.parse().map(Self::Exactly),
        };
        // Of a long text as much as shows that it is too long.
        let shown = || text.chars().take(COMMAND_NAME_MAX_BYTES + ".*".len() + 1).collect();
        parsed.map_err(|_invalid: InvalidCommandName| InvalidCommandPattern(shown()))
    }
}

impl std::fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(namespace) => write!(f, "{namespace}.*"),
            Self::Exactly(name) => f.write_str(name.as_str()),
        }
    }
}

impl TryFrom<String> for CommandPattern {
    type Error = InvalidCommandPattern;

    fn try_from(text: String) -> Result<Self, InvalidCommandPattern> {
        text.parse()
    }
}

impl From<CommandPattern> for String {
    fn from(pattern: CommandPattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<Vec<CommandPattern>> for AllowedCommands {
    type Error = TooManyPatterns;

    fn try_from(patterns: Vec<CommandPattern>) -> Result<Self, TooManyPatterns> {
        let found = patterns.len();
        if COMMAND_PATTERNS_MAX < found {
            Err(TooManyPatterns { found })
        } else {
            Ok(Self(patterns))
        }
    }
}

impl From<AllowedCommands> for Vec<CommandPattern> {
    fn from(allowed: AllowedCommands) -> Self {
        allowed.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> CommandName {
        text.parse().unwrap()
    }

    fn allowed(patterns: &[&str]) -> AllowedCommands {
        let parsed: Vec<_> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        parsed.try_into().unwrap()
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "**", "user*", "*.x", ".*", "user..*", "user.*.*", "us er.*", "../*", "user/*",
            "user.*\n", "*\0",
        ] {
            assert_eq!(text.parse::<CommandPattern>(), Err(InvalidCommandPattern(text.to_owned())));
        }
        let many = vec![CommandPattern::All; COMMAND_PATTERNS_MAX + 1];
        let found = COMMAND_PATTERNS_MAX + 1;
        assert_eq!(AllowedCommands::try_from(many), Err(TooManyPatterns { found }));
    }

    #[test]
    fn a_namespace_is_no_prefix_of_letters() {
        let user = allowed(&["user.*"]);
        for denied in ["user", "users.x", "USER.x", "use.r", "a.user.x", "user-x.y"] {
            assert!(!user.allow(&command(denied)), "{denied}");
        }
        for may in ["user.x", "user.x.y"] {
            assert!(user.allow(&command(may)), "{may}");
        }
        assert!(!AllowedCommands::none().allow(&command("a")));
        assert!(!allowed(&["a.b"]).allow(&command("a.b.c")));
        assert!(AllowedCommands::all().allow(&command("a.b.c")));
    }

    #[test]
    fn what_reaches_beyond_a_bound_is_cut_down_to_it() {
        for (wanted, bound, left) in [
            (&["*"][..], &[][..], &[][..]),
            (&["*"], &["user.*", "a"], &["user.*", "a"]),
            (&["user.*"], &["user.a.*", "user.b", "c"], &["user.a.*", "user.b"]),
            (&["user.a", "b"], &["user.*"], &["user.a"]),
            (&["user.*"], &["user"], &[]),
            (&["user.*", "user.a"], &["*"], &["user.*", "user.a"]),
        ] {
            assert_eq!(
                allowed(wanted).within(&allowed(bound)),
                allowed(left).sorted(),
                "{wanted:?} {bound:?}"
            );
        }
    }

    impl AllowedCommands {
        fn sorted(mut self) -> Self {
            self.0.sort();
            self
        }
    }
}
