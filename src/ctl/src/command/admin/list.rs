//! `ploinkyctl admin list`.

use ploinky_control::{AdminAccount, ControlError};
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::table::{Row, cell, table};
use crate::words;

/// An account as a program reads it. Times are RFC 3339.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    username: String,
    role: String,
    state: &'static str,
    failures: u32,
    sessions: u32,
    created_at: Option<String>,
    changed_at: Option<String>,
}

/// Prints all accounts.
pub(super) fn run(machine: &dyn Machine, output: &mut Output<'_>) -> Result<(), Stop> {
    let failed = |e: &ControlError| Failure::of_control("cannot list the admins", e);
    let accounts = machine.accounts().map_err(|e| failed(&e))?;
    let reports: Vec<Report> =
        accounts.list().map_err(|e| failed(&e))?.into_iter().map(Report::from).collect();
    if output.json {
        return Ok(output.value(&reports)?);
    }
    if reports.is_empty() {
        return Ok(output
            .err
            .line("there is no admin; `ploinkyctl admin init` makes the first")?);
    }
    let rows: Vec<Row> = reports.into_iter().map(Report::row).collect();
    let headings = ["NAME", "ROLE", "STATE", "FAILURES", "SESSIONS", "PASSWORD SET"];
    Ok(table(&headings, &rows, output)?)
}

impl From<AdminAccount> for Report {
    fn from(account: AdminAccount) -> Self {
        let AdminAccount {
            username,
            role,
            created_at,
            changed_at,
            disabled,
            failures,
            closed_seconds,
            original: _,
            sessions,
        } = account;
        let moment = |seconds: Option<u64>| words::moment(seconds?.saturating_mul(1_000_000));
        let state = match closed_seconds {
            _ if disabled => "disabled",
            None => "open",
            Some(u64::MAX) => "locked",
            Some(_) => "closed",
        };
        let (created_at, changed_at) = (moment(created_at), moment(changed_at));
        Self { username, role, state, failures, sessions, created_at, changed_at }
    }
}

impl Report {
    fn row(self) -> Row {
        let Self { username, role, state, failures, sessions, created_at: _, changed_at } = self;
        let tone = match state {
            "open" => Tone::Good,
            "locked" => Tone::Bad,
            _ => Tone::Notice,
        };
        let (failures, sessions) = (failures.to_string(), sessions.to_string());
        let cells = vec![username, role, state.to_owned(), failures, sessions, cell(changed_at)];
        Row { tone, cells }
    }
}
