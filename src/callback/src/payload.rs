//! What is posted: the payload of the Standard Webhooks specification around the document of a task.

use ploinky_contract::TaskDocument;
use ploinky_queue::{Callback, Inspected, Outcome};
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
        submitted_at: TaskDocument::time(submitted_ms),
        started_at: started_ms.map(TaskDocument::time),
        ended_at: ended_ms.map(TaskDocument::time),
        attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
        attempts: head.terms.attempts.max(1),
        urgency: head.terms.urgency,
        progress,
        data: None,
        file: None,
        error: None,
    };
    outcome.describe(&mut document);
    document
}
