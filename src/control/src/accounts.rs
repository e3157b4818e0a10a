//! What the supervisor tells of admins, their sessions and tokens of programs: dictionaries that can grow.

use zbus::{DeserializeDict, SerializeDict, Type};

/// An account of an admin. Times are seconds since 1970.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct AdminAccount {
    /// Its name.
    pub username: String,
    /// `owner`, `deployer` or `viewer`.
    pub role: String,
    /// When it was made; absent if nobody knows.
    pub created_at: Option<u64>,
    /// When its password was set.
    pub changed_at: Option<u64>,
    /// Nobody can log in.
    pub disabled: bool,
    /// Wrong passwords since the last right one.
    pub failures: u32,
    /// Seconds for which it is closed for them; the greatest number if only root opens it; absent if it is open.
    pub closed_seconds: Option<u64>,
    /// The password is kept as the original did, until the next login.
    pub original: bool,
    /// Sessions that count.
    pub sessions: u32,
}

/// A session that has just begun.
#[derive(Clone, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct AdminSession {
    /// The secret; it is told this once.
    pub token: String,
    /// Whose session it is.
    pub username: String,
    /// What they may.
    pub role: String,
    /// Seconds since 1970 when it ends however it is used.
    pub expires_at: u64,
    /// Seconds without a request after which it ends.
    pub idle_seconds: u64,
}

/// What a token of a program is to be good for.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct TokenOrder {
    /// By which people know it.
    pub name: String,
    /// For whom calls run.
    pub user: String,
    /// Patterns of commands.
    pub commands: Vec<String>,
    /// Where it counts; absent: on all domains.
    pub domain: Option<String>,
    /// With which agents; absent: with all.
    pub paths: Option<Vec<String>>,
    /// What of the management it may; absent: nothing.
    pub role: Option<String>,
    /// Seconds since 1970 when it ends; absent: never.
    pub expires_at: Option<u64>,
}

/// A token that has just been made.
#[derive(Clone, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct NewToken {
    /// The secret; it is told this once.
    pub token: String,
    /// By which it is kept.
    pub digest: String,
}

/// A token of a program. Times are seconds since 1970.
#[derive(Clone, Debug, Default, DeserializeDict, PartialEq, SerializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct TokenReport {
    /// By which people know it.
    pub name: String,
    /// By which it is kept.
    pub digest: String,
    /// For whom calls run.
    pub user: String,
    /// Patterns of commands.
    pub commands: Vec<String>,
    /// Where it counts; absent: on all domains.
    pub domain: Option<String>,
    /// With which agents; absent: with all.
    pub paths: Option<Vec<String>>,
    /// What of the management it may; absent: nothing.
    pub role: Option<String>,
    /// When it was made.
    pub created_at: u64,
    /// When it ends; absent: never.
    pub expires_at: Option<u64>,
    /// When an instance saw it last; absent: never.
    pub used_at: Option<u64>,
}

impl std::fmt::Debug for AdminSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token: _, username, role, expires_at, idle_seconds } = self;
        write!(f, "AdminSession({username}, {role}, {expires_at}, {idle_seconds})")
    }
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token: _, digest } = self;
        write!(f, "NewToken({digest})")
    }
}
