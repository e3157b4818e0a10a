//! One module per verb: its arguments, what it asks, what it prints.

pub(crate) mod admin;
pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod call;
mod called;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod subscribe;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod undeploy;
pub(crate) mod user;

use crate::cli::{Cli, Command};
use crate::failure::Stop;
use crate::machine::Machine;
use crate::output::Output;

/// Runs one verb.
pub(crate) fn run(
    Cli { command, socket, json: _ }: Cli,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    match command {
        Command::Deploy(arguments) => deploy::run(&arguments, machine, output),
        Command::Undeploy(arguments) => undeploy::run(&arguments, machine, output),
        Command::Agent(command) => agent::run(&command, machine, output),
        Command::Config(command) => config::run(&command, machine, output),
        Command::Explain(command) => explain::run(&command, machine, output),
        Command::Status(arguments) => status::run(&arguments, machine, output),
        Command::Doctor(arguments) => doctor::run(&arguments, machine, output),
        Command::Call(arguments) => call::run(&arguments, machine, output),
        Command::Task(command) => task::run(&command, socket.as_deref(), machine, output),
        Command::Subscribe(arguments) => {
            subscribe::run(&arguments, socket.as_deref(), machine, output)
        }
        Command::Session(command) => session::run(&command, socket.as_deref(), machine, output),
        Command::User(command) => user::run(&command, socket.as_deref(), machine, output),
        Command::Admin(command) => admin::run(&command, machine, output),
        Command::Token(command) => token::run(&command, machine, output),
        Command::Audit(arguments) => audit::run(&arguments, machine, output),
        Command::Completion(arguments) => completion::run(&arguments, output),
    }
}
