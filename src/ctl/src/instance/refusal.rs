//! Why an instance gave no answer, or which one it gave instead, and what a person does about it.

use std::io;
use std::path::PathBuf;

use ploinky_contract::{TaskId, exit};
use serde::Deserialize;

use crate::failure::Failure;
use crate::words::span;

/// What the unit is called that brings the sockets back.
const START: &str = "`systemctl start ploinky.target` starts the instances and their sockets, \
                     `ploinky-admin@1.socket` and so on; `ploinkyctl doctor` checks the host";

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no socket at all.
    #[error("no instance can be asked: there is no socket {pattern}")]
    NoSocket { pattern: String },
    /// The socket is for root.
    #[error("only root may use {}", .path.display())]
    NotAllowed { path: PathBuf },
    /// The socket is there, and nobody answers.
    #[error("nothing answers at {}", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// It took too long.
    #[error("the instance did not answer in time")]
    Timeout,
    /// The connection ended first.
    #[error("the connection to the instance ended before its answer did")]
    Lost { source: ureq::Error },
    /// A file that is sent cannot be read.
    #[error("cannot read {}", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// What came is not what it should be.
    #[error("what the instance answered cannot be understood: {reason}")]
    Unreadable { reason: String },
    /// The instance said no.
    #[error("{0}")]
    Refused(Refusal),
}

/// An answer that says no.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// The stable word, if there was one.
    pub(crate) code: Option<String>,
    /// The sentence, if there was one.
    pub(crate) message: Option<String>,
    /// Seconds after which to ask again.
    pub(crate) retry_after: Option<u64>,
}

/// The body of an answer that says no.
#[derive(Default, Deserialize)]
struct Body {
    message: Option<String>,
    code: Option<String>,
}

impl Refusal {
    /// From status, `Retry-After` and body.
    pub(super) fn new(status: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let Body { message, code } = serde_json::from_slice(body).unwrap_or_default();
        Self { status, code, message, retry_after }
    }

    /// Whether it is about the task that was named, so that another one may fare better.
    pub(crate) fn is_about_one(&self) -> bool {
        matches!(self.status, 404 | 409)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, "{code}: {message}"),
            (Some(code), None) => f.write_str(code),
            (None, Some(message)) => write!(f, "status {}: {message}", self.status),
            (None, None) => {
                write!(f, "status {} with a body that is not of Ploinky", self.status)
            }
        }
    }
}

impl AskError {
    /// Whether the same question may have another answer soon: an instance restarts, or has much to do.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout | Self::Lost { .. } => true,
            Self::Refused(refusal) => matches!(refusal.status, 429 | 503),
            Self::NoSocket { .. }
            | Self::NotAllowed { .. }
            | Self::File { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// The failure of a verb; `what` says what could not be done.
    pub(crate) fn failure(&self, what: impl Into<String>) -> Failure {
        let failure = |exit| Failure::new(exit, what).because(self);
        match self {
            Self::NoSocket { .. } => failure(exit::UNAVAILABLE).hint(START),
            Self::NotAllowed { .. } => {
                failure(exit::NOT_ALLOWED).hint("run it as root, for example with `sudo`")
            }
            Self::Connect { path, .. } => failure(exit::UNAVAILABLE).hint(restart(path)),
            Self::Timeout => failure(exit::UNAVAILABLE)
                .hint("`ploinkyctl status` shows whether the instances run"),
            Self::Lost { .. } => failure(exit::UNAVAILABLE)
                .hint("try again; `journalctl -u 'ploinky@*' -n 20` shows why it ended"),
            Self::File { .. } => failure(exit::REFUSED),
            Self::Unreadable { .. } => failure(exit::UNAVAILABLE).hint(
                "is `ploinkyctl` of another version than the instances? `systemctl restart 'ploinky@*'` \
                 brings them up to date",
            ),
            Self::Refused(refusal) => {
                let exit = match refusal.status {
                    401 | 403 => exit::NOT_ALLOWED,
                    503 => exit::UNAVAILABLE,
                    _ => exit::REFUSED,
                };
                match advice(refusal) {
                    Some(advice) => failure(exit).hint(advice),
                    None => failure(exit),
                }
            }
        }
    }

    /// The failure of a verb about one task, which may be gone.
    pub(crate) fn failure_of(&self, what: impl Into<String>, task: TaskId) -> Failure {
        let failure = self.failure(what);
        let code = if let Self::Refused(refusal) = self { refusal.code.as_deref() } else { None };
        match code {
            Some("TASK_NOT_FOUND") => failure.hint(
                "the id is unknown, or the task is removed already: an outcome is kept for \
                 `settings.taskRetention` seconds; `ploinkyctl task list` shows what there is",
            ),
            Some("TASK_ENDED") => {
                failure.hint(format!("`ploinkyctl task remove {task}` removes it"))
            }
            Some("TASK_NOT_ENDED") => {
                failure.hint(format!("`ploinkyctl task watch {task}` waits for its end"))
            }
            Some(_) | None => failure,
        }
    }
}

fn restart(path: &std::path::Path) -> String {
    let instance = path
        .file_stem()
        .and_then(|name| name.to_str()?.strip_prefix("admin-")?.parse::<u16>().ok());
    match instance {
        Some(instance) => {
            format!("`systemctl restart ploinky-admin@{instance}.socket` opens it again")
        }
        None => START.to_owned(),
    }
}

fn advice(refusal: &Refusal) -> Option<String> {
    if let (429 | 503, Some(seconds)) = (refusal.status, refusal.retry_after) {
        return Some(format!("try again in {}", span(seconds)));
    }
    let words = match (refusal.status, refusal.code.as_deref()) {
        (_, Some("CALLBACK_REFUSED")) => {
            "`settings.callbackOrigins` of the configuration has the origins that may be called"
        }
        (_, Some("UNKNOWN_COMMAND")) => {
            "`ploinkyctl agent status AGENT` shows the commands of an agent"
        }
        (404, Some("NOT_FOUND")) => "`ploinkyctl agent list` shows what is deployed",
        (429, _) => "try again later",
        (503, _) => "`ploinkyctl status` shows whether the instances and the agent run",
        (507, _) => "`ploinkyctl doctor` shows how full the disk is",
        _ => return None,
    };
    Some(words.to_owned())
}
