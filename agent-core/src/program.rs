//! The only place that starts processes. Each leads a process group of its own.
//!
//! The working directory is inherited and nothing runs between fork and exec, so that the standard library
//! starts them with `posix_spawn`: its cost does not grow with this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::boot_time::{BootTime, wait};

/// A program that runs, or has ended and is not reaped yet: as long as this lives, its group's id is no
/// other's.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    ended: OwnedFd,
    is_reaped: bool,
}

/// Our ends of its streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot start `{program}`")]
    Start { program: String, source: io::Error },
    #[error("cannot watch `{program}`")]
    Watch { program: String, source: io::Error },
}

impl StartError {
    /// Whether the arguments are to blame: a NUL byte, or too many bytes for a command line.
    pub(crate) fn is_about_arguments(&self) -> bool {
        match self {
            Self::Start { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong
            ),
            Self::Watch { .. } => false,
        }
    }
}

/// Starts `words` with further arguments and variables, its three streams being pipes to us.
pub(crate) fn start(
    words: &[String],
    arguments: &[String],
    variables: &[(&str, &str)],
) -> Result<(Program, Streams), StartError> {
    let mut command = command(words);
    command.args(arguments);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|source| StartError::Start { program: name(words), source })?;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let program = Program::watch(child, words)?;
    match streams {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            // Our ends; the program's are blocking as ever.
            for end in [stdin.as_fd(), stdout.as_fd()] {
                rustix::io::ioctl_fionbio(end, true)
                    .map_err(|e| StartError::Watch { program: name(words), source: e.into() })?;
            }
            Ok((program, Streams { stdin, stdout, stderr }))
        }
        // The three were asked for as pipes.
        _ => Err(StartError::Watch {
            program: name(words),
            source: io::ErrorKind::BrokenPipe.into(),
        }),
    }
}

/// Starts `words` as a probe: without input and output, its complaints going where ours go.
pub(crate) fn start_probe(words: &[String]) -> Result<Program, StartError> {
    let mut command = command(words);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child =
        command.spawn().map_err(|source| StartError::Start { program: name(words), source })?;
    Program::watch(child, words)
}

/// Starts `words` as the main program of an image, exactly as they are: without input, its output going where
/// ours goes.
pub(crate) fn start_main(words: &[String]) -> Result<Program, StartError> {
    let mut command = command_of(words, None);
    command.stdin(Stdio::null());
    let child =
        command.spawn().map_err(|source| StartError::Start { program: name(words), source })?;
    Program::watch(child, words)
}

/// The interpreter of a script, told by its name, and whether the script is there.
pub(crate) fn missing_script(words: &[String]) -> Option<&str> {
    let script = words.first().filter(|word| interpreter(word).is_some())?;
    (!Path::new(script).exists()).then_some(script)
}

fn command(words: &[String]) -> Command {
    command_of(words, words.first().and_then(|program| interpreter(program)))
}

fn command_of(words: &[String], interpreter: Option<&str>) -> Command {
    let program = words.first().map(String::as_str).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    let mut command = match interpreter {
        Some(interpreter) => {
            let mut command = Command::new(interpreter);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(words.get(1..).unwrap_or_default());
    command.env_remove("NOTIFY_SOCKET");
    command.process_group(0);
    command
}

fn interpreter(program: &str) -> Option<&'static str> {
    match Path::new(program).extension()?.to_str()? {
        "js" | "mjs" | "cjs" => Some("node"),
        "py" => Some("python3"),
        "sh" => Some("sh"),
        _ => None,
    }
}

fn name(words: &[String]) -> String {
    words.first().cloned().unwrap_or_default()
}

impl Program {
    fn watch(mut child: Child, words: &[String]) -> Result<Self, StartError> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { child, ended, is_reaped: false }),
            Err(e) => {
                // Killed and reaped, so that nothing runs that nobody watches.
                child.kill().and_then(|()| child.wait()).ok();
                Err(StartError::Watch { program: name(words), source: e.into() })
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the whole group. Nothing is done after the program was reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            // ESRCH: nobody of the group is left, which is what was wanted.
            kill_process_group(Pid::from_child(&self.child), signal).ok();
        }
    }

    /// A second descriptor that is readable when the program has ended.
    pub(crate) fn ended(&self) -> io::Result<OwnedFd> {
        self.ended.try_clone()
    }

    /// The status of a program that has ended; `None` if it has not.
    pub(crate) fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.is_reaped |= status.is_some();
        status
    }

    /// Waits for the end; `None` if the time came first.
    pub(crate) fn wait(&mut self, until: BootTime) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.reap() {
                return Some(status);
            }
            if until.is_past() {
                return None;
            }
            let mut fds = [PollFd::new(&self.ended, PollFlags::IN)];
            wait(&mut fds, Some(until)).ok()?;
        }
    }
}

impl AsFd for Program {
    /// Readable when the program has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

impl Drop for Program {
    /// Nothing that was started stays behind.
    fn drop(&mut self) {
        if !self.is_reaped && self.reap().is_none() {
            self.signal(Signal::KILL);
            // Bounded: a process that the kernel cannot end stays a zombie until we end.
            self.wait(BootTime::after(std::time::Duration::from_secs(1)));
        }
    }
}
