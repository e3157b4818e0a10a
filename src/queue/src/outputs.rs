//! Results that are files: the agent writes `outputs/<id>`, the server streams it as a stranger's file.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{Mode, fchmod, fstat};

use crate::producer::remove_result;
use crate::read_result::{BadResult, length_of, open_plain};
use crate::{Claim, Consumer, FileResult, Producer, SyncClaim};

/// Everybody may read: the server is nobody special to the agent's files.
const READABLE: u32 = 0o444;

/// A result that is open. Read it in blocks, never by `mmap` or `sendfile`: it may shrink meanwhile.
#[derive(Debug)]
pub struct OutputFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its bytes when it was opened.
    pub size: u64,
}

impl Producer {
    /// Opens the result of a task that is a file, or gives `None` if it is not there.
    ///
    /// # Errors
    /// When what is there is no regular file with one name and of the size that was recorded.
    pub fn open_output(
        &self,
        id: TaskId,
        recorded: &FileResult,
    ) -> Result<Option<OutputFile>, BadResult> {
        let Some(output) = open(self.directories.outputs(), id)? else { return Ok(None) };
        if output.size == recorded.size() {
            Ok(Some(output))
        } else {
            Err(BadResult::Size { found: output.size, recorded: recorded.size() })
        }
    }

    /// Removes the result of a task that is a file. A directory that the agent filled stays: it is litter of
    /// its own.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_output(&self, id: TaskId) -> io::Result<()> {
        remove(self.directories.outputs(), id)
    }
}

impl Consumer {
    /// Makes what the handler left at `outputs/<id>` fit to be the result `name` of `media_type`: it has to be
    /// a regular file with one name. For a task that was accepted for good it is durable afterwards. `None` if
    /// nothing is there, or name or type break the rules of [`FileResult::new`].
    ///
    /// # Errors
    /// When what is there is no such file, or cannot be made durable; [`BadResult::is_fault_of_agent`] tells.
    pub fn seal_output(
        &self,
        claim: &Claim,
        name: &str,
        media_type: &str,
    ) -> Result<Option<FileResult>, BadResult> {
        self.seal(claim.id(), claim.head().terms.is_async(), name, media_type)
    }

    /// The same for a task of the other lane.
    ///
    /// # Errors
    /// Those of [`Consumer::seal_output`].
    pub fn seal_output_of_call(
        &self,
        claim: &SyncClaim,
        name: &str,
        media_type: &str,
    ) -> Result<Option<FileResult>, BadResult> {
        self.seal(claim.id(), false, name, media_type)
    }

    fn seal(
        &self,
        id: TaskId,
        is_durable: bool,
        name: &str,
        media_type: &str,
    ) -> Result<Option<FileResult>, BadResult> {
        let trouble = |source: io::Error| BadResult::Trouble { source };
        let Some(output) = open(self.directories.outputs(), id)? else { return Ok(None) };
        let file = OwnedFd::from(output.file);
        let mode = fstat(&file).map_err(|e| trouble(e.into()))?.st_mode;
        if mode & READABLE != READABLE {
            let mode = Mode::from_raw_mode(mode & 0o7777 | READABLE);
            fchmod(&file, mode).map_err(|e| trouble(e.into()))?;
        }
        if is_durable {
            let disk = &self.directories.disk;
            disk.sync_file(&file).map_err(trouble)?;
            let outputs = self.directories.outputs().map_err(trouble)?;
            disk.sync_directory(outputs).map_err(trouble)?;
        }
        Ok(FileResult::new(name, media_type, output.size))
    }

    /// Removes what an earlier run left at `outputs/<id>`.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_output(&self, id: TaskId) -> io::Result<()> {
        remove(self.directories.outputs(), id)
    }
}

fn open(outputs: io::Result<&OwnedFd>, id: TaskId) -> Result<Option<OutputFile>, BadResult> {
    let outputs = match outputs {
        Ok(outputs) => outputs,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BadResult::Trouble { source }),
    };
    Ok(open_plain(outputs, id.as_str())?
        .map(|(file, about)| OutputFile { size: length_of(&about), file: file.into() }))
}

fn remove(outputs: io::Result<&OwnedFd>, id: TaskId) -> io::Result<()> {
    match outputs {
        Ok(outputs) => remove_result(outputs, id).map(|_was_there| ()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
