//! One command as it is written: a handler alone, or a handler with rules.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::rules::{value, within, words};
use super::{Command, Handler, ManifestError, Retry};
use crate::limits::{
    CONCURRENCY_MAX, MANIFEST_COMMANDS_MAX, RETRY_ATTEMPTS_MAX, RETRY_BACKOFF_DEFAULT,
    RETRY_BACKOFF_MAX, RETRY_BACKOFF_MAX_DEFAULT, RETRY_BACKOFF_MIN, TASK_TIMEOUT_MAX,
};
use crate::{AllowedCommands, CommandName, CommandPattern, TooManyPatterns};

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum RawCommand {
    Text(String),
    Full(RawRules),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRules {
    run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RawRetry>,
    /// One more entry of the manifest's `public`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    public: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRetry {
    attempts: u16,
    backoff: Option<f64>,
    max_backoff: Option<f64>,
}

// By hand, because an untagged enum would not say what is wrong in the object.
impl<'de> Deserialize<'de> for RawCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawCommand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the words of a handler, or an object with `run`")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawCommand, E> {
                Ok(RawCommand::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawCommand, A::Error> {
                RawRules::deserialize(MapAccessDeserializer::new(map)).map(RawCommand::Full)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl From<&Command> for RawCommand {
    fn from(command: &Command) -> Self {
        let Command { handler, timeout, concurrency, retry } = command;
        let run = match handler {
            Handler::Worker => "worker".to_owned(),
            Handler::Spawn(words) => shell_words::join(words),
        };
        if timeout.is_none() && concurrency.is_none() && retry.is_none() {
            return Self::Text(run);
        }
        Self::Full(RawRules {
            run,
            timeout: timeout.map(|timeout| timeout.as_secs()),
            concurrency: *concurrency,
            retry: retry.as_ref().map(RawRetry::from),
            public: false,
        })
    }
}

impl From<&Retry> for RawRetry {
    fn from(retry: &Retry) -> Self {
        let Retry { attempts, backoff, backoff_max } = retry;
        Self {
            attempts: *attempts,
            backoff: Some(backoff.as_secs_f64()),
            max_backoff: Some(backoff_max.as_secs_f64()),
        }
    }
}

impl RawRetry {
    pub(super) fn check(self, at: &str) -> Result<Retry, ManifestError> {
        let Self { attempts, backoff, max_backoff } = self;
        if !(2..=RETRY_ATTEMPTS_MAX).contains(&attempts) {
            let reason = format!(
                "{attempts} is not in the range 2 to {RETRY_ATTEMPTS_MAX}; the first run counts"
            );
            return Err(value(&format!("{at}.attempts"), reason));
        }
        let backoff = wait(&format!("{at}.backoff"), backoff, RETRY_BACKOFF_DEFAULT)?;
        let longest_at = format!("{at}.maxBackoff");
        let backoff_max = wait(&longest_at, max_backoff, RETRY_BACKOFF_MAX_DEFAULT.max(backoff))?;
        if backoff_max < backoff {
            let reason = format!("is shorter than `{at}.backoff`");
            return Err(value(&longest_at, reason));
        }
        Ok(Retry { attempts, backoff, backoff_max })
    }
}

/// Seconds, with parts; to the millisecond.
fn wait(at: &str, seconds: Option<f64>, default: Duration) -> Result<Duration, ManifestError> {
    let Some(seconds) = seconds else { return Ok(default) };
    let (least, most) = (RETRY_BACKOFF_MIN.as_secs_f64(), RETRY_BACKOFF_MAX.as_secs_f64());
    match Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0) {
        Ok(wait) if (RETRY_BACKOFF_MIN..=RETRY_BACKOFF_MAX).contains(&wait) => Ok(wait),
        Ok(_) | Err(_) => {
            Err(value(at, format!("{seconds} is not in the range {least} to {most} seconds")))
        }
    }
}

/// The time that one run may have.
pub(super) fn run_time(at: &str, seconds: u64) -> Result<Duration, ManifestError> {
    within(at, seconds, TASK_TIMEOUT_MAX.as_secs()).map(Duration::from_secs)
}

/// The commands, and the names of those that say of themselves that they are public.
pub(super) fn commands_of(
    commands: BTreeMap<CommandName, RawCommand>,
    has_worker: bool,
) -> Result<(BTreeMap<CommandName, Command>, Vec<CommandName>), ManifestError> {
    if MANIFEST_COMMANDS_MAX < commands.len() {
        return Err(value(
            "commands",
            format!("has {} entries; {MANIFEST_COMMANDS_MAX} are allowed", commands.len()),
        ));
    }
    let mut public = Vec::new();
    let checked: Result<_, _> = commands
        .into_iter()
        .map(|(name, raw)| {
            let at = format!("commands.{name}");
            let command = match raw {
                RawCommand::Text(text) => Command::plain(handler(&at, &text, has_worker)?),
                RawCommand::Full(rules) => {
                    if rules.public {
                        public.push(name.clone());
                    }
                    rules.check(&at, has_worker)?
                }
            };
            Ok((name, command))
        })
        .collect();
    Ok((checked?, public))
}

/// What everybody may call: the list, and the commands that say so of themselves.
pub(super) fn public_of(
    list: Option<AllowedCommands>,
    named: Vec<CommandName>,
    commands: &BTreeMap<CommandName, Command>,
) -> Result<Option<AllowedCommands>, ManifestError> {
    if list.is_none() && named.is_empty() {
        return Ok(None);
    }
    let mut patterns = Vec::from(list.unwrap_or_default());
    for (index, pattern) in patterns.iter().enumerate() {
        if !commands.keys().any(|command| pattern.allows(command)) {
            let reason = format!("`{pattern}` is no command of the agent, and covers none");
            return Err(value(&format!("public[{index}]"), reason));
        }
    }
    for name in named.into_iter().map(CommandPattern::Exactly) {
        if !patterns.iter().any(|pattern| pattern.covers(&name)) {
            patterns.push(name);
        }
    }
    patterns.try_into().map(Some).map_err(|e: TooManyPatterns| value("public", e.to_string()))
}

impl RawRules {
    fn check(self, at: &str, has_worker: bool) -> Result<Command, ManifestError> {
        let Self { run, timeout, concurrency, retry, public: _ } = self;
        Ok(Command {
            handler: handler(&format!("{at}.run"), &run, has_worker)?,
            timeout: timeout
                .map(|seconds| run_time(&format!("{at}.timeout"), seconds))
                .transpose()?,
            concurrency: concurrency
                .map(|number| within(&format!("{at}.concurrency"), number, CONCURRENCY_MAX))
                .transpose()?,
            retry: retry.map(|retry| retry.check(&format!("{at}.retry"))).transpose()?,
        })
    }
}

fn handler(at: &str, text: &str, has_worker: bool) -> Result<Handler, ManifestError> {
    match text {
        "worker" if has_worker => Ok(Handler::Worker),
        "worker" => Err(value(at, "is `worker`, but the manifest has no key `worker`".to_owned())),
        text => Ok(Handler::Spawn(words(at, text)?)),
    }
}
