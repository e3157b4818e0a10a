//! Why something about admins, their sessions or tokens was not done.

use ploinky_contract::Role;
use ploinky_contract::limits::{ADMINS_MAX, FRESH_PASSWORD, PASSWORDS_WAITING, TOKENS_MAX};
use ploinky_password::WeakPassword;

use super::grants::GrantsError;
use super::hash::RandomError;
use super::store::StoreError;

/// Why it was not done. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// A value breaks a rule.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Password(WeakPassword),
    /// There is one already.
    #[error("there is an admin `{0}` already")]
    AccountExists(String),
    #[error("there is a token `{0}` already")]
    TokenExists(String),
    #[error("there are {ADMINS_MAX} admins; more are not allowed")]
    TooManyAccounts,
    #[error("there are {TOKENS_MAX} tokens; revoke some first")]
    TooManyTokens,
    #[error("there are admins already; whoever is an owner adds others")]
    AlreadyInitialised,
    #[error("`{0}` is the last owner who can log in; make somebody else an owner first")]
    LastOwner(String),
    #[error("there is no admin `{0}`")]
    NoAccount(String),
    #[error("there is no token whose name is `{0}` or whose digest begins so")]
    NoToken(String),
    #[error("the digests of several tokens begin with `{0}`")]
    AmbiguousToken(String),
    /// The same for all that can be wrong.
    #[error("the name or the password is wrong, or nobody can log in by it at present")]
    WrongCredentials,
    #[error("the token is not known, or its time is over")]
    NoSession,
    #[error(
        "the one-time token is wrong or was used; the journal of the supervisor has the one that counts"
    )]
    WrongSetup,
    #[error("this needs the role {0}")]
    Role(Role),
    #[error("this needs the password again: it was given more than {} minutes ago, or never", FRESH_PASSWORD.as_secs() / 60)]
    Stale,
    #[error("{PASSWORDS_WAITING} others log in at this moment; try again in a few seconds")]
    Overloaded,
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Grants(GrantsError),
    #[error(transparent)]
    Random(RandomError),
    #[error("the supervisor is stopping")]
    Stopping,
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<GrantsError> for AdminError {
    fn from(error: GrantsError) -> Self {
        Self::Grants(error)
    }
}

impl From<RandomError> for AdminError {
    fn from(error: RandomError) -> Self {
        Self::Random(error)
    }
}

impl From<WeakPassword> for AdminError {
    fn from(error: WeakPassword) -> Self {
        Self::Password(error)
    }
}
