//! The manifest as the supervisor mounted it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ploinky_contract::limits::MANIFEST_MAX_BYTES;
use ploinky_contract::{Container, Manifest, ManifestError, Service};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestFileError {
    #[error("cannot read the manifest {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the manifest {} is refused", .path.display())]
    Refused { path: PathBuf, source: ManifestError },
    #[error("the manifest {} is one of a static agent: it has no commands", .path.display())]
    Static { path: PathBuf },
}

/// The container part of the manifest at `path`.
pub(crate) fn read(path: &Path) -> Result<Container, ManifestFileError> {
    let mut text = Vec::new();
    // One byte more than allowed, so that the parser refuses what is too long.
    File::open(path)
        .and_then(|file| file.take(MANIFEST_MAX_BYTES as u64 + 1).read_to_end(&mut text))
        .map_err(|source| ManifestFileError::Read { path: path.to_owned(), source })?;
    let manifest = Manifest::parse(&text)
        .map_err(|source| ManifestFileError::Refused { path: path.to_owned(), source })?;
    match manifest.service {
        Service::Container(container) => Ok(*container),
        Service::Static { .. } => Err(ManifestFileError::Static { path: path.to_owned() }),
    }
}
