//! The name of a user, and the name of the file that is kept of them.

use std::fmt::Write as _;
use std::str::FromStr;

use ploinky_contract::UserId;
use serde::{Deserialize, Serialize};

/// Bytes of a name: each may become three in a file name, which ends at 255.
const USER_NAME_MAX_BYTES: usize = 64;

/// A user id of at most 64 bytes that is nobody's else: neither `Admin` nor `InternetUser`, in whatever case.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct UserName(UserId);

/// Why a text is no name of a user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidUserName {
    /// It has other characters, or too many.
    #[error(
        "`{}` is not a user name: use 1 to {USER_NAME_MAX_BYTES} printable ASCII characters without space, quotes or backslash",
        .0.escape_debug()
    )]
    Shape(String),
    /// The platform itself has the name.
    #[error("`{0}` is a name that the platform has itself")]
    Reserved(UserId),
}

impl UserName {
    /// The name as it was given.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name of their file: letters, digits, `-`, `_`, `@` and `.` stand for themselves, but for a `.` in front;
    /// everything else is `%` and two hexadecimal digits. Two users never have the same.
    pub(crate) fn file_name(&self) -> String {
        let mut name = String::new();
        for (at, byte) in self.as_str().bytes().enumerate() {
            let is_plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_' | b'@')
                || (byte == b'.' && 0 < at);
            if is_plain {
                name.push(char::from(byte));
            } else {
                // Writing into a string cannot fail.
                write!(name, "%{byte:02x}").ok();
            }
        }
        name
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        let shape = || InvalidUserName::Shape(text.chars().take(USER_NAME_MAX_BYTES + 1).collect());
        if USER_NAME_MAX_BYTES < text.len() {
            return Err(shape());
        }
        let id: UserId = text.parse().map_err(|_invalid| shape())?;
        if id.is_reserved() {
            return Err(InvalidUserName::Reserved(id));
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for UserName {
    type Error = InvalidUserName;

    fn try_from(text: String) -> Result<Self, InvalidUserName> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn i3_names_that_are_none_are_refused() {
        for text in [
            "",
            " ",
            "a b",
            "a\n",
            "a\0",
            "a\"",
            "a'",
            "a\\",
            "ä",
            "\u{202e}a",
            "a\u{301}",
            "\u{7f}",
            &"a".repeat(65),
            &"a".repeat(10 << 10),
        ] {
            assert!(matches!(text.parse::<UserName>(), Err(InvalidUserName::Shape(_))), "{text:?}");
        }
        for text in
            ["Admin", "admin", "ADMIN", "InternetUser", "internetuser", "admin:ada", "Admin:ada"]
        {
            assert!(
                matches!(text.parse::<UserName>(), Err(InvalidUserName::Reserved(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn i3_no_name_leaves_the_directory_and_no_two_names_share_a_file() {
        let hostile = [
            ".",
            "..",
            "../x",
            "../../etc/passwd",
            "..%2f",
            "%2e%2e/",
            "..%252f",
            "....//",
            "/./",
            "//etc",
            "%00",
            ";x=/../",
            "C:",
            "/etc/passwd",
            ".tasks/",
            ".admin",
            ".git/",
            ".env",
            "a.",
            "a",
            "A",
            "%61",
            "*",
            "$HOME",
            "-rf",
            "@",
            "a.json",
            "a.json.tmp",
        ];
        let names: BTreeSet<String> =
            hostile.iter().map(|text| text.parse::<UserName>().unwrap().file_name()).collect();
        assert_eq!(names.len(), hostile.len());
        for name in &names {
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
        }
        let longest: UserName = "/".repeat(64).parse().unwrap();
        assert_eq!(longest.file_name().len(), 192);
        assert_eq!(
            "alice@example.org".parse::<UserName>().unwrap().file_name(),
            "alice@example.org"
        );
    }
}
