//! What all records have in common: bounds that are checked before a parser sees the bytes.

use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_contract::{TooDeep, check_depth, is_object};
use serde::Deserialize;

/// The only version of records.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are not the record that they should be.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// More bytes than the record may have.
    #[error("the record has {length} bytes; {limit} are allowed")]
    TooLong {
        /// Bytes found, or announced by the file's size.
        length: u64,
        /// Bytes allowed.
        limit: usize,
    },
    /// Arrays and objects nest too deeply.
    #[error("the record nests too deeply")]
    TooDeep(#[source] TooDeep),
    /// It does not start and end like an object.
    #[error("the record is not one JSON object")]
    NotAnObject,
    /// It is not JSON, or has other fields.
    #[error("the record has not the shape of {shape}")]
    Shape {
        /// What it should have been.
        shape: &'static str,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// A field breaks a rule.
    #[error("the field `{field}` of the record has a value that is not allowed")]
    Field {
        /// The field.
        field: &'static str,
    },
}

/// Parses a record after its bounds were checked.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    limit: usize,
    shape: &'static str,
) -> Result<T, RecordError> {
    if limit < bytes.len() {
        return Err(RecordError::TooLong { length: bytes.len() as u64, limit });
    }
    check_depth(bytes, JSON_DEPTH_MAX).map_err(RecordError::TooDeep)?;
    if !is_object(bytes) || !bytes.trim_ascii_end().ends_with(b"}") {
        return Err(RecordError::NotAnObject);
    }
    serde_json::from_slice(bytes).map_err(|source| RecordError::Shape { shape, source })
}

/// Accepts the only version.
pub(crate) fn check_version(found: u8) -> Result<(), RecordError> {
    if found == VERSION { Ok(()) } else { Err(RecordError::Field { field: "v" }) }
}
