//! An agent that a package installed → entries of a tree.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::{TreeError, TreePath, TreeWriter};

/// Copies what is below `source` through `writer`.
///
/// # Errors
/// When an entry breaks a rule or cannot be read; what was made so far stays in the staging directory.
pub(crate) fn copy(source: &Path, writer: &mut TreeWriter) -> Result<(), TreeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(source, flags, Mode::empty()).map_err(|error| TreeError::Io {
        path: source.display().to_string(),
        source: error.into(),
    })?;
    copy_directory(top.as_fd(), "", writer)
}

/// The depth is bounded by [`TreePath`], and with it the recursion and the open directories.
fn copy_directory(
    directory: BorrowedFd<'_>,
    prefix: &str,
    writer: &mut TreeWriter,
) -> Result<(), TreeError> {
    let unreadable = |error: rustix::io::Errno| TreeError::Io {
        path: if prefix.is_empty() { ".".to_owned() } else { prefix.to_owned() },
        source: error.into(),
    };
    for entry in Dir::read_from(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut full = prefix.as_bytes().to_vec();
        if !prefix.is_empty() {
            full.push(b'/');
        }
        full.extend(name.to_bytes());
        let Some(path) = TreePath::parse(&full)? else { continue };
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| path.io(error))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                writer.directory(&path)?;
                let inner = open(directory, name, OFlags::DIRECTORY).map_err(|e| path.io(e))?;
                let prefix =
                    String::from_utf8(full).map_err(|_utf8| path.refuse("is not UTF-8"))?;
                copy_directory(inner.as_fd(), &prefix, writer)?;
            }
            FileType::RegularFile => {
                let mut file =
                    File::from(open(directory, name, OFlags::NONBLOCK).map_err(|e| path.io(e))?);
                let metadata = file.metadata().map_err(|error| path.io(error))?;
                if !metadata.is_file() {
                    return Err(path.io(io::Error::other("changed while it was read")));
                }
                let executable = found.st_mode & 0o111 != 0;
                writer.file(&path, executable, metadata.len(), &mut file)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())
                    .map_err(|error| path.io(error))?;
                writer.symlink(&path, target.to_bytes())?;
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                return Err(path.refuse("is neither a file, a directory nor a link"));
            }
        }
    }
    Ok(())
}

fn open(
    directory: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    more: OFlags,
) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn attempt(source: &Path) -> Result<tempfile::TempDir, String> {
        let target = tempfile::tempdir().unwrap();
        let mut writer = TreeWriter::new(File::open(target.path()).unwrap().into());
        copy(source, &mut writer).map_err(|error| error.to_string())?;
        Ok(target)
    }

    #[test]
    fn what_is_no_file_or_leads_out_is_refused() {
        for (name, make, expected) in [
            (
                "out",
                (|at: &Path| std::os::unix::fs::symlink("/etc", at).unwrap()) as fn(&Path),
                "`sub/out` is a link to `/etc`",
            ),
            (
                "fifo",
                |at| rustix::fs::mkfifoat(rustix::fs::CWD, at, Mode::RWXU).unwrap(),
                "`sub/fifo` is neither a file",
            ),
        ] {
            let source = tempfile::tempdir().unwrap();
            std::fs::create_dir(source.path().join("sub")).unwrap();
            make(&source.path().join("sub").join(name));
            let found = attempt(source.path()).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join(".tasks")).unwrap();
        assert!(attempt(source.path()).unwrap_err().contains("belongs to Ploinky"));
        assert!(
            attempt(&source.path().join("nothing")).unwrap_err().starts_with("cannot take over")
        );
    }

    #[test]
    fn an_installed_agent_arrives() {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(source.path().join("a/b")).unwrap();
        File::create(source.path().join("a/b/c")).unwrap().write_all(b"text").unwrap();
        std::os::unix::fs::symlink("b/c", source.path().join("a/l")).unwrap();
        let target = attempt(source.path()).unwrap();
        assert_eq!(std::fs::read(target.path().join("a/l")).unwrap(), b"text");
    }
}
