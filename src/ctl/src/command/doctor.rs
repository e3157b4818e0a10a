//! `ploinkyctl doctor`.

use clap::Args;
use ploinky_contract::exit;
use serde::Serialize;

use crate::doctor::{Finding, Verdict, examine};
use crate::failure::Stop;
use crate::machine::Machine;
use crate::output::{Output, Tone, WriteError};
use crate::words::count;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Nothing is changed. Exit code 1 means that at least one check failed; warnings do
not count. Some checks see more when run as root.

Example:
  sudo ploinkyctl doctor --json | jq '.checks[] | select(.verdict != \"ok\")'")]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

/// Runs all checks and prints what each found.
pub(crate) fn run(
    _arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let checks = examine(machine);
    let failed = checks.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if output.json {
        output.value(&Report { ok: failed == 0, checks })?;
    } else {
        print(&checks, failed, output)?;
    }
    if failed == 0 { Ok(()) } else { Err(Stop::Exit(exit::REFUSED)) }
}

fn print(checks: &[Finding], failed: usize, output: &mut Output<'_>) -> Result<(), WriteError> {
    let width = checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for Finding { check, verdict, message, fix } in checks {
        let (word, tone) = match verdict {
            Verdict::Ok => ("ok  ", Tone::Good),
            Verdict::Warn => ("warn", Tone::Notice),
            Verdict::Fail => ("fail", Tone::Bad),
        };
        let word = output.out.paint(tone, word);
        let rest = crate::words::printable(message);
        output.out.line(&format!("{word}  {check:<width$}  {rest}"))?;
        if let Some(fix) = fix {
            let label = format!("      {:width$}  fix: ", "");
            output.out.labelled(Tone::Plain, &label, fix)?;
        }
    }
    let warned = checks.iter().filter(|finding| finding.verdict == Verdict::Warn).count();
    let verdict = match (failed, warned) {
        (0, 0) => "this host is fit".to_owned(),
        (0, warned) => format!("this host is fit; {}", count(warned, "warning", "warnings")),
        (failed, _) => {
            format!("this host is not fit: {}", count(failed, "check failed", "checks failed"))
        }
    };
    output.out.line("")?;
    output.out.line(&verdict)
}
