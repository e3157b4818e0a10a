//! `ploinky-security`, the worker of the bundled Security Agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_security::main()
}
