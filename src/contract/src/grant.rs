//! What the holder of a token may do, as the file says that is named by the digest of the token.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::{self, Located};
use crate::limits::{GRANT_MAX_BYTES, TOKEN_NAME_MAX_CHARS};
use crate::{AllowedCommands, DeployPath, Domain, UserId};

/// Who it is and what they may, for how long. The time of the last use is the time of modification of the file,
/// or of another one where the holder of the token may not write it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Grant {
    /// For whom calls run.
    pub user_id: UserId,
    /// Where it counts; absent: on all domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// With which agents; absent: with all of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<DeployPath>>,
    /// Which commands.
    pub allowed_commands: AllowedCommands,
    /// What of the management they may; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The name of a token, by which people know it; absent: it is a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970 from when on it counts no more; absent: never, which a session cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Seconds without a request after which it ends; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
    /// When an admin last gave the password, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<u64>,
}

/// What an admin may. Each may what those after it may, too.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything that is no secret.
    Viewer,
    /// Deploy, stop and start agents; look after tasks and sessions of users.
    Deployer,
    /// Everything, accounts and tokens with it.
    Owner,
}

/// Why the text of a grant is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{at}`: {reason}")]
pub struct GrantError {
    at: String,
    reason: String,
}

/// The text is no role.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not a role: use owner, deployer or viewer", .0.escape_debug())]
pub struct UnknownRole(String);

impl Grant {
    /// Parses and checks the text of a file.
    ///
    /// # Errors
    /// Names the JSON path and the rule.
    pub fn parse(text: &[u8]) -> Result<Self, GrantError> {
        let refused = |at: &str, reason: String| Err(GrantError { at: at.to_owned(), reason });
        if GRANT_MAX_BYTES < text.len() {
            let length = text.len();
            return refused(".", format!("has {length} bytes; {GRANT_MAX_BYTES} are allowed"));
        }
        let grant: Self =
            json::object(text).map_err(|Located { at, reason }| GrantError { at, reason })?;
        let length = grant.name.as_ref().map_or(1, |name| name.chars().count());
        if !(1..=TOKEN_NAME_MAX_CHARS).contains(&length) {
            let reason =
                format!("has {length} characters; 1 to {TOKEN_NAME_MAX_CHARS} are allowed");
            return refused("name", reason);
        }
        if grant.name.is_none() && (grant.expires_at.is_none() || grant.idle_seconds.is_none()) {
            return refused("expiresAt", "a session ends, and without use earlier".to_owned());
        }
        Ok(grant)
    }

    /// The text that [`Grant::parse`] turns into an equal grant.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it counts at `now`, when it was used last at `used`; all in seconds since 1970. A clock that goes
    /// back makes nothing valid again that the file does not say: what was made later than now counts.
    pub fn counts_at(&self, now: u64, used: u64) -> bool {
        let is_over = self.expires_at.is_some_and(|end| end <= now);
        let is_idle = self
            .idle_seconds
            .is_some_and(|idle| used.max(self.created_at).saturating_add(idle) <= now);
        !is_over && !is_idle
    }
}

impl Role {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Owner => "owner",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Viewer, Self::Deployer, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(TOKEN_NAME_MAX_CHARS).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = r#"{"userId":"alice","domain":"localhost","allowedCommands":["user.*"],
        "createdAt":1000,"expiresAt":5000,"idleSeconds":100}"#;

    #[test]
    fn what_is_no_grant_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "`.`: is not a JSON object"),
            ("[]", "`.`: is not a JSON object"),
            ("{}", "missing field `userId`"),
            (&SESSION.replace("alice", "a b"), "`userId`: `a b` is not a user id"),
            (&SESSION.replace("user.*", "us*"), "`allowedCommands[0]`: `us*` is not a pattern"),
            (&SESSION.replace("alice\"", "alice\",\"isAdmin\":true"), "unknown field `isAdmin`"),
            (&SESSION.replace("alice\"", "alice\",\"role\":\"root\""), "`role`: unknown variant"),
            (&SESSION.replace("alice\"", "alice\",\"userId\":\"b\""), "duplicate field `userId`"),
            (&SESSION.replace(",\"idleSeconds\":100", ""), "`expiresAt`: a session ends"),
            (&SESSION.replace("alice\"", "alice\",\"name\":\"\""), "`name`: has 0 characters"),
            (&" ".repeat(GRANT_MAX_BYTES + 1), "are allowed"),
        ] {
            let found = Grant::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
        let token = r#"{"userId":"ci","allowedCommands":[],"name":"ci","createdAt":1}"#;
        for text in [SESSION, token] {
            let grant = Grant::parse(text.as_bytes()).unwrap();
            assert_eq!(Grant::parse(grant.to_json().as_bytes()).unwrap(), grant);
        }
    }

    #[test]
    fn a_session_ends_by_its_age_and_earlier_without_use() {
        let session = Grant::parse(SESSION.as_bytes()).unwrap();
        for (now, used) in
            [(1100, 0), (1100, 1000), (2100, 2000), (5000, 4999), (u64::MAX, u64::MAX)]
        {
            assert!(!session.counts_at(now, used), "{now} {used}");
        }
        for (now, used) in [(0, 0), (1099, 0), (2099, 2000), (4999, 4999), (4999, 9999)] {
            assert!(session.counts_at(now, used), "{now} {used}");
        }
    }

    #[test]
    fn roles_have_an_order() {
        assert!(Role::Viewer < Role::Deployer && Role::Deployer < Role::Owner);
        assert_eq!("deployer".parse(), Ok(Role::Deployer));
        assert!("Owner".parse::<Role>().is_err());
    }
}
