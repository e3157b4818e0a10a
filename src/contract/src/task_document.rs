//! What `GET /tasks/<id>` says of a task, and what `ploinkyctl task` reads.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{CommandName, TaskId, UserId};

/// Where a task stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Accepted; no run has begun.
    Queued,
    /// A handler works on it.
    Running,
    /// A run failed; the next one comes by itself.
    Retrying,
    /// It has a result.
    Done,
    /// It has none and will not be run again.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// It failed in its last retry and waits for a person.
    Dead,
}

/// A task as its owner sees it. Times are RFC 3339 in UTC, to the millisecond, for people; no decision depends
/// on them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDocument {
    /// Its id.
    pub id: TaskId,
    /// `domain/path` of the agent, as in `localhost/echo`.
    pub agent: String,
    /// What was called.
    pub command: CommandName,
    /// For whom.
    pub owner: UserId,
    /// Where it stands.
    pub state: TaskState,
    /// When it was accepted.
    pub submitted_at: String,
    /// When the last run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// The run that goes on, or the last one; 0 before the first.
    pub attempt: u16,
    /// Runs at most.
    pub attempts: u16,
    /// 0 to 7, 0 first.
    pub urgency: u8,
    /// What the handler said last of its progress; JSON of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<RawValue>>,
    /// The result; only in the document of a single task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The result, if it is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileDocument>,
    /// Why there is no result; or, while it is [`TaskState::Retrying`], why the last run had none. Of a task
    /// that has ended, the details and the whole message are only in the document of a single task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDocument>,
}

/// A result that is a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDocument {
    /// Where to get it, relative to the host: `/tasks/<id>/file`.
    pub location: String,
    /// What the handler calls it.
    pub name: String,
    /// Its media type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
}

/// An error as the caller of an agent sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ErrorDocument {
    /// One sentence.
    pub message: String,
    /// A stable word.
    pub code: String,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<RawValue>>,
}

/// One page of `GET /tasks`, newest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPage {
    /// The tasks, without their results.
    pub tasks: Vec<TaskDocument>,
    /// What to give as `cursor` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl TaskState {
    /// All of them, in the order in which a task may have them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Dead,
    ];

    /// The state that the word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing will change it any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Retrying => false,
            Self::Done | Self::Failed | Self::Cancelled | Self::Dead => true,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl TaskDocument {
    /// A time as a document has it. `ms`: milliseconds since 1970; what comes after the year 9999, the last one
    /// that can be written, is shown as its end.
    pub fn time(ms: u64) -> String {
        const LAST_MS: u64 = 253_402_300_799_999;
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms.min(LAST_MS)));
        humantime::format_rfc3339_millis(time.unwrap_or(UNIX_EPOCH)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(TaskDocument::time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(TaskDocument::time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(TaskDocument::time(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
