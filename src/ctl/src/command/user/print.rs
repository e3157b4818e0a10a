//! Users for people.

use ploinky_contract::AllowedCommands;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Failure, Stop};
use crate::output::{Output, Tone};
use crate::table::{Row, table};
use crate::words::{printable, span};

#[derive(Deserialize)]
struct List {
    users: Vec<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    #[serde(rename = "userId")]
    name: String,
    allowed_commands: Option<AllowedCommands>,
    disabled: bool,
    created_at: u64,
    password_set_at: u64,
    failures: u32,
}

impl User {
    fn state(&self) -> &'static str {
        if self.disabled { "disabled" } else { "enabled" }
    }
}

/// Prints all users.
pub(super) fn list(data: &Value, now_usec: u64, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        return Ok(output.value(data)?);
    }
    let List { users } = parsed(data)?;
    if users.is_empty() {
        return Ok(output.err.line("no users")?);
    }
    let age = |seconds: u64| span((now_usec / 1_000_000).saturating_sub(seconds));
    let rows: Vec<Row> = users
        .iter()
        .map(|user| Row {
            tone: if user.disabled { Tone::Notice } else { Tone::Good },
            cells: vec![
                user.name.clone(),
                user.state().to_owned(),
                age(user.created_at),
                age(user.password_set_at),
                user.failures.to_string(),
            ],
        })
        .collect();
    Ok(table(&["USER", "STATE", "AGE", "PASSWORD", "FAILURES"], &rows, output)?)
}

/// Prints one user.
pub(super) fn one(data: &Value, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        return Ok(output.value(data)?);
    }
    let user: User = parsed(data)?;
    let allowed = user.allowed_commands.as_ref().map_or(&[][..], AllowedCommands::patterns);
    let patterns: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    for (word, value) in [
        ("user", printable(&user.name)),
        ("state", user.state().to_owned()),
        ("may call", if patterns.is_empty() { "nothing".to_owned() } else { patterns.join(" ") }),
        ("wrong passwords in a row", user.failures.to_string()),
    ] {
        output.out.line(&format!("{word}: {value}"))?;
    }
    Ok(())
}

fn parsed<T: for<'de> Deserialize<'de>>(data: &Value) -> Result<T, Failure> {
    T::deserialize(data).map_err(|e| {
        Failure::refused("what the agent answered is not what the bundled one says").because(&e)
    })
}
