//! A result that is a file.

use ploinky_contract::TaskId;
use serde::Serialize;

use crate::record::VERSION;

/// Bytes of a file name; disks end there.
const NAME_MAX_BYTES: usize = 255;
/// Bytes of a media type with its parameters (RFC 6838 allows 127 for each part).
const MEDIA_TYPE_MAX_BYTES: usize = 255;

/// What a client is told of a result that is a file. The bytes lie in `outputs/<id>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileResult {
    name: String,
    media_type: String,
    size: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    id: &'a str,
    file: WrittenFile<'a>,
}

#[derive(Serialize)]
struct WrittenFile<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    media_type: &'a str,
    size: u64,
}

impl FileResult {
    /// `None` if the name is not 1 to 255 bytes without `/` and control characters, or is `.` or `..`, or the
    /// media type is not visible ASCII of the form `type/subtype`, with or without parameters. Both go into
    /// headers.
    pub fn new(name: &str, media_type: &str, size: u64) -> Option<Self> {
        let is_name = (1..=NAME_MAX_BYTES).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.chars().any(|c| c == '/' || c.is_control());
        let is_token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'!' | b'#' | b'$' | b'&' | b'-' | b'^' | b'_' | b'.' | b'+')
                })
        };
        let essence = media_type.split(';').next().unwrap_or_default().trim_end();
        let is_type = media_type.len() <= MEDIA_TYPE_MAX_BYTES
            && media_type.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
            && essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
        (is_name && is_type).then(|| Self {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            size,
        })
    }

    /// What the handler calls it: one component of a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its media type.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of the record.
    pub fn encode(&self, id: TaskId) -> Vec<u8> {
        let Self { name, media_type, size } = self;
        let file = WrittenFile { name, media_type, size: *size };
        // Strings and numbers cannot fail to serialise into memory.
        serde_json::to_vec(&Written { v: VERSION, id: id.as_str(), file }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_that_would_break_a_header_are_refused() {
        for name in ["", ".", "..", "a/b", "a\nb", "a\0", &"x".repeat(256)] {
            assert_eq!(FileResult::new(name, "text/plain", 1), None, "{name:?}");
        }
        for media_type in
            ["", "text", "/", "text/", "text/pl ain", "te\"xt/x", "a/b\r\nX: y", "ä/b"]
        {
            assert_eq!(FileResult::new("x", media_type, 1), None, "{media_type:?}");
        }
        for media_type in ["image/svg+xml", "text/plain; charset=\"utf-8\""] {
            assert!(FileResult::new("Übersicht \"1\".txt", media_type, 1).is_some());
        }
    }
}
