//! Uploads: the server writes `files/<id>/<k>`, the agent reads them. They appear whole or not at all.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::limits::UPLOAD_FILES_MAX;
use ploinky_contract::{Floor, TaskId};
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::Producer;
use crate::directories::{DIRECTORY, space_of, unless_absent};
use crate::disk::Disk;

/// The agent reads and enters by its group.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// The files of an upload that the agent does not see yet. Dropped without [`StagedUpload::publish_as`] they are
/// removed.
#[derive(Debug)]
pub struct StagedUpload {
    disk: Disk,
    files: OwnedFd,
    upload: TaskId,
    directory: OwnedFd,
    is_published: bool,
}

/// The name under which the files of an upload are gathered.
pub(crate) fn staged_name(id: TaskId) -> String {
    format!(".tmp-{id}")
}

impl Producer {
    /// Begins the upload `upload`: an id of its own, because several may come for one task that is named by a
    /// key.
    ///
    /// # Errors
    /// When the directory cannot be made; `AlreadyExists` if there is one of this id.
    pub fn stage_upload(&self, upload: TaskId) -> io::Result<StagedUpload> {
        let files = self.directories.files()?.try_clone()?;
        let name = staged_name(upload);
        mkdirat(&files, &name, DIRECTORY_MODE)?;
        let directory = openat(&files, &name, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        let disk = self.directories.disk.clone();
        Ok(StagedUpload { disk, files, upload, directory, is_published: false })
    }

    /// Begins the upload `upload` with the first `count` files of task `old` by second names, so that they stay
    /// whichever of both tasks is removed first, and need no more room. `None` if one of them is gone.
    ///
    /// # Errors
    /// When the directory or a name cannot be made; nothing of the upload is left then.
    pub fn stage_again(
        &self,
        upload: TaskId,
        old: TaskId,
        count: usize,
    ) -> io::Result<Option<StagedUpload>> {
        let files = self.directories.files()?;
        let from = match openat(files, old.as_str(), DIRECTORY | OFlags::RDONLY, Mode::empty()) {
            Ok(from) => from,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let staged = self.stage_upload(upload)?;
        for number in 0..count {
            let name = number.to_string();
            match linkat(&from, &name, &staged.directory, &name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(staged))
    }

    /// Removes the files of a task.
    ///
    /// # Errors
    /// When something of them cannot be removed.
    pub fn remove_files(&self, id: TaskId) -> io::Result<()> {
        match self.directories.files() {
            Ok(files) => remove_upload(files, id.as_str()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl StagedUpload {
    /// The file number `number`, empty and open for writing. The agent will see it at `files/<id>/<number>`.
    ///
    /// # Errors
    /// When there are [`UPLOAD_FILES_MAX`] already, this one is there, or it cannot be made.
    pub fn create(&self, number: usize) -> io::Result<File> {
        if UPLOAD_FILES_MAX <= number {
            return Err(Errno::MFILE.into());
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory, number.to_string(), flags, FILE_MODE)?.into())
    }

    /// Makes the bytes of a file durable; call it once, when it is whole, if the task is to be accepted for
    /// good.
    ///
    /// # Errors
    /// The upload has to be given up then.
    pub fn sync(&self, file: File) -> io::Result<()> {
        self.disk.sync_file(&file.into())
    }

    /// Removes the file number `number` again.
    ///
    /// # Errors
    /// When it stays.
    pub fn remove(&self, number: usize) -> io::Result<()> {
        unless_absent(unlinkat(&self.directory, number.to_string(), AtFlags::empty()))
    }

    /// Bytes that may be written before the disk is as full as it may be; 0 if there are too few inodes.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn room_bytes(&self) -> io::Result<u64> {
        Ok(space_of(&self.directory)?.above(Floor::USABLE))
    }

    /// Makes the files visible to the agent as those of task `id`; with `durable` they survive a power cut from
    /// then on. `false` if that task has files already, which stay; these are removed.
    ///
    /// # Errors
    /// Nothing of them is visible then.
    pub fn publish_as(mut self, id: TaskId, durable: bool) -> io::Result<bool> {
        let Self { disk, files, .. } = &self;
        if durable {
            disk.sync_directory(&self.directory)?;
        }
        let name = staged_name(self.upload);
        match renameat_with(files, &name, files, id.as_str(), RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
        let synced = if durable { disk.sync_directory(files) } else { Ok(()) };
        if synced.is_err() {
            remove_upload(files, id.as_str()).ok();
        }
        self.is_published = true;
        synced.map(|()| true)
    }
}

impl Drop for StagedUpload {
    fn drop(&mut self) {
        if !self.is_published {
            // What stays is a stray, and the janitor's.
            remove_upload(&self.files, &staged_name(self.upload)).ok();
        }
    }
}

/// Removes the directory `name` and the files in it. All of it is the server's own.
pub(crate) fn remove_upload(files: &OwnedFd, name: &str) -> io::Result<()> {
    let directory = match openat(files, name, DIRECTORY | OFlags::RDONLY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            unless_absent(unlinkat(&directory, entry.file_name(), AtFlags::empty()))?;
        }
    }
    unless_absent(unlinkat(files, name, AtFlags::REMOVEDIR))
}
