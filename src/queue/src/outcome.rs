//! How a task ended, and the bytes of the record that says so.

use ploinky_contract::TaskId;
use ploinky_contract::limits::RESULT_MAX_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::{RecordError, VERSION, check_version, parse};

/// Bytes of an error code; it is a word in tables and logs.
const CODE_MAX_BYTES: usize = 64;

/// How a task ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With this value.
    Done(Box<RawValue>),
    /// Without one.
    Failed(TaskError),
}

/// Which of the two directories holds a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordPlace {
    /// `responses/`.
    Responses,
    /// `errors/`.
    Errors,
}

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

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenResponse<'a, R> {
    v: u8,
    id: &'a str,
    response: R,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenError<'a, T, D> {
    v: u8,
    id: &'a str,
    error: bool,
    message: T,
    code: T,
    #[serde(default)]
    details: D,
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
        let written = WrittenError {
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

impl Outcome {
    /// Where its record lies.
    pub fn place(&self) -> RecordPlace {
        match self {
            Self::Done(_) => RecordPlace::Responses,
            Self::Failed(_) => RecordPlace::Errors,
        }
    }

    /// The bytes of a response record around `response`, which has to be JSON.
    pub fn encode_response(id: TaskId, response: &RawValue) -> Vec<u8> {
        let response = response.get();
        let mut bytes = Vec::with_capacity(response.len() + 80);
        bytes.extend_from_slice(br#"{"v":1,"id":""#);
        bytes.extend_from_slice(id.as_str().as_bytes());
        bytes.extend_from_slice(br#"","response":"#);
        bytes.extend_from_slice(response.as_bytes());
        bytes.push(b'}');
        bytes
    }

    /// The outcome in the bytes of a response record.
    ///
    /// # Errors
    /// When they are not the response record of task `id`.
    pub fn decode_response(id: TaskId, bytes: &[u8]) -> Result<Self, RecordError> {
        let WrittenResponse { v, id: written, response } =
            parse::<WrittenResponse<'_, Box<RawValue>>>(bytes, RESULT_MAX_BYTES, "a response")?;
        check_version(v)?;
        check_id(id, written)?;
        Ok(Self::Done(response))
    }

    /// The outcome in the bytes of an error record.
    ///
    /// # Errors
    /// When they are not the error record of task `id`.
    pub fn decode_error(id: TaskId, bytes: &[u8]) -> Result<Self, RecordError> {
        type Read<'a> = WrittenError<'a, String, Option<Box<RawValue>>>;
        let WrittenError { v, id: written, error, message, code, details } =
            parse::<Read<'_>>(bytes, RESULT_MAX_BYTES, "an error")?;
        check_version(v)?;
        check_id(id, written)?;
        if !error {
            return Err(RecordError::Field { field: "error" });
        }
        if !TaskError::is_code(&code) {
            return Err(RecordError::Field { field: "code" });
        }
        let details = details.filter(|details| details.get() != "{}");
        Ok(Self::Failed(TaskError { message, code, details }))
    }
}

fn check_id(expected: TaskId, found: &str) -> Result<(), RecordError> {
    if expected.as_str() == found { Ok(()) } else { Err(RecordError::Field { field: "id" }) }
}
