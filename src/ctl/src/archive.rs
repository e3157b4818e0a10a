//! Packs a directory for the supervisor: a tar archive in a file without a name.
//!
//! The walk goes from directory descriptor to entry name and follows no symbolic link, so that nobody who can
//! write in the directory makes root pack a file from elsewhere. Links are kept as links, if they stay inside.
//! Equal directories give equal archives: sorted, without owners, with the file's own time only.

mod content;
mod pack_error;
mod packer;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ploinky_contract::limits::MANIFEST_MAX_BYTES;
use rustix::fs::{Mode, OFlags};

pub(crate) use self::pack_error::PackError;
use self::packer::Packer;
use crate::machine::read_regular;

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
        let mut packer = Packer::new(temporary, &self.path)?;
        packer.directory(self.directory.as_fd(), Path::new(""), 1)?;
        packer.finish()
    }
}

fn open_file(directory: impl AsFd, name: &CStr) -> rustix::io::Result<File> {
    // A FIFO put in the place of the file would make the open wait.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::io::{Read, Seek, Write};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use ploinky_contract::limits::TREE_MAX_DEPTH;

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
