//! The note on a failed run: how many there were, why the last one failed, when the next may begin.

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::TaskError;
use crate::disk::Disk;
use crate::publish::replace;
use crate::read_result::{BadResult, read_named};
use crate::record::{RecordError, VERSION, check_version, parse};

/// Bytes of a note; details of an error that do not fit are left out.
const NOTE_MAX_BYTES: usize = 64 * 1024;
/// Characters of a message in a note; each may be six bytes there.
const MESSAGE_MAX_CHARS: usize = 4096;
/// The server has to read it.
const NOTE_MODE: Mode = Mode::from_raw_mode(0o644);

/// What a failed run leaves for the next one.
#[derive(Clone, Debug)]
pub struct Note {
    /// The runs that failed.
    pub attempt: u32,
    /// When the next run may begin, in nanoseconds of `CLOCK_BOOTTIME` of the boot `boot_id`; on another boot
    /// at once.
    pub not_before_boot_ns: u64,
    /// The boot of that time.
    pub boot_id: String,
    /// Why the last run failed.
    pub error: TaskError,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    id: &'a str,
    attempt: u32,
    not_before_boot_ns: u64,
    boot_id: &'a str,
    error: WrittenError<'a>,
}

#[derive(Serialize)]
struct WrittenError<'a> {
    message: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u8,
    id: &'a str,
    attempt: u32,
    not_before_boot_ns: u64,
    boot_id: Cow<'a, str>,
    #[serde(borrow)]
    error: ReadError<'a>,
}

#[derive(Deserialize)]
struct ReadError<'a> {
    message: String,
    code: String,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

/// The name of the note of a task among the locks.
pub(crate) fn note_name(id: TaskId) -> String {
    format!("{id}.note")
}

/// The note of a task, or `None` if no run failed.
///
/// # Errors
/// When what stands at its name is none, or cannot be read at present.
pub(crate) fn read_note(locks: &OwnedFd, id: TaskId) -> Result<Option<Note>, BadResult> {
    let Some((bytes, _about)) = read_named(locks, &note_name(id), NOTE_MAX_BYTES)? else {
        return Ok(None);
    };
    Note::decode(id, &bytes).map(Some).map_err(BadResult::Record)
}

/// Puts the note in the place of the one before; with `durable` it survives a power cut once `locks` was
/// synced.
pub(crate) fn write_note(
    locks: &OwnedFd,
    id: TaskId,
    note: &Note,
    durable: Option<&Disk>,
) -> io::Result<()> {
    replace(locks, &note_name(id), &note.encode(id), NOTE_MODE, durable)
}

impl Note {
    /// When the next run may begin, in nanoseconds of `CLOCK_BOOTTIME` on the boot `boot_id`; 0 is at once.
    pub fn not_before_on(&self, boot_id: &str) -> u64 {
        if self.boot_id == boot_id { self.not_before_boot_ns } else { 0 }
    }

    fn encode(&self, id: TaskId) -> Vec<u8> {
        let Self { attempt, not_before_boot_ns, boot_id, error } = self;
        let TaskError { message, code, details } = error;
        let message: String = message.chars().take(MESSAGE_MAX_CHARS).collect();
        let details = details.as_deref().filter(|d| d.get().len() <= NOTE_MAX_BYTES / 2);
        let written = Written {
            v: VERSION,
            id: id.as_str(),
            attempt: *attempt,
            not_before_boot_ns: *not_before_boot_ns,
            boot_id,
            error: WrittenError { message: &message, code, details },
        };
        // Strings, numbers and checked JSON cannot fail to serialise into memory.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    fn decode(id: TaskId, bytes: &[u8]) -> Result<Self, RecordError> {
        let Read { v, id: written, attempt, not_before_boot_ns, boot_id, error } =
            parse(bytes, NOTE_MAX_BYTES, "a note")?;
        check_version(v)?;
        if id.as_str() != written {
            return Err(RecordError::Field { field: "id" });
        }
        let ReadError { message, code, details } = error;
        if !TaskError::is_code(&code) {
            return Err(RecordError::Field { field: "code" });
        }
        let details = details.map(ToOwned::to_owned);
        Ok(Self {
            attempt,
            not_before_boot_ns,
            boot_id: boot_id.into_owned(),
            error: TaskError { message, code, details },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{id, raw};

    fn note(details: &str) -> Note {
        let error = TaskError {
            message: "no\n\"luck\"".to_owned(),
            code: "HANDLER_FAILED".to_owned(),
            details: Some(raw(details)),
        };
        Note { attempt: 2, not_before_boot_ns: 7, boot_id: "0".repeat(32), error }
    }

    #[test]
    fn a_note_survives_being_written_and_read() {
        let bytes = note("{\"exitCode\":1}").encode(id(1));
        let read = Note::decode(id(1), &bytes).unwrap();
        assert_eq!(read.encode(id(1)), bytes);
        assert_eq!(read.not_before_on(&"0".repeat(32)), 7);
        assert_eq!(read.not_before_on(&"1".repeat(32)), 0);
        assert!(Note::decode(id(2), &bytes).is_err());
    }

    #[test]
    fn an_error_of_any_length_fits_into_a_note() {
        let mut long = note(&format!("\"{}\"", "x".repeat(NOTE_MAX_BYTES)));
        long.error.message = "ä\u{1}".repeat(100_000);
        let read = Note::decode(id(1), &long.encode(id(1))).unwrap();
        assert!(read.error.details.is_none());
        assert!(long.error.message.starts_with(&read.error.message));
    }
}
