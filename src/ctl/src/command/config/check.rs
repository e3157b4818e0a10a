//! `ploinkyctl config check`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::{Config, exit};
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::{Output, Tone};
use crate::settings::{Effective, Origin};
use crate::words::{count, printable};

/// A configuration in which every setting is the default.
const NOTHING_SET: &[u8] = br#"{"domains":[{"name":"localhost"}],"deployments":[]}"#;

#[derive(Args, Debug)]
#[command(after_long_help = "\
The file is read here; the supervisor is not asked. Exit code 78 means that a
rule is broken.

Example:
  ploinkyctl config check ./config.json")]
pub(crate) struct Arguments {
    /// The file; /var/lib/ploinky/config.json if absent
    file: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    file: String,
    valid: bool,
    problem: Option<String>,
    domains: Option<usize>,
    deployments: Option<usize>,
    settings: Option<Effective>,
}

/// Parses the file as the supervisor would.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let path = arguments.file.clone().unwrap_or_else(|| machine.paths().state.config());
    let file = path.display().to_string();
    let text = match machine.read(&path, CONFIG_MAX_BYTES) {
        Ok(text) => text,
        // The host's own file is made when something is deployed.
        Err(e) if e.kind() == io::ErrorKind::NotFound && arguments.file.is_none() => {
            output.err.line(&format!("{file} does not exist; the defaults hold"))?;
            NOTHING_SET.to_vec()
        }
        Err(e) => {
            return Err(Failure::refused(format!("cannot read {}", printable(&file)))
                .because(&e)
                .into());
        }
    };
    match Config::parse(&text) {
        Err(e) => {
            if output.json {
                output.value(&Report {
                    file: file.clone(),
                    valid: false,
                    problem: Some(e.to_string()),
                    domains: None,
                    deployments: None,
                    settings: None,
                })?;
            }
            Err(Failure::new(exit::CONFIG, format!("{} is not valid", printable(&file)))
                .because(&e)
                .hint("ploinky-config(5) lists all keys; until it is repaired, what was applied last stays")
                .into())
        }
        Ok(config) => {
            let settings = Effective::new(&config, &text);
            let (domains, deployments) = (config.domains.len(), config.deployments.len());
            if output.json {
                return Ok(output.value(&Report {
                    file,
                    valid: true,
                    problem: None,
                    domains: Some(domains),
                    deployments: Some(deployments),
                    settings: Some(settings),
                })?);
            }
            let verdict = output.out.paint(Tone::Good, "valid");
            output.out.line(&format!(
                "{} is {verdict}: {}, {}",
                printable(&file),
                count(domains, "domain", "domains"),
                count(deployments, "deployment", "deployments")
            ))?;
            for (key, value, origin) in settings.rows() {
                let origin = match origin {
                    Origin::File => "from the file",
                    Origin::Default => "default",
                };
                output.out.line(&format!("  {key:<37} {value:<6} {origin}"))?;
            }
            Ok(())
        }
    }
}
