//! Packs a directory for the supervisor: a tar archive in a file without a name.
//!
//! The walk goes from directory descriptor to entry name and follows no symbolic link, so that nobody who can
//! write in the directory makes root pack a file from elsewhere. Links are kept as links, if they stay inside.
//! Equal directories give equal archives: sorted, without owners, with the file's own time only.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ploinky_contract::limits::{
    ARCHIVE_MAX_BYTES, MANIFEST_MAX_BYTES, TREE_MAX_DEPTH, TREE_MAX_ENTRIES,
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::machine::read_regular;
use crate::words;

/// The history of the sources is no part of an agent.
const LEFT_OUT: &[u8] = b".git";
/// Names at the top that Ploinky makes itself.
const TAKEN: [&str; 2] = [".tasks", ".ploinky"];

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

/// A directory that is about to be packed.
#[derive(Debug)]
pub(crate) struct Source {
    directory: OwnedFd,
    path: PathBuf,
}

/// A packed directory.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The archive, at its beginning.
    pub(crate) file: File,
    /// Files in it.
    pub(crate) files: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Source {
    /// Opens the directory; the argument itself may be a link.
    pub(crate) fn open(path: &Path) -> Result<Self, PackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| PackError::Read { path: path.to_owned(), source: e.into() })?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// The text of the manifest, if there is one.
    pub(crate) fn manifest(&self) -> Result<Option<Vec<u8>>, PackError> {
        let path = self.path.join("manifest.json");
        let read = |source: io::Error| PackError::Read { path: path.clone(), source };
        match open_file(&self.directory, c"manifest.json") {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(read(e.into())),
            Ok(file) => read_regular(file, MANIFEST_MAX_BYTES).map(Some).map_err(read),
        }
    }

    /// Whether `relative`, a path without `..`, is a directory inside.
    pub(crate) fn has_directory(&self, relative: &str) -> bool {
        rustix::fs::openat(
            &self.directory,
            relative,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .is_ok()
    }

    /// Packs everything but `.git` into a file in `temporary` that has no name.
    pub(crate) fn pack(&self, temporary: &Path) -> Result<Packed, PackError> {
        let failed = |source| PackError::Write { directory: temporary.to_owned(), source };
        let file = tempfile::tempfile_in(temporary).map_err(failed)?;
        let mut packer = Packer {
            archive: tar::Builder::new(BufWriter::new(file)),
            temporary,
            root: &self.path,
            entries: 0,
            files: 0,
            bytes: 0,
        };
        packer.directory(self.directory.as_fd(), Path::new(""), 1)?;
        let Packer { archive, files, bytes, .. } = packer;
        let file = archive
            .into_inner()
            .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|mut file| file.rewind().map(|()| file))
            .map_err(failed)?;
        Ok(Packed { file, files, bytes })
    }
}

struct Packer<'a> {
    archive: tar::Builder<BufWriter<File>>,
    temporary: &'a Path,
    root: &'a Path,
    entries: usize,
    files: usize,
    bytes: u64,
}

impl Packer<'_> {
    fn directory(
        &mut self,
        directory: impl AsFd + Copy,
        relative: &Path,
        depth: usize,
    ) -> Result<(), PackError> {
        let names = self.names(directory, relative)?;
        if !names.is_empty() && TREE_MAX_DEPTH < depth {
            return Err(PackError::Depth { path: self.root.join(relative) });
        }
        for name in names {
            let path = relative.join(OsStr::from_bytes(name.as_bytes()));
            self.entry(directory, &name, &path, depth)?;
        }
        Ok(())
    }

    /// Names in the order of their bytes. Bounded: a directory with more than all allowed entries ends it.
    fn names(&self, directory: impl AsFd, relative: &Path) -> Result<Vec<CString>, PackError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(|e| self.unreadable(relative, e.into()))? {
            let entry = entry.map_err(|e| self.unreadable(relative, e.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes() == LEFT_OUT {
                continue;
            }
            names.push(name.to_owned());
            if TREE_MAX_ENTRIES < self.entries + names.len() {
                let path = relative.join(OsStr::from_bytes(name.to_bytes()));
                return Err(PackError::Entries { path: self.root.join(path) });
            }
        }
        names.sort();
        Ok(names)
    }

    fn entry(
        &mut self,
        directory: impl AsFd,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), PackError> {
        let Ok(text) = name.to_str() else {
            return Err(PackError::Name { path: self.root.join(path) });
        };
        if depth == 1 && TAKEN.contains(&text) {
            return Err(PackError::Taken { path: self.root.join(path) });
        }
        self.entries += 1;
        let unreadable = |e: rustix::io::Errno| self.unreadable(path, e.into());
        let found =
            rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(&directory, name, flags, Mode::empty())
                    .map_err(unreadable)?;
                let mut header = header(tar::EntryType::Directory, 0o755, 0);
                self.append(&mut header, path, &mut io::empty())?;
                self.directory(inner.as_fd(), path, depth + 1)
            }
            FileType::RegularFile => {
                let file = open_file(&directory, name).map_err(unreadable)?;
                self.file(file, path)
            }
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&directory, name, Vec::new()).map_err(unreadable)?;
                self.link(Path::new(OsStr::from_bytes(target.as_bytes())), path)
            }
            FileType::Fifo => Err(self.kind(path, "a FIFO")),
            FileType::Socket => Err(self.kind(path, "a socket")),
            FileType::CharacterDevice | FileType::BlockDevice => Err(self.kind(path, "a device")),
            FileType::Unknown => Err(self.kind(path, "of an unknown kind")),
        }
    }

    fn file(&mut self, file: File, path: &Path) -> Result<(), PackError> {
        let found = rustix::fs::fstat(&file).map_err(|e| self.unreadable(path, e.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(PackError::Changed { path: self.root.join(path) });
        }
        let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        // Each entry has a header of 512 bytes and is filled up to a multiple of them.
        let overhead = 1024_u64.saturating_mul(self.entries as u64 + 1);
        if ARCHIVE_MAX_BYTES < self.bytes.saturating_add(overhead) {
            return Err(PackError::Size { path: self.root.join(path) });
        }
        let mode = if found.st_mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut header = header(tar::EntryType::Regular, mode, size);
        header.set_mtime(modified(&found));
        let mut counted = Counted { inner: file.take(size), read: 0, failed: None };
        let appended = self.append(&mut header, path, &mut counted);
        match counted {
            Counted { failed: Some(source), .. } => Err(self.unreadable(path, source)),
            Counted { read, .. } if appended.is_ok() && read != size => {
                Err(PackError::Changed { path: self.root.join(path) })
            }
            Counted { .. } => appended,
        }
    }

    fn link(&mut self, target: &Path, path: &Path) -> Result<(), PackError> {
        if !stays_inside(path, target) {
            let path = self.root.join(path);
            return Err(PackError::Link { path, target: target.to_owned() });
        }
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.archive.append_link(&mut header, path, target).map_err(|e| self.unwritable(e))
    }

    fn append(
        &mut self,
        header: &mut tar::Header,
        path: &Path,
        content: &mut dyn Read,
    ) -> Result<(), PackError> {
        self.archive.append_data(header, path, content).map_err(|e| self.unwritable(e))
    }

    fn kind(&self, path: &Path, kind: &'static str) -> PackError {
        PackError::Kind { path: self.root.join(path), kind }
    }

    fn unreadable(&self, path: &Path, source: io::Error) -> PackError {
        PackError::Read { path: self.root.join(path), source }
    }

    fn unwritable(&self, source: io::Error) -> PackError {
        PackError::Write { directory: self.temporary.to_owned(), source }
    }
}

/// Tells a failed read from a failed write, which look alike in the error of the archive.
struct Counted {
    inner: io::Take<File>,
    read: u64,
    failed: Option<io::Error>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(length) => {
                self.read += length as u64;
                Ok(length)
            }
            Err(e) => {
                let kind = e.kind();
                self.failed = Some(e);
                Err(kind.into())
            }
        }
    }
}

fn open_file(directory: impl AsFd, name: &CStr) -> rustix::io::Result<File> {
    // A FIFO put in the place of the file would make the open wait.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map(File::from)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn modified(found: &Stat) -> u64 {
    u64::try_from(found.st_mtime).unwrap_or_default()
}

/// Whether a relative `target` of the link at `path` leads to something below the root, by its words alone:
/// `..` may come first only, as behind another link it could be anything.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let above = path.components().count().saturating_sub(1);
    let is_up = |part: &Component<'_>| matches!(part, Component::ParentDir);
    let ups = target.components().take_while(is_up).count();
    let is_plain = target
        .components()
        .skip(ups)
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    is_plain && ups <= above && target.to_str().is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn pack(path: &Path) -> Result<Packed, PackError> {
        Source::open(path)?.pack(&std::env::temp_dir())
    }

    fn refused(path: &Path) -> String {
        let text = pack(path).unwrap_err().to_string();
        text.replace(path.to_str().unwrap(), "DIR")
    }

    /// `kind mode path size|target` of each entry.
    fn entries(packed: Packed) -> Vec<String> {
        let mut archive = tar::Archive::new(packed.file);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let target = entry.link_name().unwrap().map(|target| target.display().to_string());
                format!(
                    "{:?} {:o} {} {}",
                    header.entry_type(),
                    header.mode().unwrap(),
                    entry.path().unwrap().display(),
                    target.unwrap_or(header.size().unwrap().to_string())
                )
            })
            .collect()
    }

    #[test]
    fn sockets_fifos_and_escaping_links_are_refused_by_name() {
        type Put = fn(&Path);
        let cases: [(&str, Put); 9] = [
            ("DIR/a/s is a socket; an agent has files, directories and links only", |dir| {
                put(&dir.join("a/x"), "");
                drop(UnixListener::bind(dir.join("a/s")).unwrap());
            }),
            ("DIR/f is a FIFO; an agent has files, directories and links only", |dir| {
                let mode = Mode::from_raw_mode(0o600);
                rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("f"), mode).unwrap();
            }),
            (
                "DIR/l links to `/etc/shadow`, which leads, or could lead, out of the directory",
                |dir| {
                    symlink("/etc/shadow", dir.join("l")).unwrap();
                },
            ),
            ("DIR/l links to `..`, which leads, or could lead, out of the directory", |dir| {
                symlink("..", dir.join("l")).unwrap();
            }),
            (
                "DIR/a/l links to `../b/../../x`, which leads, or could lead, out of the directory",
                |dir| {
                    fs::create_dir(dir.join("a")).unwrap();
                    symlink("../b/../../x", dir.join("a/l")).unwrap();
                },
            ),
            (
                "DIR/a/l links to `b/../x`, which leads, or could lead, out of the directory",
                |dir| {
                    fs::create_dir(dir.join("a")).unwrap();
                    symlink("b/../x", dir.join("a/l")).unwrap();
                },
            ),
            ("DIR/\u{fffd} has a name that is not UTF-8", |dir| {
                File::create(dir.join(OsStr::from_bytes(b"\xff"))).unwrap();
            }),
            ("DIR/.tasks has a name that belongs to Ploinky", |dir| {
                fs::create_dir(dir.join(".tasks")).unwrap();
            }),
            ("DIR/big does not fit: the files of an agent may have 256.0 MiB together", |dir| {
                File::create(dir.join("big")).unwrap().set_len(1 << 40).unwrap();
            }),
        ];
        for (expected, prepare) in cases {
            let directory = tempfile::tempdir().unwrap();
            prepare(directory.path());
            assert_eq!(refused(directory.path()), expected);
        }
    }

    #[test]
    fn a_tree_deeper_than_allowed_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", TREE_MAX_DEPTH).collect();
        fs::create_dir_all(directory.path().join(&deep)).unwrap();
        assert!(pack(directory.path()).is_ok());
        put(&directory.path().join(deep).join("x"), "");
        assert!(refused(directory.path()).ends_with("lies too deep: 32 levels are allowed"));
    }

    #[test]
    fn a_directory_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(refused(&directory.path().join("x")), "cannot read DIR");
        put(&directory.path().join("f"), "");
        assert_eq!(refused(&directory.path().join("f")), "cannot read DIR");
    }

    #[test]
    fn a_manifest_that_is_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/etc/hostname", directory.path().join("manifest.json")).unwrap();
        let source = Source::open(directory.path()).unwrap();
        let PackError::Read { path, source } = source.manifest().unwrap_err() else { panic!() };
        assert!(path.ends_with("manifest.json"));
        assert_eq!(source.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn equal_directories_give_equal_archives() {
        let long = "x".repeat(150);
        let fill = |names: &[&str]| {
            let directory = tempfile::tempdir().unwrap();
            for name in names {
                let path = directory.path().join(name);
                put(&path, name);
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
                File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            put(&directory.path().join(".git/HEAD"), "x");
            put(&directory.path().join("lib/.git"), "gitdir: ../x");
            symlink("../a", directory.path().join("lib/link")).unwrap();
            let run = directory.path().join("run.sh");
            fs::set_permissions(run, fs::Permissions::from_mode(0o700)).unwrap();
            pack(directory.path()).unwrap()
        };
        let names = ["b", "a", "lib/c", "run.sh", "node_modules/m/i.js", &long];
        let mut reversed = names;
        reversed.reverse();
        let (mut first, mut second) = (fill(&names), fill(&reversed));
        assert_eq!((first.files, first.bytes), (6, 182));
        let bytes = |packed: &mut Packed| {
            let mut bytes = Vec::new();
            packed.file.read_to_end(&mut bytes).unwrap();
            packed.file.rewind().unwrap();
            bytes
        };
        assert!(bytes(&mut first) == bytes(&mut second));
        assert_eq!(
            entries(first),
            [
                "Regular 644 a 1",
                "Regular 644 b 1",
                "Directory 755 lib 0",
                "Regular 644 lib/c 5",
                "Symlink 777 lib/link ../a",
                "Directory 755 node_modules 0",
                "Directory 755 node_modules/m 0",
                "Regular 644 node_modules/m/i.js 19",
                "Regular 755 run.sh 6",
                &format!("Regular 644 {long} 150"),
            ]
        );
    }
}
