//! An agent's directory as strangers hand it over: received into a staging directory, entry by entry.
//!
//! Whatever the source, every entry goes through [`TreeWriter`], which walks down from the staging directory
//! one component at a time without following links, makes only directories, regular files and links that stay
//! inside, and counts.

mod archive;
mod copy;
mod remove;
mod seal;

pub(crate) use archive::unpack;
pub(crate) use copy::copy;
pub(crate) use remove::remove;
pub(crate) use seal::seal;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use ploinky_contract::limits::{TREE_MAX_BYTES, TREE_MAX_DEPTH, TREE_MAX_ENTRIES};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Names at the top that belong to Ploinky, or will.
const RESERVED: [&str; 2] = [".tasks", ".ploinky"];
/// Bytes of the target of a symbolic link (`PATH_MAX`).
const LINK_MAX_BYTES: usize = 4096;

/// Why a tree was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// An entry breaks a rule.
    #[error("`{path}` {rule}")]
    Refused { path: String, rule: String },
    /// The tree as a whole breaks a rule.
    #[error("the directory {rule}")]
    TooLarge { rule: String },
    /// The archive cannot be read.
    #[error("the archive {rule}")]
    Archive { rule: String },
    /// The host did not let the entry be read or made.
    #[error("cannot take over `{path}`")]
    Io { path: String, source: io::Error },
}

/// A relative path of plain components, below the top.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TreePath(Vec<String>);

/// Makes entries below a staging directory.
#[derive(Debug)]
pub(crate) struct TreeWriter {
    top: OwnedFd,
    entries: usize,
    bytes: u64,
    /// The directory of the last entry: most entries come after their siblings.
    last: Option<(Vec<String>, OwnedFd)>,
}

impl TreePath {
    /// Parses a name as archives have it; `None` is the top itself.
    ///
    /// # Errors
    /// When the name is absolute, leads upwards, is no UTF-8, is too deep, or belongs to Ploinky.
    pub(crate) fn parse(name: &[u8]) -> Result<Option<Self>, TreeError> {
        let refuse = |rule: &str| TreeError::Refused { path: shown(name), rule: rule.to_owned() };
        let name = std::str::from_utf8(name).map_err(|_utf8| refuse("is not UTF-8"))?;
        if name.contains('\0') {
            return Err(refuse("holds NUL"));
        }
        if name.starts_with('/') {
            return Err(refuse("is an absolute path"));
        }
        let parts: Vec<String> =
            name.split('/').filter(|p| !matches!(*p, "" | ".")).map(str::to_owned).collect();
        if parts.iter().any(|part| part == "..") {
            return Err(refuse("leads out of the directory"));
        }
        if parts.first().is_some_and(|first| RESERVED.contains(&first.as_str())) {
            return Err(refuse("is a name that belongs to Ploinky; leave it out"));
        }
        if TREE_MAX_DEPTH < parts.len() {
            return Err(refuse(&format!("is deeper than {TREE_MAX_DEPTH} levels")));
        }
        Ok(if parts.is_empty() { None } else { Some(Self(parts)) })
    }

    fn split(&self) -> (&[String], &str) {
        self.0.split_last().map_or((&[], ""), |(name, parents)| (parents, name.as_str()))
    }

    fn refuse(&self, rule: impl Into<String>) -> TreeError {
        TreeError::Refused { path: shown(self.0.join("/").as_bytes()), rule: rule.into() }
    }

    fn io(&self, source: impl Into<io::Error>) -> TreeError {
        TreeError::Io { path: shown(self.0.join("/").as_bytes()), source: source.into() }
    }
}

impl TreeWriter {
    /// Writes below `top`, an empty directory that nobody else can reach.
    pub(crate) fn new(top: OwnedFd) -> Self {
        Self { top, entries: 0, bytes: 0, last: None }
    }

    /// Makes a directory, and those above it; one that is there is fine.
    ///
    /// # Errors
    /// When a component is something else, or a bound is reached.
    pub(crate) fn directory(&mut self, path: &TreePath) -> Result<(), TreeError> {
        self.open_directory(path, &path.0).map(drop)
    }

    /// Makes a file of exactly `size` bytes.
    ///
    /// # Errors
    /// When the name is taken, the content is shorter, or a bound is reached.
    pub(crate) fn file(
        &mut self,
        path: &TreePath,
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), TreeError> {
        self.count(size)?;
        let (parents, name) = path.split();
        let parent = self.open_directory(path, parents)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| taken(path, error))?;
        let mut file = File::from(fd);
        let copied =
            io::copy(&mut content.take(size), &mut file).map_err(|error| path.io(error))?;
        if copied != size {
            return Err(path.refuse(format!("ends after {copied} of {size} bytes")));
        }
        file.flush().map_err(|error| path.io(error))?;
        let mode = if executable { 0o755 } else { 0o644 };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| path.io(error))
    }

    /// Makes a symbolic link that stays inside.
    ///
    /// # Errors
    /// When the target is absolute, leads out, or the name is taken.
    pub(crate) fn symlink(&mut self, path: &TreePath, target: &[u8]) -> Result<(), TreeError> {
        self.count(0)?;
        let (parents, name) = path.split();
        let target = inner_target(path, parents.len(), target)?;
        let parent = self.open_directory(path, parents)?;
        rustix::fs::symlinkat(target, &parent, name).map_err(|error| taken(path, error))
    }

    fn count(&mut self, bytes: u64) -> Result<(), TreeError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if TREE_MAX_ENTRIES < self.entries {
            let rule = format!("has more than {TREE_MAX_ENTRIES} files and directories");
            return Err(TreeError::TooLarge { rule });
        }
        if TREE_MAX_BYTES < self.bytes {
            let rule = format!("has more than {TREE_MAX_BYTES} bytes");
            return Err(TreeError::TooLarge { rule });
        }
        Ok(())
    }

    /// Opens the directory `parts`, making what is missing. `path` is the entry that needs it.
    fn open_directory(&mut self, path: &TreePath, parts: &[String]) -> Result<OwnedFd, TreeError> {
        if let Some((last, fd)) = &self.last
            && last == parts
        {
            return fd.try_clone().map_err(|error| path.io(error));
        }
        let mut directory =
            self.top.as_fd().try_clone_to_owned().map_err(|error| path.io(error))?;
        for part in parts {
            directory = self.enter(path, &directory, part)?;
        }
        let kept = directory.try_clone().map_err(|error| path.io(error))?;
        self.last = Some((parts.to_vec(), kept));
        Ok(directory)
    }

    fn enter(&mut self, path: &TreePath, at: &OwnedFd, name: &str) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(at, name, flags, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT) => {}
            // A link to a directory is ELOOP or ENOTDIR, depending on the kernel.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let rule = format!(
                    "needs the directory `{}`, which is something else",
                    shown(name.as_bytes())
                );
                return Err(path.refuse(rule));
            }
            Err(error) => return Err(path.io(error)),
        }
        self.count(0)?;
        rustix::fs::mkdirat(at, name, Mode::RWXU).map_err(|error| path.io(error))?;
        let fd = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|e| path.io(e))?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::fchmod(&fd, mode).map_err(|error| path.io(error))?;
        Ok(fd)
    }
}

/// A target that stays inside for a link `depth` directories below the top.
///
/// `..` may only come first: the directory of the link is a real one, so that so many steps up stay inside;
/// behind another link it could be anything.
fn inner_target<'t>(path: &TreePath, depth: usize, target: &'t [u8]) -> Result<&'t str, TreeError> {
    let shown = shown(target);
    let refuse = |rule: &str| path.refuse(format!("is a link to `{shown}`, which {rule}"));
    let target = std::str::from_utf8(target).map_err(|_utf8| refuse("is not UTF-8"))?;
    if target.is_empty() || target.contains('\0') || LINK_MAX_BYTES <= target.len() {
        return Err(refuse("is empty, too long or holds NUL"));
    }
    if target.starts_with('/') {
        return Err(refuse("is absolute; only relative links are kept"));
    }
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | "."));
    let ups = parts.by_ref().take_while(|part| *part == "..").count();
    // `take_while` took the first plain part along, which is fine as it is none of those looked for.
    if depth < ups || parts.any(|part| part == "..") {
        return Err(refuse("leads, or could lead, out of the directory"));
    }
    Ok(target)
}

fn taken(path: &TreePath, error: Errno) -> TreeError {
    if error == Errno::EXIST { path.refuse("is there twice") } else { path.io(error) }
}

/// A name for a message: one line, of bounded length.
fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    let text = name.escape_ascii().to_string();
    let text = String::from_utf8(name.to_vec()).map_or(text, |t| t.escape_debug().to_string());
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path) -> TreeWriter {
        TreeWriter::new(File::open(dir).unwrap().into())
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (name, rule) in [
            ("/etc/passwd", "is an absolute path"),
            ("..", "leads out"),
            ("a/../../b", "leads out"),
            ("a/..", "leads out"),
            (".tasks", "belongs to Ploinky"),
            ("./.tasks/requests/x", "belongs to Ploinky"),
            (".ploinky", "belongs to Ploinky"),
            ("a\0b", "holds NUL"),
            (&"a/".repeat(33), "deeper than 32"),
        ] {
            let error = TreePath::parse(name.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(rule), "{name:?}: {error}");
        }
        assert!(TreePath::parse(b"a\xff").unwrap_err().to_string().contains("is not UTF-8"));
        assert_eq!(TreePath::parse(b"./").unwrap(), None);
        assert_eq!(path("./a//b/."), TreePath(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(path("a/.tasks").0.len(), 2);
    }

    #[test]
    fn links_that_could_lead_out_are_refused() {
        for (at, target) in [
            ("l", "/etc"),
            ("l", ".."),
            ("a/l", "../.."),
            ("a/l", "b/../x"),
            ("l", "a/../../x"),
            ("l", ""),
            ("l", "./../x"),
            ("a/b/l", "../.././../x"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let error = writer(dir.path()).symlink(&path(at), target.as_bytes()).unwrap_err();
            assert!(matches!(error, TreeError::Refused { .. }), "{at} -> {target}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        for (at, target) in [("l", "a/b"), ("a/l", "../x"), ("a/b/l", "../../x/y"), ("m", ".")] {
            writer(dir.path()).symlink(&path(at), target.as_bytes()).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_over_a_file() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let mut writer = writer(dir.path());
        writer.file(&path("file"), false, 1, &mut b"x".as_slice()).unwrap();
        let mut refused = |at: &str| {
            let error = writer.file(&path(at), false, 1, &mut b"x".as_slice()).unwrap_err();
            assert!(matches!(error, TreeError::Refused { .. }), "{at}: {error}");
            error.to_string()
        };
        assert_eq!(
            refused("link/x"),
            "`link/x` needs the directory `link`, which is something else"
        );
        assert_eq!(refused("link"), "`link` is there twice");
        assert_eq!(refused("file"), "`file` is there twice");
        assert_eq!(
            refused("file/x"),
            "`file/x` needs the directory `file`, which is something else"
        );
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn modes_are_reduced_to_two() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        writer.file(&path("a/run"), true, 2, &mut b"hi, and more".as_slice()).unwrap();
        writer.file(&path("a/data"), false, 0, &mut b"".as_slice()).unwrap();
        let mode =
            |name: &str| dir.path().join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/run"), mode("a/data")), (0o755, 0o755, 0o644));
        assert_eq!(std::fs::read(dir.path().join("a/run")).unwrap(), b"hi");
        let short = writer.file(&path("b"), false, 9, &mut b"short".as_slice()).unwrap_err();
        assert_eq!(short.to_string(), "`b` ends after 5 of 9 bytes");
    }

    #[test]
    fn a_tree_has_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let large = writer.file(&path("a"), false, TREE_MAX_BYTES + 1, &mut io::repeat(0));
        assert_eq!(
            large.unwrap_err().to_string(),
            format!("the directory has more than {TREE_MAX_BYTES} bytes")
        );
        writer.bytes = 0;
        writer.entries = TREE_MAX_ENTRIES - 1;
        let many = writer.file(&path("d/b"), false, 0, &mut io::empty()).unwrap_err();
        assert_eq!(
            many.to_string(),
            format!("the directory has more than {TREE_MAX_ENTRIES} files and directories")
        );
    }
}
