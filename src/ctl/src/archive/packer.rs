//! The walk through a directory, and the entries that it adds to the archive.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use ploinky_contract::limits::{ARCHIVE_MAX_BYTES, TREE_MAX_DEPTH, TREE_MAX_ENTRIES};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::content::Counted;
use super::{PackError, Packed, open_file};

/// The history of the sources is no part of an agent.
const LEFT_OUT: &[u8] = b".git";
/// Names at the top that Ploinky makes itself.
const TAKEN: [&str; 2] = [".tasks", ".ploinky"];

/// An archive that grows, and what is in it.
pub(super) struct Packer<'a> {
    archive: tar::Builder<BufWriter<File>>,
    temporary: &'a Path,
    root: &'a Path,
    entries: usize,
    files: usize,
    bytes: u64,
}

impl<'a> Packer<'a> {
    /// An empty archive in a file in `temporary` that has no name; errors name what lies below `root`.
    pub(super) fn new(temporary: &'a Path, root: &'a Path) -> Result<Self, PackError> {
        let file = tempfile::tempfile_in(temporary)
            .map_err(|source| PackError::Write { directory: temporary.to_owned(), source })?;
        let archive = tar::Builder::new(BufWriter::new(file));
        Ok(Self { archive, temporary, root, entries: 0, files: 0, bytes: 0 })
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<Packed, PackError> {
        let Self { archive, temporary, root: _, entries: _, files, bytes } = self;
        let file = archive
            .into_inner()
            .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|mut file| file.rewind().map(|()| file))
            .map_err(|source| PackError::Write { directory: temporary.to_owned(), source })?;
        Ok(Packed { file, files, bytes })
    }

    /// Adds all that `directory` has, which is `relative` to the root and `depth` levels deep.
    pub(super) fn directory(
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
        let mut counted = Counted::new(file, size);
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
