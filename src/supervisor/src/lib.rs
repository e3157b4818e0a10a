//! The privileged service of Ploinky: desired state to units.
//!
//! ```text
//!  ploinkyctl ── io.ploinky.Supervisor1 ──► verbs ──► authorize (root, or polkit)
//!       └─────── io.ploinky.Accounts1 ────► account_verbs ──► admins ──► .admin, adminSessions/, tokens/
//!  workers ───── the same, on a socket ─────┘ (an admin's token)
//!                                             │
//!  an editor ──► config.json ──► watch ───►  lifecycle ◄──► config_store, uid_map, agent_tree
//!                                             │              (what is wanted, on disk)
//!                                  quadlet + unit_text       (manifest → unit; pure)
//!                                             │
//!                                           plan             (installed + wanted → steps; pure)
//!                                             │
//!                                           apply ──► unit_store ──► systemd ──► Quadlet ──► podman
//! ```
//!
//! It runs no program, opens no network socket, knows no HTTP and no task. What it writes below
//! `/etc/containers/systemd` is root's command line, so that every text on the way there is a parsed type, and
//! the last step refuses what it would have to escape.

mod account_verbs;
mod accounts;
mod admins;
mod agent_tree;
mod apply;
mod authorize;
mod config_store;
mod directory;
#[cfg(test)]
mod introspected;
mod lane;
mod lifecycle;
mod options;
mod plan;
mod podman;
pub mod quadlet;
mod random;
mod serve;
mod socket;
mod state_file;
mod systemd;
mod task_key;
mod tree;
mod uid_map;
mod unit_store;
mod unit_text;
mod verbs;
mod watch;

use std::process::ExitCode;

use ploinky_contract::paths::RuntimeDir;
use ploinky_contract::{AgentId, exit};

use accounts::Accounts;
use lane::{Lanes, Made};
use options::{Command, Options};

/// The process: arguments, then the journal, then work.
pub fn main() -> ExitCode {
    let options = match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => options,
        Ok(Command::MakeLane(agent, uid_first)) => return make_lane(&agent, uid_first),
        Ok(Command::Version) => return say_version(),
        Err(error) => return refuse_arguments(&error),
    };
    ploinky_journal::start("ploinky-supervisor");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot begin: {error}");
            return ExitCode::from(exit::REFUSED);
        }
    };
    match runtime.block_on(serve::serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", ploinky_contract::chain(&error));
            error.exit_code()
        }
    }
}

/// What the unit of an agent does before its container starts; its journal has what is said here.
#[expect(clippy::print_stderr, reason = "the journal of the agent's unit")]
fn make_lane(agent: &AgentId, uid_first: u32) -> ExitCode {
    let Options { runtime, etc, .. } = Options::default();
    let accounts = match Accounts::read(&etc) {
        Ok(accounts) => accounts,
        Err(error) => {
            eprintln!("error: {}", ploinky_contract::chain(&error));
            return ExitCode::from(exit::CONFIG);
        }
    };
    match Lanes::new(RuntimeDir::new(runtime), accounts).make(agent, uid_first) {
        Ok(Made::Queue) => ExitCode::SUCCESS,
        Ok(Made::Nothing(why)) => {
            let why = ploinky_contract::chain(&why);
            eprintln!("all calls of {agent} go through the disk: {why}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", ploinky_contract::chain(&error));
            ExitCode::from(exit::REFUSED)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer to --version")]
fn say_version() -> ExitCode {
    println!("ploinky-supervisor {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "there is no journal before the arguments are known")]
fn refuse_arguments(error: &options::UsageError) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(exit::USAGE)
}
