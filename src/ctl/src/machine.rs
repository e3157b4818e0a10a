//! What the verbs need of the machine besides the supervisor: files, programs, the clock.

mod external;
#[cfg(test)]
pub(crate) mod fake;

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ploinky_contract::Space;
use ploinky_contract::paths::{INSTALLED_AGENTS, RUNTIME, RuntimeDir, STATE, StateDir};
use ploinky_control::ControlError;
use rustix::fs::{Mode, OFlags};

pub(crate) use self::external::Finished;
use crate::accounts::Accounts;
use crate::secret_input::{self, Secret};
use crate::supervisor::{Bus, Supervisor};

/// Bytes that are read of a file at most, unless the reader says otherwise: `/proc/net/tcp` of a busy host.
pub(crate) const FILE_MAX_BYTES: usize = 8 << 20;

/// Bytes of a line that a person types.
const TYPED_MAX_BYTES: u64 = 1024;

/// Where things lie on the machine.
#[derive(Debug)]
pub(crate) struct Paths {
    /// The state of the host.
    pub(crate) state: StateDir,
    /// What a reboot ends: the sockets of the instances.
    pub(crate) runtime: RuntimeDir,
    /// Agents that packages installed.
    pub(crate) installed: PathBuf,
    /// Where an archive waits for the supervisor.
    pub(crate) temporary: PathBuf,
}

/// The machine as the verbs see it.
pub(crate) trait Machine {
    /// Where things lie.
    fn paths(&self) -> &Paths;
    /// The way to the supervisor.
    fn supervisor(&self) -> Result<Box<dyn Supervisor>, ControlError>;
    /// The way to the accounts, which the supervisor keeps.
    fn accounts(&self) -> Result<Box<dyn Accounts>, ControlError>;
    /// Microseconds since 1970.
    fn now_usec(&self) -> u64;
    /// Lets some time pass before something is asked again.
    fn pause(&self, time: Duration);
    /// The next line that a person types; none if nobody sits at a terminal.
    fn typed(&self) -> io::Result<Option<String>>;
    /// What a person types in answer to `prompt` without being shown; a line of standard input if nobody sits at
    /// a terminal.
    fn secret(&self, prompt: &str) -> io::Result<Secret>;
    /// Reads a regular file or one of the kernel's; more than `limit` bytes are an error.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Whether something is at `path`.
    fn exists(&self, path: &Path) -> bool;
    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Seconds since 1970 when `path` was changed last.
    fn modified(&self, path: &Path) -> io::Result<u64>;
    /// Room of the file system of `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Runs a short program to its end, with a limit of time and output.
    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> io::Result<Finished>;
    /// Hands each line of a program's stdout to `on_line` until it ends or `on_line` says false.
    fn lines(&self, words: &[&str], on_line: &mut dyn FnMut(&[u8]) -> bool)
    -> io::Result<Finished>;
    /// Goes on as another program; returns only if that is not possible.
    fn become_program(&self, words: &[&str]) -> io::Error;
}

/// The machine this process runs on.
#[derive(Debug)]
pub(crate) struct Local {
    paths: Paths,
}

impl Paths {
    /// The paths of an installed Ploinky. An archive can be larger than `/tmp` in memory should take
    /// (file-hierarchy(7)).
    pub(crate) fn of_this_host() -> Self {
        Self {
            state: StateDir::new(STATE),
            runtime: RuntimeDir::new(RUNTIME),
            installed: INSTALLED_AGENTS.into(),
            temporary: std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from),
        }
    }
}

impl Local {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths }
    }
}

impl Machine for Local {
    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn supervisor(&self) -> Result<Box<dyn Supervisor>, ControlError> {
        Ok(Box::new(Bus::system()?))
    }

    fn accounts(&self) -> Result<Box<dyn Accounts>, ControlError> {
        Ok(Box::new(Bus::system()?))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that asks the clock")]
    fn now_usec(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that waits without an event")]
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn typed(&self) -> io::Result<Option<String>> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let mut line = Vec::new();
        input.lock().take(TYPED_MAX_BYTES).read_until(b'\n', &mut line)?;
        Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()))
    }

    fn secret(&self, prompt: &str) -> io::Result<Secret> {
        secret_input::read(prompt)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // A FIFO would make the open wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        read_regular(file, limit)
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn modified(&self, path: &Path) -> io::Result<u64> {
        let time = path.symlink_metadata()?.modified()?;
        Ok(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        let (blocks, inodes) = ((found.f_blocks, found.f_bavail), (found.f_files, found.f_favail));
        Ok(Space::of(blocks, found.f_frsize, inodes))
    }

    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> io::Result<Finished> {
        external::run(words, environment)
    }

    fn lines(
        &self,
        words: &[&str],
        on_line: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<Finished> {
        external::lines(words, on_line)
    }

    fn become_program(&self, words: &[&str]) -> io::Error {
        external::become_program(words)
    }
}

/// The whole of `file`, which must be a regular file of at most `limit` bytes.
pub(crate) fn read_regular(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut text)?;
    if limit < text.len() {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_within_the_limit_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Local::new(Paths::of_this_host());
        let at = |name: &str| directory.path().join(name);
        let fifo = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), fifo).unwrap();
        File::create(at("long")).unwrap().set_len(9).unwrap();
        let refused = |name: &str| machine.read(&at(name), 8).unwrap_err().to_string();
        assert_eq!(refused("fifo"), "it is not a regular file");
        assert_eq!(refused("long"), "it has more than 8 bytes");
        assert!(refused(".").contains("Is a directory"));
        File::create(at("short")).unwrap().set_len(8).unwrap();
        assert_eq!(machine.read(&at("short"), 8).unwrap(), [0; 8]);
    }
}
