//! The HTTP worker: from a connection to a task file, and from a result file to the answer.
//!
//! ```text
//!  listener      sockets from systemd, connections, drain
//!    clients     who is at the other end, and how much of this instance one of them may take
//!    edge        one request: the order of the stages
//!  guardian      Parts, Body       → Head, Admitted   or Refusal
//!  routes        Head, path        → Target           (reload replaces the table)
//!  orchestrator  Admitted          → Ticket → Outcome or Refusal
//!  static_files  path, conditions  → Found
//!  reply         Outcome, Found, Refusal → Response   the only module that knows status codes
//! ```
//!
//! One thread turns the event loop and makes the small system calls of the queue in line. The process has no
//! privilege, opens no socket of its own and writes nothing but task files.

mod arguments;
mod worker;

mod readiness;

mod listener;

mod clients;

mod edge;
mod health;
mod management;
mod sessions;
mod tasks;

mod supervisor;

mod guardian;

mod grants;

mod login;

mod routes;

mod task_queue;

mod orchestrator;

mod task_key;

mod byte_budget;

mod output;
mod static_files;

mod streams;

mod uploads;

mod refusal;
mod reply;

mod janitor;
mod journal;
mod reload;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

use std::process::ExitCode;

use clap::Parser as _;
use ploinky_contract::chain;
use ploinky_contract::exit;
use tokio::signal::unix::{SignalKind, signal};

pub use self::arguments::Arguments;
#[cfg(feature = "bench")]
pub use self::guardian::Decision;
pub use self::listener::Inherited;
pub use self::worker::{StartError, serve};
use crate::listener::ListenError;

/// The process `ploinkyd`.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Help and version are no errors. Nobody may be there to read them.
            usage.print().ok();
            return if usage.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    ploinky_journal::start("ploinkyd");
    let sockets = match listener::inherited(&arguments) {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            return match error {
                ListenError::None => exit::USAGE.into(),
                ListenError::Inherited(_)
                | ListenError::Bind { .. }
                | ListenError::BindAdmin { .. } => exit::REFUSED.into(),
            };
        }
    };
    match serve(&arguments, sockets, asked_to_stop()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            match error {
                StartError::Boot(_) | StartError::BootId(_) => exit::CONFIG.into(),
                StartError::Runtime(_)
                | StartError::Invocation(_)
                | StartError::Lock { .. }
                | StartError::Sockets(_) => exit::REFUSED.into(),
            }
        }
    }
}

/// SIGTERM from systemd, or an interrupt at a terminal.
async fn asked_to_stop() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _signal = terminate.recv() => {}
                _signal = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!("cannot handle signals: {error}");
            std::future::pending::<()>().await;
        }
    }
}
