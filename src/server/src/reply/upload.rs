//! The statuses of uploads that are refused.

use http::StatusCode;
use ploinky_queue::code;

use super::Said;
use crate::uploads::{FieldError, FormError, UploadError, WriteError};

/// What the refusal of an upload says to the caller.
pub(super) fn said(error: &UploadError) -> Said {
    let plain = |status, code| Said { status, code, retry_after_s: None };
    let later = || Said {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "UNAVAILABLE",
        retry_after_s: Some(1),
    };
    match error {
        UploadError::Form(FormError::MediaType) => {
            plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_REQUEST")
        }
        UploadError::Form(FormError::Stalled(_) | FormError::TooSlow) => {
            plain(StatusCode::REQUEST_TIMEOUT, "BAD_REQUEST")
        }
        UploadError::TooLarge { .. }
        | UploadError::Field(FieldError::TooLong { .. } | FieldError::AllTooLong) => {
            plain(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE")
        }
        UploadError::UnknownCommand(_) => plain(StatusCode::NOT_FOUND, code::UNKNOWN_COMMAND),
        UploadError::Write(WriteError::NoSpace) => {
            plain(StatusCode::INSUFFICIENT_STORAGE, "NO_SPACE")
        }
        UploadError::Busy | UploadError::NoMemory | UploadError::Write(WriteError::Disk(_)) => {
            later()
        }
        UploadError::Form(_)
        | UploadError::Field(_)
        | UploadError::NoFile
        | UploadError::Command(_) => plain(StatusCode::BAD_REQUEST, "BAD_REQUEST"),
    }
}
