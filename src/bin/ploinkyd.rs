//! The unprivileged HTTP worker, unit `ploinky@N.service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_server::main()
}
