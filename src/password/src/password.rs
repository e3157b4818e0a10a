//! A password as somebody gave it.

use serde::Deserialize;
use zeroize::Zeroizing;

/// Bytes of a password: a phrase of any length that people type, and a bound for what is hashed.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// Up to [`PASSWORD_MAX_BYTES`] of Unicode, every character of which counts, NUL too. Never shown, and gone from
/// memory with its owner.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(Zeroizing<String>);

/// A password is longer than [`PASSWORD_MAX_BYTES`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the password has more than {PASSWORD_MAX_BYTES} bytes")]
pub struct PasswordTooLong;

impl Password {
    /// The text, for the one who checks it or passes it on.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn ends_in_nul(&self) -> bool {
        self.0.ends_with('\0')
    }
}

impl TryFrom<String> for Password {
    type Error = PasswordTooLong;

    fn try_from(text: String) -> Result<Self, PasswordTooLong> {
        let text = Zeroizing::new(text);
        if PASSWORD_MAX_BYTES < text.len() { Err(PasswordTooLong) } else { Ok(Self(text)) }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_bounded_and_never_shown() {
        assert_eq!(
            Password::try_from("x".repeat(PASSWORD_MAX_BYTES + 1)).map(|_password| ()),
            Err(PasswordTooLong)
        );
        assert!(Password::try_from("x".repeat(PASSWORD_MAX_BYTES)).is_ok());
        let secret: Password = serde_json::from_str(r#""schl\u00fcssel\u0000""#).unwrap();
        assert_eq!(secret.reveal(), "schlüssel\0");
        assert_eq!(format!("{secret:?}"), "Password");
    }
}
