//! The privileged service, unit `ploinky-supervisor.service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_supervisor::main()
}
