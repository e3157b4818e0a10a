//! The command line: verbs, their arguments and their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

use crate::command::{
    admin, agent, audit, call, completion, config, deploy, doctor, explain, session, status,
    subscribe, task, token, undeploy, user,
};

/// Deploy and operate agents on this host
#[derive(Debug, Parser)]
#[command(
    name = "ploinkyctl",
    version,
    max_term_width = 100,
    infer_long_args = true,
    disable_help_subcommand = true,
    after_long_help = "\
Example:
  Deploy an installed agent, call it, and look at its log
    sudo ploinkyctl deploy localhost /echo echo
    ploinkyctl call /echo echo.say hello
    ploinkyctl agent logs /echo -f

The manual page ploinkyctl(8) has the exit codes and the shapes of --json."
)]
pub(crate) struct Cli {
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Ask the instance at this socket
    #[arg(long, global = true, hide = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deploy a directory or an installed agent at a path
    Deploy(deploy::Arguments),
    /// Remove a deployment with its code, queue and data
    Undeploy(undeploy::Arguments),
    /// Look at deployed agents, start and stop them
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
An agent is named by its path on localhost (/echo), by domain and path
(example.org/echo), by its id (localhost-echo), or by its name if it is deployed
once.

Example:
  ploinkyctl agent status /echo"
    )]
    Agent(agent::Command),
    /// Look at the configuration
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Example:
  ploinkyctl config check ./config.json"
    )]
    Config(config::Command),
    /// Look at what holds for a request
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Example:
  sudo ploinkyctl explain route localhost/echo"
    )]
    Explain(explain::Command),
    /// Show the host: configuration, instances and all agents
    Status(status::Arguments),
    /// Check the host for everything that Ploinky needs
    Doctor(doctor::Arguments),
    /// Call a command of an agent on this host
    Call(call::Arguments),
    /// Call a command of an agent on this host and print what it says as it comes
    Subscribe(subscribe::Arguments),
    /// Submit tasks that run by themselves, and look after them
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
A task is accepted once it is on disk, and then has exactly one outcome, whatever
restarts. It is known by its id, which `task submit` prints. These verbs ask an
instance over its socket in /run/ploinky, which is for root.

Example:
  id=$(sudo ploinkyctl task submit localhost /echo echo.say hello)
  sudo ploinkyctl task watch $id && sudo ploinkyctl task result $id"
    )]
    Task(task::Command),
    /// List and end sessions of users
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Example:
  sudo ploinkyctl session revoke --user alice"
    )]
    Session(session::Command),
    /// Manage the users of a domain with the bundled Security Agent
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Users belong to the agent at /auth of a domain; these verbs are for the bundled one,
`security`. They ask an instance over its socket in /run/ploinky, which is for root.
Whose password, rights or place are changed or taken has all sessions ended.

Example:
  sudo ploinkyctl deploy localhost /auth security
  sudo ploinkyctl user add alice"
    )]
    User(user::Command),
    /// Make, change and remove the accounts of admins
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Admins log in at /management. Whoever is root of this host needs no account.

Example:
  sudo ploinkyctl admin init"
    )]
    Admin(admin::Command),
    /// Make and revoke tokens, by which programs call agents
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_long_help = "\
Example:
  sudo ploinkyctl token create ci --allow 'build.*'"
    )]
    Token(token::Command),
    /// Show who changed what
    Audit(audit::Arguments),
    /// Print a completion script for a shell
    Completion(completion::Arguments),
}
