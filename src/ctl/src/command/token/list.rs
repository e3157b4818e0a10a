//! `ploinkyctl token list`.

use ploinky_control::{ControlError, TokenReport};
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::table::{Row, cell, table};
use crate::words;

/// Digits of a digest that a person sees; `token revoke` takes them.
const SHOWN_DIGITS: usize = 12;

/// A token as a program reads it. Times are RFC 3339.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: String,
    digest: String,
    user: String,
    allowed_commands: Vec<String>,
    domain: Option<String>,
    paths: Option<Vec<String>>,
    role: Option<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

/// Prints all tokens.
pub(super) fn run(machine: &dyn Machine, output: &mut Output<'_>) -> Result<(), Stop> {
    let failed = |e: &ControlError| Failure::of_control("cannot list the tokens", e);
    let accounts = machine.accounts().map_err(|e| failed(&e))?;
    let reports: Vec<Report> =
        accounts.tokens().map_err(|e| failed(&e))?.into_iter().map(Report::from).collect();
    if output.json {
        return Ok(output.value(&reports)?);
    }
    if reports.is_empty() {
        return Ok(output.err.line("there is no token")?);
    }
    let rows: Vec<Row> = reports.into_iter().map(Report::row).collect();
    let headings = ["NAME", "DIGEST", "USER", "COMMANDS", "WHERE", "ROLE", "EXPIRES", "LAST USED"];
    Ok(table(&headings, &rows, output)?)
}

impl From<TokenReport> for Report {
    fn from(token: TokenReport) -> Self {
        let TokenReport {
            name,
            digest,
            user,
            commands,
            domain,
            paths,
            role,
            created_at,
            expires_at,
            used_at,
        } = token;
        let moment = |seconds: u64| words::moment(seconds.saturating_mul(1_000_000));
        Self {
            name,
            digest,
            user,
            allowed_commands: commands,
            domain,
            paths,
            role,
            created_at: moment(created_at),
            expires_at: expires_at.and_then(moment),
            last_used_at: used_at.and_then(moment),
        }
    }
}

impl Report {
    fn row(self) -> Row {
        let place = match (self.domain, self.paths) {
            (None, None) => "everywhere".to_owned(),
            (Some(domain), None) => domain,
            (None, Some(paths)) => paths.join(" "),
            (Some(domain), Some(paths)) => format!("{domain} {}", paths.join(" ")),
        };
        let cells = vec![
            self.name,
            self.digest.chars().take(SHOWN_DIGITS).collect(),
            self.user,
            self.allowed_commands.join(" "),
            place,
            cell(self.role),
            self.expires_at.unwrap_or_else(|| "never".to_owned()),
            cell(self.last_used_at),
        ];
        Row { tone: Tone::Plain, cells }
    }
}
