//! The id of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// 128 random bits, written as 32 lower-case hexadecimal digits; also the name of the task's files.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId([u8; 32]);

/// Why a text is no task id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a task id: an id is 32 lower-case hexadecimal digits")]
pub struct InvalidTaskId;

impl TaskId {
    /// An id from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            }
        }
        Self(text)
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// An id from a file name, without allocation.
    ///
    /// # Errors
    /// When the bytes are not 32 lower-case hexadecimal digits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidTaskId> {
        let text: [u8; 32] = bytes.try_into().map_err(|_length| InvalidTaskId)?;
        if text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text))
        } else {
            Err(InvalidTaskId)
        }
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        Self::from_bytes(text.as_bytes())
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, InvalidTaskId> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_lower_case_digits_are_an_id() {
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(good.parse::<TaskId>().unwrap().as_str(), good);
        for text in [
            "",
            "0",
            &good.to_uppercase(),
            &format!("{good}\n"),
            "../../../../../../../../etc/pass",
            "123456789abcdef0123456789abcdef",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn random_bytes_keep_their_order() {
        let id = TaskId::from_random([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(id.as_str(), "a00102030405060708090a0b0c0d0eff");
    }
}
