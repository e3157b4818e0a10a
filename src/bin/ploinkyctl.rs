//! The operator's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_ctl::main()
}
