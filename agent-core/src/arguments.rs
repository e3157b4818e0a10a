//! The command line. By hand, because three options do not pay for a parser in every container.

use std::ffi::OsString;
use std::path::PathBuf;

use ploinky_contract::paths::{
    CONTAINER_CODE, CONTAINER_MANIFEST, CONTAINER_SYNC, CONTAINER_TASKS,
};

/// What to do, and where things are.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) verb: Verb,
    pub(crate) tasks: PathBuf,
    pub(crate) sync: PathBuf,
    pub(crate) manifest: PathBuf,
    pub(crate) code: PathBuf,
    /// Words of the program to host.
    pub(crate) words: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Run,
    Host,
    Health,
    Version,
}

const USAGE: &str = "usage: agent-core [run|health|version] [--tasks DIR] [--sync DIR] [--manifest FILE] [--code DIR]";

/// Why a command line was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("`{}` is neither a command nor an option; {USAGE}", .0.display())]
    Unknown(OsString),
    #[error("`host` needs `--` and the words of a program; {USAGE}")]
    NoWords,
    #[error("`{}` is not UTF-8", .0.display())]
    NotUtf8(OsString),
    #[error("`{0}` needs a value; {USAGE}")]
    NoValue(&'static str),
}

impl Arguments {
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut arguments = Self {
            verb: Verb::Run,
            tasks: CONTAINER_TASKS.into(),
            sync: CONTAINER_SYNC.into(),
            manifest: CONTAINER_MANIFEST.into(),
            code: CONTAINER_CODE.into(),
            words: Vec::new(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut path =
                |option| words.next().map(PathBuf::from).ok_or(UsageError::NoValue(option));
            match word.to_str() {
                Some("run") => arguments.verb = Verb::Run,
                Some("host") => arguments.verb = Verb::Host,
                Some("--") if arguments.verb == Verb::Host => {
                    let word = |word: OsString| word.into_string().map_err(UsageError::NotUtf8);
                    arguments.words = words.by_ref().map(word).collect::<Result<_, _>>()?;
                }
                Some("health") => arguments.verb = Verb::Health,
                Some("version" | "--version") => arguments.verb = Verb::Version,
                Some("--tasks") => arguments.tasks = path("--tasks")?,
                Some("--sync") => arguments.sync = path("--sync")?,
                Some("--manifest") => arguments.manifest = path("--manifest")?,
                Some("--code") => arguments.code = path("--code")?,
                Some(_) | None => return Err(UsageError::Unknown(word)),
            }
        }
        if (arguments.verb == Verb::Host) == arguments.words.is_empty() {
            return Err(UsageError::NoWords);
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        assert!(parse(&["serve"]).unwrap_err().starts_with("`serve` is neither"));
        assert!(parse(&["--task", "x"]).unwrap_err().starts_with("`--task` is neither"));
        assert!(parse(&["--tasks"]).unwrap_err().starts_with("`--tasks` needs a value"));
        for words in [&["host"][..], &["host", "--"]] {
            assert!(parse(words).unwrap_err().starts_with("`host` needs `--`"));
        }
        assert!(parse(&["--", "sh"]).unwrap_err().starts_with("`--` is neither"));
        assert!(parse(&["host", "sh"]).unwrap_err().starts_with("`sh` is neither"));
    }

    #[test]
    fn without_words_it_serves_the_container() {
        let arguments = parse(&[]).unwrap();
        assert_eq!(arguments.verb, Verb::Run);
        assert_eq!(arguments.tasks, PathBuf::from("/agent/.tasks"));
        let arguments = parse(&["health", "--code", "/x"]).unwrap();
        assert_eq!((arguments.verb, arguments.code), (Verb::Health, PathBuf::from("/x")));
        let arguments = parse(&["host", "--tasks", "/t", "--", "sh", "--code", "--"]).unwrap();
        assert_eq!((arguments.verb, arguments.tasks), (Verb::Host, PathBuf::from("/t")));
        assert_eq!(arguments.words, ["sh", "--code", "--"]);
    }
}
