//! What the agent at `/auth` of a domain may do, as the admin says in `config.json`.

use serde::{Deserialize, Serialize};

use crate::AllowedCommands;
use crate::limits::{SESSION_IDLE_DEFAULT, SESSION_IDLE_MIN, SESSION_MAX_DEFAULT, SESSION_MAX_MAX};

/// The bounds of what that agent grants to those who log in, and of their sessions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AuthRules {
    /// Commands that it may let users call. What it grants beyond that is not granted.
    pub grants: AllowedCommands,
    /// Whether it may make somebody an owner of this host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub grants_admin: bool,
    /// Seconds without a request after which a session ends.
    pub session_idle: u64,
    /// Seconds after which a session ends however it is used.
    pub session_max: u64,
}

impl Default for AuthRules {
    fn default() -> Self {
        Self {
            grants: AllowedCommands::all(),
            grants_admin: false,
            session_idle: SESSION_IDLE_DEFAULT.as_secs(),
            session_max: SESSION_MAX_DEFAULT.as_secs(),
        }
    }
}

impl AuthRules {
    /// Whether nothing was set.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the numbers; gives the key and the rule that is broken.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { grants: _, grants_admin: _, session_idle, session_max } = self;
        let (least, most) = (SESSION_IDLE_MIN.as_secs(), SESSION_MAX_MAX.as_secs());
        for (name, seconds) in [("sessionMax", session_max), ("sessionIdle", session_idle)] {
            if !(least..=most).contains(seconds) {
                return Err((
                    name,
                    format!("{seconds} is not in the range {least} to {most} seconds"),
                ));
            }
        }
        if session_max < session_idle {
            let reason = format!("{session_idle} is longer than `sessionMax`, {session_max}");
            return Err(("sessionIdle", reason));
        }
        Ok(())
    }
}
