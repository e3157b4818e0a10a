//! The only module that starts other programs, all of them by their words and never through a shell.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// Time that a short program has.
const RUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that are kept of each of its streams.
const RUN_MAX_BYTES: u64 = 4 << 20;
/// Bytes of one line; a longer one comes in pieces.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// A program that ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Finished {
    /// Exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started or does not end in time; then it is killed.
pub(super) fn run(words: &[&str], environment: &[(&str, &str)]) -> io::Result<Finished> {
    let mut command = command(words)?;
    // Messages of other programs are looked into, so they must not be translated.
    command.envs(environment.iter().copied()).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (from_stdout, from_stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (_read, _also, status) = tokio::try_join!(
                fill(from_stdout, &mut stdout),
                fill(from_stderr, &mut stderr),
                child.wait(),
            )?;
            Ok::<_, io::Error>(status)
        };
        let status = tokio::time::timeout(RUN_TIMEOUT, ended).await.map_err(|_elapsed| {
            let seconds = RUN_TIMEOUT.as_secs();
            io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {seconds} s"))
        })??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Finished { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) })
    })
}

async fn fill(
    stream: Option<impl tokio::io::AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
) -> io::Result<()> {
    if let Some(mut stream) = stream {
        (&mut stream).take(RUN_MAX_BYTES).read_to_end(kept).await?;
        // The rest is thrown away, so that the program does not wait for a reader.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(())
}

/// Runs a program and hands on its lines as they come; without a limit of time, as it may follow a log.
///
/// # Errors
/// When it cannot be started or read.
pub(super) fn lines(
    words: &[&str],
    on_line: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<Finished> {
    let mut child = command(words)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let read = match child.stdout.take() {
        Some(stdout) => hand_on(BufReader::new(stdout), on_line),
        None => Ok(true),
    };
    // Where nobody listens any more, it need not go on either.
    if !matches!(read, Ok(true)) {
        child.kill()?;
    }
    let code = child.wait()?.code();
    read.map(|_to_the_end| Finished { code, ..Finished::default() })
}

/// Whether all was read.
fn hand_on(mut reader: impl BufRead, on_line: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        if !on_line(line.strip_suffix(b"\n").unwrap_or(&line)) {
            return Ok(false);
        }
    }
}

/// Goes on as another program in the same process.
pub(super) fn become_program(words: &[&str]) -> io::Error {
    match command(words) {
        Ok(mut command) => command.exec(),
        Err(e) => e,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that starts programs")]
fn command(words: &[&str]) -> io::Result<Command> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let found = run(&["/nonexistent/program"], &[]).unwrap_err();
        assert_eq!(found.kind(), io::ErrorKind::NotFound);
        assert!(run(&[], &[]).is_err());
    }

    #[test]
    fn both_streams_and_the_status_come_back() {
        let script = "printf %s \"$A\"; echo no >&2; exit 3";
        let finished = run(&["sh", "-c", script], &[("A", "yes")]).unwrap();
        let expected = Finished { code: Some(3), stdout: "yes".into(), stderr: "no\n".into() };
        assert_eq!(finished, expected);
    }

    #[test]
    fn a_program_that_prints_without_end_is_cut_and_ends() {
        let script = "head -c 9000000 /dev/zero";
        let finished = run(&["sh", "-c", script], &[]).unwrap();
        assert_eq!((finished.code, finished.stdout.len()), (Some(0), 4 << 20));
    }

    #[test]
    fn lines_end_when_the_reader_has_enough() {
        let mut seen = Vec::new();
        let finished = lines(&["yes"], &mut |line| {
            seen.push(String::from_utf8_lossy(line).into_owned());
            seen.len() < 3
        });
        assert_eq!((finished.unwrap().code, seen), (None, vec!["y".to_owned(); 3]));
    }
}
