//! Why an order is not carried out, with the code that a caller can rely on.

use ploinky_contract::{InvalidUserId, TooManyPatterns};
use ploinky_password::{PasswordTooLong, WeakPassword};

use crate::book::BookError;
use crate::user_name::InvalidUserName;

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Nobody can tell which of the two is wrong, nor whether there is such a user.
    #[error("the user name or the password is wrong, or the user may not log in now")]
    InvalidCredentials,
    /// The caller may not have this done.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Too many passwords are being looked at.
    #[error("too many passwords are being looked at; try again in a second")]
    Busy,
    /// There is no such command here.
    #[error("there is no such command")]
    UnknownCommand,
    /// The parameters are not those of the command.
    #[error("the parameters are not those of the command: {0}")]
    Parameters(&'static str),
    /// One of the parameters breaks a rule.
    #[error("{0}")]
    Value(String),
    /// The user is not there.
    #[error("there is no user `{0}`")]
    NotFound(String),
    /// The user is there already.
    #[error("there is a user `{0}` already")]
    Exists(String),
    /// There are as many users as there may be.
    #[error("there are {0} users, as many as there may be")]
    Full(usize),
    /// The disk, or what is on it, did not let it be done.
    #[error("the users cannot be read or written; the journal of the agent tells why")]
    Book(#[from] BookError),
    /// There is no randomness.
    #[error("there are no random numbers")]
    Random,
}

impl Refused {
    /// The stable word.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::Busy => "TOO_MANY_REQUESTS",
            Self::UnknownCommand | Self::NotFound(_) => "NOT_FOUND",
            Self::Parameters(_) | Self::Value(_) => "BAD_REQUEST",
            Self::Exists(_) | Self::Full(_) => "CONFLICT",
            Self::Book(_) | Self::Random => "INTERNAL",
        }
    }
}

impl From<InvalidUserName> for Refused {
    fn from(error: InvalidUserName) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<InvalidUserId> for Refused {
    fn from(error: InvalidUserId) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<WeakPassword> for Refused {
    fn from(error: WeakPassword) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<PasswordTooLong> for Refused {
    fn from(error: PasswordTooLong) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<TooManyPatterns> for Refused {
    fn from(error: TooManyPatterns) -> Self {
        Self::Value(error.to_string())
    }
}
