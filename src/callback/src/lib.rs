//! Posts the outcomes of tasks to the URLs that their callers gave.
//!
//! ```text
//! callbacks/<id>  ──hint──► desk    which outcomes wait, which are there, when to try again
//! responses/<id>  ──hint──►   │ one that is due
//!                             ▼
//!                         messenger (some threads)  payload → signature → curl → verdict
//! ```
//!
//! The only process of Ploinky that opens connections to other hosts; it takes none. It runs only as long as
//! there is something to post: a path unit starts it, and it ends when it had nothing to do for a while.
//! TLS, proxies and names are curl's business.

mod agent;
mod arguments;
mod curl;
mod desk;
mod messenger;
mod payload;
mod post;
mod retry;
mod run;

use std::process::ExitCode;

use clap::Parser as _;
use ploinky_contract::{chain, exit};

use crate::arguments::Arguments;

/// The process `ploinky-callback`.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Help and version are no errors. Nobody may be there to read them.
            usage.print().ok();
            return if usage.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    ploinky_journal::start("ploinky-callback");
    match run::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            exit::REFUSED.into()
        }
    }
}
