//! The helper inside every agent container; see the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_core::main()
}
