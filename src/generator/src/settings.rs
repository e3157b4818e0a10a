//! Reads the settings out of `config.json`; writes nothing and asks nobody.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::{Config, ConfigError, Settings};
use rustix::fs::{Mode, OFlags};

/// Why there are no settings. The defaults stand in for them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file is there, but cannot be read as one.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A rule is broken.
    #[error("{} is not valid", .path.display())]
    Invalid { path: PathBuf, source: ConfigError },
}

/// The settings in `path`, or the defaults if there is no such file.
///
/// # Errors
/// When the file is no plain file, is too long, or breaks a rule of the configuration.
pub(crate) fn read(path: &Path) -> Result<Settings, ReadError> {
    match bytes(path) {
        Ok(text) => Config::parse(&text)
            .map(|config| config.settings)
            .map_err(|source| ReadError::Invalid { path: path.to_owned(), source }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(ReadError::Read { path: path.to_owned(), source }),
    }
}

/// At most one byte more than is allowed, which the parser then refuses; never waits for a FIFO.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(CONFIG_MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
