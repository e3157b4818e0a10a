//! `ploinkyctl user`: users of a domain, as the bundled Security Agent keeps them.

mod print;

use std::path::Path;

use clap::{Args, Subcommand};
use ploinky_contract::{CommandName, CommandPattern, DeployPath, Domain};
use serde_json::{Value, json};

use crate::failure::{Failure, Stop};
use crate::instance::{AskError, Instances};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::Place;
use crate::secret_input::new_password;
use crate::words::printable;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a user, whose password is typed or stands on standard input
    #[command(after_long_help = "\
A password has 15 characters or more, and is not made of what everybody tries
first. Without --allow the user may call everything but the commands that manage
users, which only `user.*` or the name of one of them gives.

Examples:
  sudo ploinkyctl user add alice
  sudo ploinkyctl user add bob --allow 'shop.*' --allow echo.say <password.txt")]
    Add(Add),
    /// List the users
    #[command(after_long_help = "\
Example:
  sudo ploinkyctl user list --domain example.org")]
    List(OfDomain),
    /// Show all that is kept of a user but the password
    #[command(after_long_help = "\
Example:
  sudo ploinkyctl user show alice")]
    Show(One),
    /// Set another password for a user, who has to log in again
    #[command(after_long_help = "\
It ends all sessions of the user, and the wait after wrong passwords.

Example:
  sudo ploinkyctl user password alice")]
    Password(One),
    /// Let a user log in no more, and end all their sessions
    #[command(after_long_help = "\
Example:
  sudo ploinkyctl user disable alice")]
    Disable(One),
    /// Let a user log in again, also one who has to wait after wrong passwords
    #[command(after_long_help = "\
Example:
  sudo ploinkyctl user enable alice")]
    Enable(One),
    /// Remove a user, and end all their sessions
    #[command(after_long_help = "\
Example:
  sudo ploinkyctl user remove alice")]
    Remove(One),
    /// Set what a user may call, who has to log in again
    #[command(after_long_help = "\
A pattern is the name of a command, `namespace.*` or `*`. `user.*` lets somebody
manage users, as far as their own rights reach.

Examples:
  sudo ploinkyctl user permissions alice 'shop.*' echo.say
  sudo ploinkyctl user permissions alice --none")]
    Permissions(Permissions),
}

#[derive(Args, Debug)]
pub(crate) struct OfDomain {
    /// Domain whose agent at /auth is asked
    #[arg(long, value_name = "DOMAIN", default_value = "localhost")]
    domain: Domain,
}

#[derive(Args, Debug)]
pub(crate) struct One {
    /// Name of the user
    name: String,
    #[command(flatten)]
    of: OfDomain,
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Name of the user: up to 64 printable ASCII characters without space, quotes and backslash
    name: String,
    /// What the user may call: a command, `namespace.*` or `*`; may be given several times
    #[arg(long = "allow", value_name = "PATTERN")]
    allowed: Vec<CommandPattern>,
    #[command(flatten)]
    of: OfDomain,
}

#[derive(Args, Debug)]
pub(crate) struct Permissions {
    /// Name of the user
    name: String,
    /// What the user may call: a command, `namespace.*` or `*`
    #[arg(value_name = "PATTERN", required_unless_present = "none")]
    patterns: Vec<CommandPattern>,
    /// The user may call nothing
    #[arg(long, conflicts_with = "patterns")]
    none: bool,
    #[command(flatten)]
    of: OfDomain,
}

/// How the agent begins to say that there is no such user; else nobody is there to say anything.
const NO_USER: &str = "there is no user";

/// The agent that is asked.
struct Desk {
    instances: Instances,
    place: Place,
}

/// Runs one of the verbs.
pub(crate) fn run(
    command: &Command,
    socket: Option<&Path>,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let desk = |OfDomain { domain }: &OfDomain| Desk {
        instances: Instances::new(&machine.paths().runtime, socket),
        place: Place { domain: domain.clone(), path: DeployPath::auth() },
    };
    match command {
        Command::Add(Add { name, allowed, of }) => {
            let what = format!("cannot add the user {}", printable(name));
            let password = new_password(machine, &printable(name), &what)?;
            let mut parameters = vec![json!(name), json!(password.reveal())];
            if !allowed.is_empty() {
                parameters.push(json!(allowed));
            }
            let user = desk(of).ask("user.add", &parameters, what)?;
            told(name, "added", &user, output)
        }
        Command::List(of) => {
            let desk = desk(of);
            let what = format!("cannot list the users of {}", of.domain);
            let users = desk.ask("user.list", &[], what)?;
            print::list(&users, machine.now_usec(), output)
        }
        Command::Show(One { name, of }) => {
            let what = format!("cannot show the user {}", printable(name));
            let user = desk(of).ask("user.show", &[json!(name)], what)?;
            print::one(&user, output)
        }
        Command::Password(One { name, of }) => {
            let what = format!("cannot set the password of {}", printable(name));
            let password = new_password(machine, &printable(name), &what)?;
            let parameters = [json!(name), json!(password.reveal())];
            let done = desk(of).ask("user.password", &parameters, what)?;
            told(name, "has a new password", &done, output)
        }
        Command::Disable(one) => change(&desk(&one.of), one, "user.disable", "disable", output),
        Command::Enable(one) => change(&desk(&one.of), one, "user.enable", "enable", output),
        Command::Remove(one) => change(&desk(&one.of), one, "user.remove", "remove", output),
        Command::Permissions(Permissions { name, patterns, none: _, of }) => {
            let what = format!("cannot set what {} may call", printable(name));
            let parameters = [json!(name), json!(patterns)];
            let done = desk(of).ask("user.permissions", &parameters, what)?;
            told(name, "has new permissions", &done, output)
        }
    }
}

fn change(
    desk: &Desk,
    one: &One,
    command: &str,
    verb: &str,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let what = format!("cannot {verb} the user {}", printable(&one.name));
    let done = desk.ask(command, &[json!(one.name)], what)?;
    told(&one.name, &format!("{verb}d"), &done, output)
}

fn told(name: &str, done: &str, data: &Value, output: &mut Output<'_>) -> Result<(), Stop> {
    if output.json {
        return Ok(output.value(data)?);
    }
    Ok(output.out.line(&format!("{} {done}", printable(name)))?)
}

impl Desk {
    fn ask(&self, command: &str, parameters: &[Value], what: String) -> Result<Value, Failure> {
        let Self { instances, place } = self;
        let command: CommandName =
            command.parse().map_err(|e| Failure::refused(what.clone()).because(&e))?;
        instances.call(place, &command, parameters).map_err(|error| {
            let failure = error.failure(what);
            let AskError::Refused(refusal) = &error else { return failure };
            let domain = &place.domain;
            match (refusal.status, refusal.code.as_deref()) {
                (404, Some("UNKNOWN_COMMAND")) => failure.hint(format!(
                    "the agent at {place} is another than the bundled one; it keeps its users its own way"
                )),
                (404, _) if refusal.message.as_deref().is_some_and(|m| m.starts_with(NO_USER)) => {
                    failure.hint("`ploinkyctl user list` shows the users")
                }
                (404, _) => failure.hint(format!(
                    "no agent keeps users of {domain}; deploy one: ploinkyctl deploy {domain} /auth security"
                )),
                _ => failure,
            }
        })
    }
}
