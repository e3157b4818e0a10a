//! Passwords from a person, or from a program: typed without being shown, or the first line of standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use ploinky_password::{PASSWORD_MAX_BYTES, Password};

use crate::failure::Failure;
use crate::machine::Machine;

/// A password, and where it came from.
#[derive(Debug)]
pub(crate) enum Secret {
    /// A person typed it, and may have mistyped it.
    Typed(Password),
    /// It stood on standard input.
    Piped(Password),
}

/// Reads one password; asks with `prompt` if somebody sits at a terminal.
///
/// # Errors
/// When there is none, or it is longer than a password may be, or no text.
pub(crate) fn read(prompt: &str) -> io::Result<Secret> {
    let input = io::stdin();
    if input.is_terminal() {
        let typed = rpassword::prompt_password(prompt)?;
        return Ok(Secret::Typed(Password::try_from(typed).map_err(io::Error::other)?));
    }
    // One byte for the line end, and one for what is too long.
    let mut line = String::new();
    if input.lock().take(PASSWORD_MAX_BYTES as u64 + 2).read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "standard input has no password"));
    }
    if line.ends_with('\n') {
        line.pop();
    }
    Ok(Secret::Piped(Password::try_from(line).map_err(io::Error::other)?))
}

/// A password that somebody is to have from now on; a person types it twice. `whose` completes a sentence.
pub(crate) fn new_password(
    machine: &dyn Machine,
    whose: &str,
    what: &str,
) -> Result<Password, Failure> {
    let ask = |prompt: &str| {
        machine.secret(prompt).map_err(|e| {
            Failure::refused(what)
                .cause("no password can be read")
                .because(&e)
                .hint("it is typed at a terminal, or is the first line of standard input")
        })
    };
    let first = match ask(&format!("New password of {whose}: "))? {
        Secret::Piped(password) => return Ok(password),
        Secret::Typed(password) => password,
    };
    let (Secret::Typed(second) | Secret::Piped(second)) = ask("The same again: ")?;
    if first.reveal() == second.reveal() {
        Ok(first)
    } else {
        Err(Failure::refused(what).cause("the two passwords are not the same"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Paths;
    use crate::machine::fake::Fake;

    #[test]
    fn what_is_too_long_is_refused_and_never_shown() {
        let mut machine = Fake::new(Paths::of_this_host());
        let long = "x".repeat(PASSWORD_MAX_BYTES + 1);
        machine.piped = Some(long.clone());
        let failure = new_password(&machine, "alice", "cannot add").unwrap_err();
        assert_eq!(failure.first_cause(), "no password can be read");
        assert!(!format!("{failure:?}").contains(&long));
        machine.piped = Some("twice\ntwice".to_owned());
        assert_eq!(new_password(&machine, "alice", "x").unwrap().reveal(), "twice\ntwice");
    }
}
