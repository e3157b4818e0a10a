//! What `GET /auth/sessions` says of sessions, and what `ploinkyctl session` reads.

use serde::{Deserialize, Serialize};

use crate::{AllowedCommands, Domain, UserId};

/// Digits of a digest by which people know a session.
pub const SESSION_ID_DIGITS: usize = 16;

/// A session of a user. Times are RFC 3339 in UTC, for people; no decision depends on them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDocument {
    /// The first [`SESSION_ID_DIGITS`] digits of the digest of its token.
    pub id: String,
    /// Whose it is.
    pub user_id: UserId,
    /// Where it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// What they may call.
    pub allowed_commands: AllowedCommands,
    /// When they logged in.
    pub created_at: String,
    /// When it was used last, to the minute.
    pub used_at: String,
    /// When it ends however it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Sessions, the one that was used last first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionDocument>,
}
