//! Why a directory cannot be packed, by the name of what is in the way.

use std::io;
use std::path::PathBuf;

use ploinky_contract::limits::{ARCHIVE_MAX_BYTES, TREE_MAX_DEPTH, TREE_MAX_ENTRIES};

use crate::words;

/// Why a directory cannot be packed; nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// An entry cannot be read.
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The archive cannot be written.
    #[error("cannot write the archive in {}", .directory.display())]
    Write { directory: PathBuf, source: io::Error },
    /// Neither file, directory nor link.
    #[error("{} is {kind}; an agent has files, directories and links only", .path.display())]
    Kind { path: PathBuf, kind: &'static str },
    /// A link to elsewhere.
    #[error("{} links to `{}`, which leads, or could lead, out of the directory", .path.display(), .target.display())]
    Link { path: PathBuf, target: PathBuf },
    /// A name that Ploinky uses.
    #[error("{} has a name that belongs to Ploinky", .path.display())]
    Taken { path: PathBuf },
    /// A name that is no text.
    #[error("{} has a name that is not UTF-8", .path.display())]
    Name { path: PathBuf },
    /// The file got shorter while it was read.
    #[error("{} changed while it was packed", .path.display())]
    Changed { path: PathBuf },
    /// Too many entries.
    #[error("{} is one entry too many: {TREE_MAX_ENTRIES} files and directories are allowed", .path.display())]
    Entries { path: PathBuf },
    /// Too deep.
    #[error("{} lies too deep: {TREE_MAX_DEPTH} levels are allowed", .path.display())]
    Depth { path: PathBuf },
    /// Too large.
    #[error("{} does not fit: the files of an agent may have {} together", .path.display(), words::size(ARCHIVE_MAX_BYTES))]
    Size { path: PathBuf },
}
