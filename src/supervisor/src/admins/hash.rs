//! What is kept of a password, ours or the original's, and the random bytes around it.

use ploinky_contract::{TOKEN_BYTES, Token};
use ploinky_password::{OriginalHash, Password, PasswordHash, SALT_BYTES};

/// What is kept of a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Kept {
    /// As this version does.
    Phc(PasswordHash),
    /// As the original did, until the next login.
    Original(OriginalHash),
}

/// A password cannot be hashed, or a token not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RandomError(String);

impl Kept {
    /// What to keep of `password`. Takes a tenth of a second of a processor.
    ///
    /// # Errors
    /// Without random bytes.
    pub(super) fn of(password: &Password) -> Result<Self, RandomError> {
        let hash = PasswordHash::of(password, random::<SALT_BYTES>()?);
        hash.map(Self::Phc).map_err(|invalid| RandomError(invalid.to_string()))
    }

    /// Whether `password` is the one. Takes as long.
    pub(super) fn matches(&self, password: &Password) -> bool {
        match self {
            Self::Phc(hash) => hash.matches(password),
            Self::Original(hash) => hash.matches(password),
        }
    }

    /// Whether it would be kept in another way now.
    pub(super) fn is_outdated(&self) -> bool {
        match self {
            Self::Phc(hash) => hash.is_outdated(),
            Self::Original(_) => true,
        }
    }
}

/// A token that nobody had before.
///
/// # Errors
/// Without random bytes.
pub(super) fn new_token(of: fn([u8; TOKEN_BYTES]) -> Token) -> Result<Token, RandomError> {
    random().map(of)
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], RandomError> {
    let bytes = crate::random::bytes();
    bytes.map_err(|error| RandomError(format!("the kernel gives no random bytes: {error}")))
}
