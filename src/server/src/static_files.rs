//! Files of a static agent: looked up without following links, sent with what caches need.
//!
//! Does not list directories, compress, or know status codes.

mod conditional;
mod file_body;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod tree;
mod url_path;

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use ploinky_contract::limits::STATIC_BLOCK_BYTES;
use rustix::fs::Stat;

use self::conditional::Need;
pub(crate) use self::conditional::Version;
pub(crate) use self::file_body::FileBody;
use self::tree::Node;

/// What a directory shows.
const INDEX: &str = "index.html";

/// The files of one domain.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The agent's code; its path is the supervisor's, so links in it are the admin's.
    code: PathBuf,
    /// Names of the directory below `code` that is served; the agent's author wrote them.
    directory: Vec<String>,
}

/// What is sent for a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// The file, or a part of it.
    File {
        /// Its state.
        version: Version,
        /// Its media type.
        media_type: String,
        /// Bytes of the whole file.
        length: u64,
        /// First and last byte, if it is a part.
        part: Option<(u64, u64)>,
        /// The bytes.
        content: Content,
    },
    /// The client has it.
    Unchanged(Version),
    /// The range lies beyond the end.
    Unsatisfiable {
        /// Bytes of the file.
        length: u64,
    },
    /// A directory, whose path ends with a slash.
    Directory {
        /// Where it is.
        location: String,
    },
}

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// Only the head was asked for.
    None,
    /// Read already.
    Short(Bytes),
    /// Read while it is sent.
    Long(FileBody),
}

impl Site {
    /// The files below `directory`, a relative path, of `code`.
    pub(crate) fn new(code: PathBuf, directory: &str) -> Self {
        let directory =
            directory.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned);
        Self { code, directory: directory.collect() }
    }

    /// Where the code of the agent lies.
    pub(crate) fn code(&self) -> &std::path::Path {
        &self.code
    }

    /// Finds what `uri` names. `None`: nothing public.
    ///
    /// # Errors
    /// When the disk fails; nothing was sent.
    pub(crate) fn find(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        wants_content: bool,
    ) -> io::Result<Option<Found>> {
        let Some(path) = url_path::parse(uri.path()) else { return Ok(None) };
        let names: Vec<&str> =
            self.directory.iter().chain(&path.names).map(String::as_str).collect();
        let Some(node) = tree::open(&self.code, &names)? else { return Ok(None) };
        let (file, stat, name) = match node {
            Node::File(..) if path.is_directory => return Ok(None),
            Node::File(file, stat) => (file, stat, names.last().copied().unwrap_or_default()),
            Node::Directory(directory) => match tree::open_in(&directory, INDEX)? {
                Some(Node::File(file, stat)) if path.is_directory => (file, stat, INDEX),
                Some(Node::File(..)) => {
                    return Ok(Some(Found::Directory { location: with_slash(uri) }));
                }
                Some(Node::Directory(_)) | None => return Ok(None),
            },
        };
        found(file, &stat, media_type(name), headers, wants_content).map(Some)
    }
}

/// What a client that sent `headers` needs of an open file, which is as long as `stat` says.
///
/// # Errors
/// When the disk fails, or the file is shorter than that; nothing was sent.
pub(crate) fn found(
    file: File,
    stat: &Stat,
    media_type: String,
    headers: &HeaderMap,
    wants_content: bool,
) -> io::Result<Found> {
    let version = version(stat);
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let (offset, bytes, part) = match conditional::need(headers, &version, length) {
        Need::Nothing => return Ok(Found::Unchanged(version)),
        Need::Unsatisfiable => return Ok(Found::Unsatisfiable { length }),
        Need::Whole => (0, length, None),
        Need::Part { first, last } => (first, last - first + 1, Some((first, last))),
    };
    let content = match usize::try_from(bytes) {
        _ if !wants_content => Content::None,
        Ok(short) if short <= STATIC_BLOCK_BYTES => {
            Content::Short(Bytes::from(file_body::read(&file, offset, short)?))
        }
        Ok(_) | Err(_) => Content::Long(FileBody::new(file, offset, bytes)),
    };
    Ok(Found::File { version, media_type, length, part, content })
}

/// The path is known to start with a single slash, so the location stays on this host.
fn with_slash(uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{}/?{query}", uri.path()),
        None => format!("{}/", uri.path()),
    }
}

fn version(stat: &Stat) -> Version {
    // Hashed, because an inode number is nobody's business.
    let mut hasher = DefaultHasher::new();
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec).hash(&mut hasher);
    (stat.st_ctime, stat.st_ctime_nsec).hash(&mut hasher);
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    Version {
        etag: format!("\"{:016x}\"", hasher.finish()),
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    }
}

fn media_type(name: &str) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let is_text = guess.type_() == mime_guess::mime::TEXT
        || matches!(
            guess.essence_str(),
            "application/json" | "application/javascript" | "image/svg+xml"
        );
    if is_text { format!("{guess}; charset=utf-8") } else { guess.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_charset_and_unknown_types_are_bytes() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("A.HTML", "text/html; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.tar.gz", "application/gzip"),
            ("a", "application/octet-stream"),
            ("a.unknown-type", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name}");
        }
    }
}
