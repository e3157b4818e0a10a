//! The bundled Security Agent: users with passwords, kept in files of its own.
//!
//! ```text
//! agent-core ── a task, one line ──▶ worker ──▶ order ──▶ desk ──▶ book     users/NAME.json, failures/NAME
//!            ◀── an answer, one line ──┘          │         └────▶ seats    one password is hashed at a time
//!                                                 └ rights: who may have it done
//! ```
//!
//! Several processes of it run at once and share nothing but the directory. It knows nothing of sessions: the
//! server makes one of what `login` answers, and ends those of whom `revokeUser` names.

mod book;
mod desk;
mod order;
mod refused;
mod rights;
mod seats;
mod user;
mod user_name;
mod worker;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use ploinky_contract::{chain, exit};

use self::desk::Desk;

/// How far the processes stand back behind tasks: where these take all there is, a login still comes to its end in a
/// second.
const NICENESS: i32 = 10;

/// Serves tasks until there are no more. The one argument is the directory of the users.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return fail("usage: ploinky-security DIRECTORY", exit::USAGE);
    };
    if let Err(error) = rustix::process::nice(NICENESS) {
        // It serves as well without.
        writeln!(io::stderr(), "cannot stand back behind tasks: {error}").ok();
    }
    let desk = match Desk::open(&PathBuf::from(directory)) {
        Ok(desk) => desk,
        Err(error) => return fail(&chain(&error), exit::REFUSED),
    };
    match worker::serve(&desk, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(&error), exit::REFUSED),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    // Nobody is left to hear of a stderr that is closed.
    writeln!(io::stderr(), "{message}").ok();
    ExitCode::from(code)
}
