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

/// What the user id of an admin begins with.
const ADMINS: &str = "admin:";

impl UserId {
    /// The caller without a session.
    pub fn internet_user() -> Self {
        Self("InternetUser".to_owned())
    }

    /// Root of this host, who speaks by a socket of their own.
    pub fn admin() -> Self {
        Self("Admin".to_owned())
    }

    /// An admin with an account, as agents and tasks know them: somebody else than a user of the same name.
    pub fn of_admin(account: &Self) -> Self {
        let Self(name) = account;
        Self(format!("{ADMINS}{name}"))
    }

    /// Whether it is the name of somebody of Ploinky, in whatever case, which no agent may give to anybody.
    pub fn is_reserved(&self) -> bool {
        let is = |name: &Self| self.0.eq_ignore_ascii_case(&name.0);
        let begins = self.0.get(..ADMINS.len()).is_some_and(|s| s.eq_ignore_ascii_case(ADMINS));
        begins || is(&Self::admin()) || is(&Self::internet_user())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ploinky_are_reserved_in_every_case() {
        let id = |text: &str| text.parse::<UserId>().unwrap();
        for text in ["Admin", "admin", "INTERNETUSER", "admin:ada", "Admin:", "ADMIN:x"] {
            assert!(id(text).is_reserved(), "{text}");
        }
        for text in ["a", "administrator", "admin-ada", "adm", "ada:admin:", "internetuser2"] {
            assert!(!id(text).is_reserved(), "{text}");
        }
        let admin = UserId::of_admin(&id("ada"));
        assert!(admin.is_reserved());
        assert_eq!(admin.as_str().parse(), Ok(admin));
    }
}
