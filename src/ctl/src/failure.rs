//! How a verb ends without success: what could not be done, why, and what to do about it.

use std::error::Error;
use std::io;

use ploinky_contract::exit;
use ploinky_control::ControlError;

use crate::output::{Output, Tone, WriteError};

/// Why a verb stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something could not be done.
    Failed(Box<Failure>),
    /// Everything is said already.
    Exit(u8),
    /// Nobody reads the output any more.
    OutputClosed,
}

/// `error:` with its `cause:`, `log:` and `hint:` lines.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    what: String,
    causes: Vec<String>,
    log: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with an exit code of [`exit`]; `what` says what could not be done.
    pub(crate) fn new(exit: u8, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), causes: Vec::new(), log: Vec::new(), hint: None }
    }

    /// The act failed or was refused.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::new(exit::REFUSED, what)
    }

    /// The command line is wrong in a way that only the verb can tell.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(exit::USAGE, what)
    }

    /// What the supervisor, or the way to it, said when `what` was asked.
    pub(crate) fn of_control(what: impl Into<String>, error: &ControlError) -> Self {
        let what = what.into();
        match error {
            ControlError::Bus(error) => Self::of_bus(what, error),
            ControlError::NotAuthorized(text) => Self::new(exit::NOT_ALLOWED, what)
                .cause(text)
                .hint("run it as root, for example with `sudo`"),
            ControlError::ConfigInvalid(text) => Self::new(exit::CONFIG, what)
                .cause(text)
                .hint("`ploinkyctl config check` names the value and the rule"),
            ControlError::NotFound(text) => Self::refused(what)
                .cause(text)
                .hint("`ploinkyctl agent list` shows what is deployed"),
            ControlError::ImageMissing(text) => Self::refused(what)
                .cause(text)
                .hint("pull or build the image as root with `podman`, then deploy again"),
            ControlError::Busy(text) => {
                Self::refused(what).cause(text).hint("try again when the other change is done")
            }
            ControlError::Failed(text) => Self::refused(what)
                .cause(text)
                .hint("`journalctl -u ploinky-supervisor -n 20` shows what it tried"),
            ControlError::InvalidArgument(text)
            | ControlError::StartFailed(text)
            | ControlError::Unauthenticated(text)
            | ControlError::PasswordNeeded(text)
            | ControlError::Conflict(text)
            | ControlError::Overloaded(text) => Self::refused(what).cause(text),
        }
    }

    /// The same for a verb about accounts or tokens; `list` shows those that are there.
    pub(crate) fn of_accounts(what: impl Into<String>, error: &ControlError, list: &str) -> Self {
        if let ControlError::NotFound(text) = error {
            return Self::refused(what).cause(text).hint(format!("`{list}` shows those that are"));
        }
        Self::of_control(what, error)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most errors of a bus mean the same here")]
    fn of_bus(what: String, error: &zbus::Error) -> Self {
        use zbus::fdo::Error as Fdo;

        let unreachable = || Self::new(exit::UNAVAILABLE, what.clone());
        if let zbus::Error::FDO(error) = error {
            match &**error {
                Fdo::AccessDenied(text)
                | Fdo::AuthFailed(text)
                | Fdo::InteractiveAuthorizationRequired(text) => {
                    return Self::new(exit::NOT_ALLOWED, what)
                        .cause(text)
                        .hint("run it as root, for example with `sudo`");
                }
                Fdo::UnknownMethod(text)
                | Fdo::UnknownInterface(text)
                | Fdo::UnknownObject(text) => {
                    return unreachable().cause(text).hint(
                        "the supervisor is of another version: `systemctl restart ploinky-supervisor`",
                    );
                }
                Fdo::NoReply(text) | Fdo::TimedOut(text) | Fdo::Timeout(text) => {
                    return unreachable()
                        .cause(format!("the supervisor did not answer: {text}"))
                        .hint("`systemctl status ploinky-supervisor` shows whether it is well");
                }
                other => {
                    return unreachable()
                        .cause("the supervisor cannot be reached on the system bus")
                        .because(other)
                        .hint("start it with `systemctl start ploinky-supervisor`");
                }
            }
        }
        if let zbus::Error::InputOutput(error) = error
            && error.kind() == io::ErrorKind::TimedOut
        {
            return unreachable()
                .cause("the supervisor did not answer in time")
                .hint("`systemctl status ploinky-supervisor` shows whether it is well");
        }
        unreachable()
            .cause("the supervisor cannot be reached on the system bus")
            .because(error)
            .hint("start it with `systemctl start ploinky-supervisor`")
    }

    /// Adds an error and its sources.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some libraries repeat the source in their own text.
            if !self.causes.iter().any(|known| known.ends_with(&text)) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds one cause in words.
    pub(crate) fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Adds the last words of a program that failed.
    pub(crate) fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    /// The first cause, or what could not be done.
    pub(crate) fn first_cause(&self) -> String {
        self.causes.first().unwrap_or(&self.what).clone()
    }

    /// Writes all lines to stderr.
    ///
    /// # Errors
    /// When stderr takes nothing.
    pub(crate) fn print(&self, output: &mut Output<'_>) -> Result<(), WriteError> {
        let Self { exit: _, what, causes, log, hint } = self;
        output.err.labelled(Tone::Bad, "error: ", what)?;
        for cause in causes {
            output.err.labelled(Tone::Strong, "cause: ", cause)?;
        }
        for line in log {
            output.err.labelled(Tone::Faint, "log: ", line)?;
        }
        if let Some(hint) = hint {
            output.err.line("")?;
            output.err.labelled(Tone::Notice, "hint: ", hint)?;
        }
        Ok(())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        if error.0.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Failure::refused("cannot write the output").because(&error.0).into()
        }
    }
}
