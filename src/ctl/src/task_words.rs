//! A task in the words of a person: its state, its times, how far it is. Pure.

use std::time::UNIX_EPOCH;

use ploinky_contract::{TaskDocument, TaskState};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::output::Tone;
use crate::words::span;

/// Characters of a progress note in a table.
const PROGRESS_SHORT: usize = 40;

/// How a state stands out.
pub(crate) fn tone(state: TaskState) -> Tone {
    match state {
        TaskState::Done => Tone::Good,
        TaskState::Queued | TaskState::Running | TaskState::Retrying => Tone::Notice,
        TaskState::Failed | TaskState::Dead => Tone::Bad,
        TaskState::Cancelled => Tone::Faint,
    }
}

/// Where a task stands: `running (run 2 of 3)`.
pub(crate) fn standing(task: &TaskDocument) -> String {
    let TaskDocument { state, attempt, attempts, .. } = task;
    if *attempts < 2 || *attempt == 0 {
        state.as_str().to_owned()
    } else {
        format!("{} (run {attempt} of {attempts})", state.as_str())
    }
}

/// A time as what has passed since; or as it is, with `utc`, and if it is no time.
pub(crate) fn moment(time: &str, now_usec: u64, utc: bool) -> String {
    match usec(time) {
        Some(then) if !utc => {
            format!("{} ago", span(now_usec.saturating_sub(then) / 1_000_000))
        }
        Some(_) | None => time.to_owned(),
    }
}

/// What has passed since `time`, without words around it.
pub(crate) fn age(time: &str, now_usec: u64) -> String {
    usec(time)
        .map_or_else(|| time.to_owned(), |then| span(now_usec.saturating_sub(then) / 1_000_000))
}

/// How long the last run took, in seconds to the millisecond.
pub(crate) fn took(task: &TaskDocument) -> Option<String> {
    let [from, to] = [task.started_at.as_deref()?, task.ended_at.as_deref()?].map(usec);
    let milliseconds = to?.saturating_sub(from?) / 1000;
    Some(if milliseconds < 60_000 {
        format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000)
    } else {
        span(milliseconds / 1000)
    })
}

/// What a handler said of its progress: text as it is, anything else as JSON.
pub(crate) fn progress(note: &RawValue) -> String {
    match serde_json::from_str(note.get()) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => note.get().to_owned(),
    }
}

/// The beginning of it, for a table.
pub(crate) fn short(text: &str) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    if text.chars().count() <= PROGRESS_SHORT {
        return text;
    }
    text.chars().take(PROGRESS_SHORT - 1).chain(['…']).collect()
}

fn usec(time: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_none_is_shown_as_it_is() {
        assert_eq!(moment("soon", 0, false), "soon");
        assert_eq!(age("", 0), "");
    }

    #[test]
    fn a_time_to_come_has_no_age() {
        assert_eq!(moment("2026-01-02T03:04:05.000Z", 0, false), "0s ago");
    }

    #[test]
    fn times_are_ages_unless_utc_is_wanted() {
        let now = 1_767_323_045_000_000 + 125_000_000;
        let time = "2026-01-02T03:04:05.000Z";
        assert_eq!(moment(time, now, false), "2m 5s ago");
        assert_eq!(moment(time, now, true), time);
        assert_eq!(age(time, now), "2m 5s");
    }

    #[test]
    fn a_long_note_is_cut_in_one_line() {
        assert_eq!(short("a\nb"), "a b");
        assert_eq!(short(&"ä".repeat(41)), "ä".repeat(39) + "…");
    }
}
