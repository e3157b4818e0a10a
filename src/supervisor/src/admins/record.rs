//! The text of the file of accounts: ours, and records of the original among them.

use ploinky_contract::limits::{ADMIN_FILE_MAX_BYTES, ADMIN_NAME_MAX_CHARS, ADMINS_MAX};
use ploinky_contract::{Role, UserId};
use ploinky_password::{Failures, InvalidHash, OriginalHash};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hash::Kept;

/// One admin.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Account {
    pub(super) username: UserId,
    pub(super) kept: Kept,
    pub(super) role: Role,
    /// Seconds since 1970; 0 if nobody knows.
    pub(super) created_at: u64,
    /// When the password was set, seconds since 1970.
    pub(super) changed_at: u64,
    pub(super) disabled: bool,
    pub(super) failures: Failures,
}

/// Why the text is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{at}`: {reason}")]
pub(crate) struct RecordError {
    at: String,
    reason: String,
}

/// A record as it is read. What only the original has is looked at and left behind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    username: UserId,
    password_hash: String,
    /// Only the original has it beside the hash.
    #[serde(default)]
    salt: Option<String>,
    /// The original knew no roles: its admins could do everything.
    #[serde(default)]
    role: Option<Role>,
    created_at: Value,
    #[serde(default)]
    changed_at: Option<u64>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    failures: Failures,
    #[serde(default, rename = "mustChangePassword")]
    _must_change_password: Option<bool>,
    #[serde(default, rename = "updatedAt")]
    _updated_at: Option<Value>,
}

/// A record as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    username: &'a UserId,
    password_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<&'a str>,
    role: Role,
    created_at: u64,
    changed_at: u64,
    #[serde(skip_serializing_if = "is_false")]
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<Failures>,
}

/// Reads the accounts of a file.
///
/// # Errors
/// Names the JSON path and the rule.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Account>, RecordError> {
    let refused = |at: String, reason: String| Err(RecordError { at, reason });
    if ADMIN_FILE_MAX_BYTES < text.len() {
        let reason = format!("has {} bytes; {ADMIN_FILE_MAX_BYTES} are allowed", text.len());
        return refused(".".to_owned(), reason);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let raw: Vec<Raw> = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        RecordError { at: error.path().to_string(), reason: error.inner().to_string() }
    })?;
    deserializer
        .end()
        .map_err(|error| RecordError { at: ".".to_owned(), reason: error.to_string() })?;
    if ADMINS_MAX < raw.len() {
        let reason = format!("has {} accounts; {ADMINS_MAX} are allowed", raw.len());
        return refused(".".to_owned(), reason);
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let at = |key: &str| format!("[{index}].{key}");
        if let Err(reason) = check_name(&raw.username) {
            return refused(at("username"), reason);
        }
        if accounts.iter().any(|account| account.username == raw.username) {
            return refused(at("username"), format!("`{}` is there twice", raw.username));
        }
        let is_original = raw.salt.is_some();
        let role = match (raw.role, is_original) {
            (Some(role), _) => role,
            (None, true) => Role::Owner,
            (None, false) => return refused(at("role"), "is missing".to_owned()),
        };
        let created_at = match raw.created_at.as_u64() {
            Some(seconds) if !is_original => seconds,
            // The original writes dates, or milliseconds.
            Some(_) | None if is_original => 0,
            Some(_) | None => {
                return refused(at("createdAt"), "is not a number of seconds".to_owned());
            }
        };
        let kept = match kept(raw.password_hash, raw.salt) {
            Ok(kept) => kept,
            Err(reason) => return refused(at("passwordHash"), reason),
        };
        accounts.push(Account {
            username: raw.username,
            kept,
            role,
            created_at,
            changed_at: raw.changed_at.unwrap_or(created_at),
            disabled: raw.disabled,
            failures: raw.failures,
        });
    }
    Ok(accounts)
}

fn kept(hash: String, salt: Option<String>) -> Result<Kept, String> {
    match salt {
        None => hash.parse().map(Kept::Phc).map_err(|invalid: InvalidHash| invalid.to_string()),
        Some(salt) => OriginalHash::new(hash, salt).map(Kept::Original).map_err(|_invalid| {
            "has a `salt` beside it, but is not 128 hexadecimal digits".to_owned()
        }),
    }
}

/// The text that [`parse`] turns into equal accounts.
pub(super) fn text(accounts: &[Account]) -> String {
    let written: Vec<Written<'_>> = accounts.iter().map(Written::of).collect();
    // Strings, numbers and lists cannot fail to serialise.
    let mut text = serde_json::to_string_pretty(&written).unwrap_or_default();
    text.push('\n');
    text
}

/// Whether somebody may be called so. The names of those who are nobody in particular stay theirs.
///
/// # Errors
/// Names the rule.
pub(super) fn check_name(name: &UserId) -> Result<(), String> {
    if [UserId::admin(), UserId::internet_user()].contains(name) {
        return Err(format!(
            "`{name}` is nobody's name: it stands for root of the host or for strangers"
        ));
    }
    if ADMIN_NAME_MAX_CHARS < name.as_str().len() {
        return Err(format!("`{name}` is too long; {ADMIN_NAME_MAX_CHARS} characters are allowed"));
    }
    Ok(())
}

impl<'a> Written<'a> {
    fn of(account: &'a Account) -> Self {
        let Account { username, kept, role, created_at, changed_at, disabled, failures } = account;
        let (password_hash, salt) = match kept {
            Kept::Phc(phc) => (phc.as_str(), None),
            Kept::Original(hash) => (hash.digits(), Some(hash.salt())),
        };
        Self {
            username,
            password_hash,
            salt,
            role: *role,
            created_at: *created_at,
            changed_at: *changed_at,
            disabled: *disabled,
            failures: (0 < failures.count()).then_some(*failures),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHC: &str = "$pbkdf2-sha256$i=600000,l=32$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn ours() -> String {
        format!(
            r#"[{{"username":"ada","passwordHash":"{PHC}","role":"owner","createdAt":7,"changedAt":9}}]"#
        )
    }

    #[test]
    fn what_is_no_account_is_refused_with_its_place() {
        for (text, expected) in [
            (String::new(), "`.`: EOF"),
            ("{}".to_owned(), "`.`: invalid type"),
            (format!("{}x", ours()), "`.`: trailing characters"),
            (ours().replace("ada", "a b"), "`[0].username`: `a b` is not a user id"),
            (ours().replace("ada", "Admin"), "`[0].username`: `Admin` is nobody's name"),
            (ours().replace("ada", &"a".repeat(65)), "is too long; 64 characters"),
            (ours().replace("owner", "root"), "`[0].role`: unknown variant"),
            (ours().replace(r#""role":"owner","#, ""), "`[0].role`: is missing"),
            (
                ours().replace("600000", "99999999"),
                "`[0].passwordHash`: the hash of a password is none",
            ),
            (ours().replace(":7", ":\"2025\""), "`[0].createdAt`: is not a number"),
            (ours().replace(":7", ":7,\"isRoot\":true"), "unknown field `isRoot`"),
            (ours().replace(":7", ":7,\"salt\":\"00\""), "`[0].passwordHash`: has a `salt`"),
            (
                format!("[{0},{0}]", ours().trim_matches(['[', ']'])),
                "`[1].username`: `ada` is there",
            ),
            (" ".repeat(ADMIN_FILE_MAX_BYTES + 1), "are allowed"),
        ] {
            let found = parse(text.as_bytes()).err().map(|error| error.to_string()).unwrap();
            assert!(found.contains(expected), "{text}\n  gave: {found}\n  want: {expected}");
        }
    }

    #[test]
    fn accounts_survive_being_written_and_read() {
        let original = format!(
            r#"{{"username":"old","passwordHash":"{}","salt":"00ff","createdAt":"2025-01-02T03:04:05Z",
                "mustChangePassword":false,"updatedAt":1735786800000}}"#,
            "ab".repeat(64)
        );
        let text_of_both = format!("{},{original}]", ours().trim_end_matches(']'));
        let accounts = parse(text_of_both.as_bytes()).unwrap_or_default();
        assert_eq!(accounts.len(), 2);
        assert_eq!((accounts[0].role, accounts[0].changed_at), (Role::Owner, 9));
        assert!(matches!(&accounts[1].kept, Kept::Original(hash) if hash.salt() == "00ff"));
        assert_eq!((accounts[1].role, accounts[1].created_at), (Role::Owner, 0));
        assert!(parse(text(&accounts).as_bytes()).is_ok_and(|again| again == accounts));
    }
}
