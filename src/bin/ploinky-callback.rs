//! Posts outcomes of tasks, unit `ploinky-callback.service`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploinky_callback::main()
}
