//! The privileged service of Ploinky: desired state to units.

pub mod quadlet;
mod unit_text;

/// The process.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
