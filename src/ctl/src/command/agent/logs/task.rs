//! The lines of one task out of an agent's log.
//!
//! journalctl can match fields (`TASK_ID=`) and it can search messages, but not one or the other: what agents
//! print has no fields, only the task's id at the beginning of the line. So both kinds are asked for and the
//! agent's other lines are left out here.

use std::collections::VecDeque;

use ploinky_contract::TaskId;
use serde::Deserialize;

use super::not_started;
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::words::{moment, printable};

/// Lines that are kept for `-n` at most.
const KEPT_MAX: usize = 100_000;

/// What is looked at in an entry of the journal.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "TASK_ID")]
    task: Option<Text>,
    #[serde(rename = "MESSAGE")]
    message: Option<Text>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Text>,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<Text>,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    usec: Option<String>,
}

/// A field: text, bytes that are no text, or the same field several times.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes(Vec<u8>),
    Several(Vec<Text>),
}

impl Text {
    fn read(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Several(texts) => texts.first().map(Self::read).unwrap_or_default(),
        }
    }
}

impl Entry {
    fn is_about(&self, task: TaskId) -> bool {
        let field = self.task.as_ref().is_some_and(|found| found.read() == task.as_str());
        field
            || self.message.as_ref().is_some_and(|message| {
                message
                    .read()
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_prefix(task.as_str()))
                    .is_some_and(|rest| rest.starts_with(']'))
            })
    }

    /// `2026-01-02T03:04:05Z ploinkyd: message`.
    fn line(&self, output: &Output<'_>) -> String {
        let time = self.usec.as_ref().and_then(|usec| moment(usec.parse().ok()?));
        let from = self.identifier.as_ref().or(self.unit.as_ref()).map(Text::read);
        let head =
            format!("{} {}:", time.unwrap_or_default(), printable(&from.unwrap_or_default()));
        let message = self.message.as_ref().map(Text::read).unwrap_or_default();
        format!("{} {}", output.out.paint(Tone::Faint, head.trim_start()), printable(&message))
    }
}

/// Prints the lines of `task`, the last ones only if `last` says how many.
pub(super) fn run(
    task: TaskId,
    unit: &str,
    mut words: Vec<String>,
    last: Option<u32>,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    if words.iter().any(|word| word == "--follow") {
        words.push("--no-tail".to_owned());
    }
    // `--all`: without it, long messages are left out of the JSON.
    words.extend(["--quiet", "--all", "--output=json"].map(str::to_owned));
    words.extend([format!("TASK_ID={task}"), "+".to_owned(), format!("_SYSTEMD_UNIT={unit}")]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let keep = last.map(|last| usize::try_from(last).unwrap_or(KEPT_MAX).min(KEPT_MAX));
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut done = Ok(());
    let finished = machine
        .lines(&words, &mut |line| {
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { return true };
            if !entry.is_about(task) {
                return true;
            }
            let text = if output.json {
                String::from_utf8_lossy(line).into_owned()
            } else {
                entry.line(output)
            };
            match keep {
                None => {
                    done = output.out.line(&text);
                    done.is_ok()
                }
                Some(keep) => {
                    kept.push_back(text);
                    if keep < kept.len() {
                        drop(kept.pop_front());
                    }
                    true
                }
            }
        })
        .map_err(|e| not_started(&e))?;
    done?;
    for line in kept {
        output.out.line(&line)?;
    }
    match finished.code {
        Some(0) | None => Ok(()),
        Some(code) => {
            Err(Failure::refused(format!("journalctl ended with exit status {code}")).into())
        }
    }
}
