//! What is kept of a user.

use ploinky_contract::AllowedCommands;
use ploinky_password::PasswordHash;
use serde::{Deserialize, Serialize};

use crate::user_name::UserName;

/// One user, as their file has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the member is called userId everywhere")]
pub(crate) struct User {
    /// For whom calls of their sessions run.
    pub(crate) user_id: UserName,
    /// What is kept of the password.
    pub(crate) password: PasswordHash,
    /// What they may call, as far as the admin lets this agent grant it.
    pub(crate) allowed_commands: AllowedCommands,
    /// Whether they may not log in.
    pub(crate) disabled: bool,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// When the password was set last, seconds since 1970.
    pub(crate) password_set_at: u64,
}

/// What others may know of a user.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    user_id: &'a UserName,
    /// Left out in a list of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_commands: Option<&'a AllowedCommands>,
    disabled: bool,
    created_at: u64,
    password_set_at: u64,
    /// Wrong passwords since the last right one.
    failures: u32,
}

impl User {
    /// With everything but the password.
    pub(crate) fn shown(&self, failures: u32, in_full: bool) -> Shown<'_> {
        let Self { user_id, password: _, allowed_commands, disabled, created_at, password_set_at } =
            self;
        Shown {
            user_id,
            allowed_commands: in_full.then_some(allowed_commands),
            disabled: *disabled,
            created_at: *created_at,
            password_set_at: *password_set_at,
            failures,
        }
    }
}
