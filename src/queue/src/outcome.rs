//! How a task ended, and the bytes of the record that says so.

mod file_result;
mod task_error;

use std::borrow::Cow;

use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_contract::{ErrorDocument, FileDocument, TaskDocument, TaskId};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::file_result::FileResult;
pub use self::task_error::TaskError;
use crate::record::{RecordError, check_version, parse};

const SHAPE: &str = "a response, an error or a file";

/// How a task ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With this value.
    Done(Box<RawValue>),
    /// With a file, which is `outputs/<id>`.
    File(FileResult),
    /// Without a value.
    Failed(TaskError),
}

/// Which of the two directories holds a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RecordPlace {
    /// `responses/`, where all outcomes are published.
    Responses,
    /// `errors/`, where programs of the first protocol put errors.
    Errors,
}

/// All shapes in one: which of `response`, `error` and `file` is there tells which it is.
#[derive(Deserialize)]
struct Read<'a> {
    v: u8,
    id: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    response: Option<&'a RawValue>,
    error: Option<bool>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    details: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<ReadFile<'a>>,
}

#[derive(Deserialize)]
struct ReadFile<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    media_type: Cow<'a, str>,
    size: u64,
}

/// A value of `null` is there, too.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Outcome {
    /// The bytes of the record.
    pub fn encode(&self, id: TaskId) -> Vec<u8> {
        match self {
            Self::Done(value) => Self::encode_response(id, value),
            Self::File(file) => file.encode(id),
            Self::Failed(error) => error.encode(id),
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

    /// Puts it into the document of its task.
    pub fn describe(self, document: &mut TaskDocument) {
        match self {
            Self::Done(value) => document.data = Some(value),
            Self::File(file) => {
                document.file = Some(FileDocument {
                    location: format!("/tasks/{}/file", document.id),
                    name: file.name().to_owned(),
                    media_type: file.media_type().to_owned(),
                    size: file.size(),
                });
            }
            Self::Failed(error) => document.error = Some(ErrorDocument::from(error)),
        }
    }

    /// The outcome in the bytes of a record of any kind. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// When they are not one record of task `id`.
    pub fn decode(id: TaskId, bytes: &[u8]) -> Result<Self, RecordError> {
        fn refused<T>(field: &'static str) -> Result<T, RecordError> {
            Err(RecordError::Field { field })
        }
        let Read { v, id: written, response, error, message, code, details, file } =
            parse(bytes, RESULT_MAX_BYTES, SHAPE)?;
        check_version(v)?;
        if id.as_str() != written {
            return refused("id");
        }
        match (response, error, file) {
            (Some(value), None, None) => Ok(Self::Done(value.to_owned())),
            (None, None, Some(ReadFile { name, media_type, size })) => {
                FileResult::new(&name, &media_type, size)
                    .map(Self::File)
                    .ok_or(RecordError::Field { field: "file" })
            }
            (None, Some(true), None) => {
                let (Some(message), Some(code)) = (message, code) else {
                    return refused("message");
                };
                if !TaskError::is_code(&code) {
                    return refused("code");
                }
                let details = details.filter(|details| !matches!(details.get(), "{}" | "null"));
                Ok(Self::Failed(TaskError {
                    message: message.into_owned(),
                    code: code.into_owned(),
                    details: details.map(ToOwned::to_owned),
                }))
            }
            (None, Some(false), _) => refused("error"),
            (None, None, None) => refused("response"),
            _ => Err(RecordError::Contradiction),
        }
    }
}
