//! The command line: verbs, their arguments and their help.

use clap::{Parser, Subcommand};

use crate::command::{agent, call, completion, config, deploy, doctor, status, undeploy};

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
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deploy a directory or an installed agent at a path
    Deploy(deploy::Arguments),
    /// Remove a deployment with its code and its queue
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
    /// Show the host: configuration, instances and all agents
    Status(status::Arguments),
    /// Check the host for everything that Ploinky needs
    Doctor(doctor::Arguments),
    /// Call a command of an agent on this host
    Call(call::Arguments),
    /// Print a completion script for a shell
    Completion(completion::Arguments),
}
