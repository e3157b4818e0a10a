//! The user for whom a task runs.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::USER_ID_MAX_BYTES;

/// 1 to 128 printable bytes of ASCII without space, quotes or backslash. Only Guardian makes one from a request.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

/// Why a text is no user id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not a user id: use 1 to {USER_ID_MAX_BYTES} printable ASCII characters without space, quotes or backslash", .0.escape_debug())]
pub struct InvalidUserId(String);

crate::text_type!(UserId, InvalidUserId);

impl UserId {
    /// The caller without a session.
    pub fn internet_user() -> Self {
        Self("InternetUser".to_owned())
    }

    /// Root of this host, who speaks by a socket of their own.
    pub fn admin() -> Self {
        Self("Admin".to_owned())
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let plain =
            text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\'));
        if plain && (1..=USER_ID_MAX_BYTES).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUserId(text.chars().take(USER_ID_MAX_BYTES + 1).collect()))
        }
    }
}
