//! The systemd generator: settings of `config.json` to enabled instances.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_generator::main()
}
