//! `ploinkyctl session`: sessions of users, whose tokens nobody can tell.

use std::path::Path;

use clap::{Args, Subcommand};
use ploinky_contract::{CommandPattern, Domain, SESSION_ID_DIGITS, SessionDocument, UserId};
use serde::Serialize;

use crate::failure::Stop;
use crate::instance::Instances;
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::table::{Row, cell, table};
use crate::task_words::age;
use crate::words::count;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List sessions, the one that was used last first
    #[command(after_long_help = "\
A session ends without use and by its age, see domains[].auth in ploinky-config(5).

Example:
  sudo ploinkyctl session list --user alice")]
    List(List),
    /// End a session, or all of a user; no instance accepts its token then
    #[command(after_long_help = "\
Examples:
  sudo ploinkyctl session revoke 0123456789abcdef
  sudo ploinkyctl session revoke --user alice --domain example.org")]
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Of one user
    #[arg(long)]
    user: Option<UserId>,
    /// Of one domain
    #[arg(long)]
    domain: Option<Domain>,
    /// Show times as they are, in UTC
    #[arg(long)]
    utc: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Id of the session
    #[arg(required_unless_present = "user", conflicts_with_all = ["user", "domain"], value_parser = id)]
    id: Option<String>,
    /// All sessions of this user
    #[arg(long)]
    user: Option<UserId>,
    /// Of this domain alone
    #[arg(long, requires = "user")]
    domain: Option<Domain>,
}

#[derive(Serialize)]
struct Ended {
    ended: u64,
}

fn id(text: &str) -> Result<String, String> {
    let is_id = text.len() == SESSION_ID_DIGITS
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| text.to_owned()).ok_or_else(|| {
        format!("an id is the {SESSION_ID_DIGITS} lower-case hexadecimal digits of `session list`")
    })
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    socket: Option<&Path>,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let instances = Instances::new(&machine.paths().runtime, socket);
    match command {
        Command::List(arguments) => list(arguments, &instances, machine.now_usec(), output),
        Command::Revoke(arguments) => revoke(arguments, &instances, output),
    }
}

fn list(
    arguments: &List,
    instances: &Instances,
    now_usec: u64,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let List { user, domain, utc } = arguments;
    let sessions = instances
        .sessions(user.as_ref(), domain.as_ref())
        .map_err(|e| e.failure("cannot list the sessions"))?;
    if output.json {
        return Ok(output.value(&sessions)?);
    }
    if sessions.is_empty() {
        return Ok(output.err.line("no sessions")?);
    }
    let headings = ["ID", "USER", "DOMAIN", "BEGAN", "USED", "ENDS", "MAY CALL"];
    let time = |text: &str| if *utc { text.to_owned() } else { age(text, now_usec) };
    let rows: Vec<Row> = sessions.iter().map(|session| row(session, &time)).collect();
    Ok(table(&headings, &rows, output)?)
}

fn row(session: &SessionDocument, time: &dyn Fn(&str) -> String) -> Row {
    let SessionDocument { id, user_id, domain, allowed_commands, created_at, used_at, expires_at } =
        session;
    let patterns: Vec<_> =
        allowed_commands.patterns().iter().map(CommandPattern::to_string).collect();
    let cells = vec![
        id.clone(),
        user_id.to_string(),
        cell(domain.as_ref()),
        time(created_at),
        time(used_at),
        cell(expires_at.as_ref()),
        cell((!patterns.is_empty()).then(|| patterns.join(" "))),
    ];
    Row { tone: Tone::Plain, cells }
}

fn revoke(arguments: &Revoke, instances: &Instances, output: &mut Output<'_>) -> Result<(), Stop> {
    let Revoke { id, user, domain } = arguments;
    let ended = match (id, user) {
        (Some(id), _) => {
            let what = format!("cannot end the session {id}");
            instances.end_session(id).map_err(|e| e.failure(&what))?;
            1
        }
        (None, Some(user)) => {
            let what = format!("cannot end the sessions of {user}");
            instances.end_sessions(user, domain.as_ref()).map_err(|e| e.failure(&what))?
        }
        // The command line asks for one of them.
        (None, None) => 0,
    };
    if output.json {
        return Ok(output.value(&Ended { ended })?);
    }
    let number = count(usize::try_from(ended).unwrap_or(usize::MAX), "session", "sessions");
    Ok(output.out.line(&format!("{number} ended"))?)
}
