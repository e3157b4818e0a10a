//! `ploinkyctl audit`.

use clap::Args;
use ploinky_contract::exit;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;

/// What a program gets of each line besides its time.
const FIELDS: &str = "--output-fields=ACTOR,ACTION,OBJECT,BEFORE,AFTER,RESULT";

#[derive(Args, Debug)]
#[command(after_long_help = "\
Each line is one act that changed something, or was to: deployments, admins, tokens,
logins. Reading it needs root or the group systemd-journal.

Example:
  sudo ploinkyctl audit --since yesterday --actor ada")]
pub(crate) struct Arguments {
    /// Only since then: yesterday, -1h, 2026-01-31 (systemd.time(7))
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only what this one did: an admin, `token NAME`, root
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

/// Goes on as journalctl.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { since, actor } = arguments;
    let mut words =
        vec!["journalctl".to_owned(), "--no-pager".to_owned(), "--lines=all".to_owned()];
    words.extend(since.iter().map(|since| format!("--since={since}")));
    if output.json {
        words.extend(["--output=json".to_owned(), FIELDS.to_owned()]);
    }
    // Anybody can write such a field into the journal; only services of ours count.
    words.push("AUDIT=1".to_owned());
    words.push("_SYSTEMD_SLICE=ploinky.slice".to_owned());
    words.extend(actor.iter().map(|actor| format!("ACTOR={actor}")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let error = machine.become_program(&words);
    Err(Failure::new(exit::UNAVAILABLE, "cannot run journalctl").because(&error).into())
}
