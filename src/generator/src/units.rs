//! What the generator leaves for systemd: links that start instances, and the port.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ploinky_contract::limits::WORKERS_MAX;
use ploinky_contract::{Settings, WorkersCount};

/// Where the package puts its units.
const UNITS: &str = "/usr/lib/systemd/system";
/// What an instance is made of; `N` stands between the two parts of a name.
const INSTANCE: [(&str, &str); 3] =
    [("ploinky@", ".socket"), ("ploinky-admin@", ".socket"), ("ploinky@", ".service")];

/// Everything that is wanted of the service manager.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// `ploinky@1` to `ploinky@<count>` start with `ploinky.target`.
    count: u16,
    /// Replaces the port of `ploinky@.socket`.
    port: Option<u16>,
}

/// Why a unit could not be written; systemd goes on with what is there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// A directory.
    #[error("cannot make {}", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// A link that enables a unit.
    #[error("cannot link {}", .path.display())]
    Link { path: PathBuf, source: io::Error },
    /// The drop-in.
    #[error("cannot write {}", .path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Decides from the settings and the number of cores.
pub(crate) fn wanted(settings: &Settings, cores: usize) -> Wanted {
    let Settings { port, workers_count, .. } = settings;
    let count = match workers_count {
        WorkersCount::Auto => u16::try_from(cores).unwrap_or(WORKERS_MAX),
        WorkersCount::Fixed(count) => *count,
    };
    Wanted {
        count: count.clamp(1, WORKERS_MAX),
        port: (*port != Settings::default().port).then_some(*port),
    }
}

/// Writes into the generator's directory, which systemd empties before each run.
///
/// # Errors
/// When the directory cannot be written; what was written before stays.
pub(crate) fn write(directory: &Path, wanted: &Wanted) -> Result<(), WriteError> {
    let Wanted { count, port } = wanted;
    let wants = made(directory.join("ploinky.target.wants"))?;
    for instance in 1..=*count {
        for (name, kind) in INSTANCE {
            let path = wants.join(format!("{name}{instance}{kind}"));
            symlink(format!("{UNITS}/{name}{kind}"), &path)
                .map_err(|source| WriteError::Link { path, source })?;
        }
    }
    if let Some(port) = port {
        let path = made(directory.join("ploinky@.socket.d"))?.join("50-port.conf");
        // The empty assignment takes back the port of the shipped unit.
        let text = format!(
            "# settings.port of /var/lib/ploinky/config.json\n[Socket]\nListenStream=\nListenStream={port}\n"
        );
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| WriteError::File { path, source })?;
    }
    Ok(())
}

fn made(path: PathBuf) -> Result<PathBuf, WriteError> {
    match fs::create_dir(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(WriteError::Directory { path, source: e })
        }
        Ok(()) | Err(_) => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stays_within_the_allowed_range() {
        let counted = |workers_count, cores| {
            wanted(&Settings { workers_count, ..Settings::default() }, cores).count
        };
        assert_eq!(counted(WorkersCount::Auto, 0), 1);
        assert_eq!(counted(WorkersCount::Auto, 8), 8);
        assert_eq!(counted(WorkersCount::Auto, 1_000), WORKERS_MAX);
        assert_eq!(counted(WorkersCount::Auto, usize::MAX), WORKERS_MAX);
        assert_eq!(counted(WorkersCount::Fixed(3), 8), 3);
    }

    #[test]
    fn the_shipped_port_needs_no_drop_in() {
        let port = |port| wanted(&Settings { port, ..Settings::default() }, 1).port;
        assert_eq!((port(8000), port(8001)), (None, Some(8001)));
    }
}
