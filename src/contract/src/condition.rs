//! What an agent says of itself: `STATUS=` of agent-core, `StatusText` of its unit.

use std::fmt;

use crate::limits::CONDITION_MAX_BYTES;

/// What precedes the reason of an agent that is not well.
const UNHEALTHY: &str = "unhealthy: ";

/// How an agent is, in its own words. It has one line of at most [`CONDITION_MAX_BYTES`] as a text; control
/// characters become spaces, so that no word of a manifest begins another message to systemd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// It is well; what it does.
    Healthy(String),
    /// It is not, or it may not be soon; why.
    Unhealthy(String),
}

impl Condition {
    /// Reads what an agent said, or whatever is in its place: without a word for it, it counts as well.
    pub fn read(text: &str) -> Self {
        match text.strip_prefix(UNHEALTHY) {
            Some(reason) => Self::Unhealthy(line(reason)),
            None => Self::Healthy(line(text)),
        }
    }

    /// The words without the verdict.
    pub fn words(&self) -> &str {
        match self {
            Self::Healthy(words) | Self::Unhealthy(words) => words,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Healthy(words) => line(words),
            Self::Unhealthy(reason) => line(&format!("{UNHEALTHY}{reason}")),
        };
        f.write_str(&text)
    }
}

fn line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if CONDITION_MAX_BYTES < line.len() + c.len_utf8() {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_bounded_line() {
        let hostile = format!("a\nMAINPID=1\u{1b}{}", "é".repeat(CONDITION_MAX_BYTES));
        for condition in [Condition::Healthy(hostile.clone()), Condition::Unhealthy(hostile)] {
            let text = condition.to_string();
            assert!(text.len() <= CONDITION_MAX_BYTES, "{}", text.len());
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn what_is_said_is_read_as_it_was_meant() {
        for condition in
            [Condition::Healthy("serving".to_owned()), Condition::Unhealthy("a: b".to_owned())]
        {
            assert_eq!(Condition::read(&condition.to_string()), condition);
        }
        assert_eq!(Condition::read(""), Condition::Healthy(String::new()));
    }
}
