//! The helper inside every agent container: serves the task queue with the agent's programs.
//!
//! ```text
//!  requests/ ──hint──► inbox ──id──► runner (one thread per task at once)
//!                                      │ claim
//!                                      ├─► handler: a program per task     ─┐
//!                                      └─► worker: a line to a process that │ value or error
//!                                          lives on; keeper starts it anew ─┘
//!  responses/ or errors/ ◄── record ───┘
//!  urgent/ ──hint──► interrupts ──► the runner that has the task
//!  stages of the runners, locks, liveness command ──► heartbeat ──► systemd's watchdog
//! ```
//!
//! Blocking threads, because there are few and each waits for one thing. The thread that the kernel wakes for
//! a task carries it out to the end. No HTTP, no network, no shell.

mod arguments;
mod boot_time;
mod compact_json;
mod file_result;
mod handler;
mod health;
mod heartbeat;
mod host;
mod inbox;
mod interrupt;
mod job;
mod lane;
mod lanes;
mod lines;
mod log;
mod manifest_file;
mod program;
mod progress;
mod retry;
mod run;
mod runner;
mod said_json;
mod schedule;
mod serve;
mod spoken_error;
mod stage;
mod stop;
mod stream;
mod sweeper;
mod wishes;
mod worker;

use std::process::ExitCode;

use ploinky_contract::exit;

use crate::arguments::{Arguments, Verb};

/// Does what the command line says; the whole program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(e) => {
            log::failure(&e);
            return ExitCode::from(exit::USAGE);
        }
    };
    let done = match arguments.verb {
        Verb::Run => serve::serve(&arguments).map_err(|e| {
            let code = e.exit_code();
            log::failure(&e);
            code
        }),
        Verb::Host => match host::host(&arguments) {
            Ok(code) => return ExitCode::from(code),
            Err(e) => {
                let code = e.exit_code();
                log::failure(&e);
                Err(code)
            }
        },
        Verb::Health => health::check(&arguments).map_err(|e| {
            log::failure(&e);
            exit::REFUSED
        }),
        Verb::Version => {
            log::answer(&format!("agent-core {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}
