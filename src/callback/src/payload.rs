//! What is posted: the payload of the Standard Webhooks specification around the document of a task.

use std::time::{Duration, UNIX_EPOCH};

use humantime::format_rfc3339_millis;
use ploinky_contract::{ErrorDocument, FileDocument, TaskDocument};
use ploinky_queue::{Callback, Inspected, Outcome, TaskError};
use serde::Serialize;

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    data: &'a TaskDocument,
}

/// The body for a task that has come to its end.
pub(crate) fn payload(callback: &Callback, inspected: Inspected, outcome: Outcome) -> Vec<u8> {
    let document = document(callback, inspected, outcome);
    let kind = format!("task.{}", document.state.as_str());
    let timestamp = document.ended_at.as_deref().unwrap_or(&document.submitted_at);
    // Strings, numbers and checked JSON cannot fail to serialise into memory.
    serde_json::to_vec(&Payload { kind: &kind, timestamp, data: &document }).unwrap_or_default()
}

fn document(callback: &Callback, inspected: Inspected, outcome: Outcome) -> TaskDocument {
    let Inspected { head, state, attempt, submitted_ms, started_ms, ended_ms, progress, .. } =
        inspected;
    let mut document = TaskDocument {
        id: head.id,
        agent: format!("{}{}", callback.domain, callback.path),
        command: head.command,
        owner: head.owner,
        state,
        submitted_at: time(submitted_ms),
        started_at: started_ms.map(time),
        ended_at: ended_ms.map(time),
        attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
        attempts: head.terms.attempts.max(1),
        urgency: head.terms.urgency,
        progress,
        data: None,
        file: None,
        error: None,
    };
    match outcome {
        Outcome::Done(value) => document.data = Some(value),
        Outcome::File(file) => {
            document.file = Some(FileDocument {
                location: format!("/tasks/{}/file", document.id),
                name: file.name().to_owned(),
                media_type: file.media_type().to_owned(),
                size: file.size(),
            });
        }
        Outcome::Failed(TaskError { message, code, details }) => {
            document.error = Some(ErrorDocument { message, code, details });
        }
    }
    document
}

fn time(ms: u64) -> String {
    // Far beyond what the format can show a record was tampered with.
    let ms = ms.min(253_402_300_799_000);
    format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
