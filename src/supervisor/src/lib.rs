//! The privileged service of Ploinky: desired state to units.

mod accounts;
mod config_store;
pub mod quadlet;
mod state_file;
mod tree;
mod uid_map;
mod unit_text;
mod watch;

/// The process.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
