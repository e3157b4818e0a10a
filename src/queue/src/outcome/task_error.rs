//! Why a task has no value.

use ploinky_contract::{ErrorDocument, TaskId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::record::VERSION;

/// Bytes of an error code; it is a word in tables and logs.
const CODE_MAX_BYTES: usize = 64;

/// Why a task has no value.
#[derive(Clone, Debug)]
pub struct TaskError {
    /// One sentence for the caller.
    pub message: String,
    /// A stable word: one of [`crate::code`], or what the handler said; 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub code: String,
    /// More, as a JSON value.
    pub details: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    id: &'a str,
    error: bool,
    message: &'a str,
    code: &'a str,
    details: Option<&'a RawValue>,
}

impl TaskError {
    /// An error without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: code.to_owned(), details: None }
    }

    /// Whether a text can be a `code`.
    pub fn is_code(text: &str) -> bool {
        (1..=CODE_MAX_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }

    /// The bytes of an error record.
    pub fn encode(&self, id: TaskId) -> Vec<u8> {
        let Self { message, code, details } = self;
        let details = details.as_ref().map_or("{}", |details| details.get());
        let mut bytes = Vec::with_capacity(message.len() + details.len() + 160);
        let written = Written {
            v: VERSION,
            id: id.as_str(),
            error: true,
            message,
            code,
            details: serde_json::from_str::<&RawValue>(details).ok(),
        };
        // Strings and checked JSON cannot fail to serialise into memory.
        if serde_json::to_writer(&mut bytes, &written).is_err() {
            bytes.clear();
        }
        bytes
    }
}

impl From<TaskError> for ErrorDocument {
    fn from(TaskError { message, code, details }: TaskError) -> Self {
        Self { message, code, details }
    }
}
