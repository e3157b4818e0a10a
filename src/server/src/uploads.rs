//! Forms with files (`POST <path>/upload`): streamed to the disk while they come, never whole in memory.
//!
//! What a client calls its files is data for the agent; on the disk they are numbers. Does not submit tasks.

mod form;
mod gate;
mod parameters;
mod stage;
mod taken;
mod writer;

use std::io;
use std::sync::Arc;

use axum::body::Body;
use ploinky_contract::limits::{
    REQUEST_MAX_BYTES, UPLOAD_PART_HEAD_MAX_BYTES, UPLOAD_PARTS_MAX, UPLOAD_WRITERS_MAX,
    UPLOADS_AT_ONCE,
};
use ploinky_contract::{CommandName, InvalidCommandName, TaskId};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::form::Form;
pub(crate) use self::form::{FormError, boundary};
pub(crate) use self::parameters::{FieldError, moved};
pub(crate) use self::stage::Stage;
use self::taken::Taken;
use self::writer::Disk;
pub(crate) use self::writer::WriteError;
use crate::byte_budget::ByteBudget;

/// The field that names the command, if the query does not.
const COMMAND_FIELD: &str = "command";
/// The command, if nothing names one.
const COMMAND_DEFAULT: &str = "upload";
/// Bytes of a body besides its files: heads and fields.
const AROUND_FILES_MAX_BYTES: u64 =
    (UPLOAD_PARTS_MAX * UPLOAD_PART_HEAD_MAX_BYTES + REQUEST_MAX_BYTES) as u64;

/// Why an upload is refused; nothing is left of it then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// As many uploads as allowed are coming.
    #[error("{UPLOADS_AT_ONCE} uploads are coming already; try again later")]
    Busy,
    /// The files are longer than allowed.
    #[error("the files are longer than the {limit} bytes that the agent takes")]
    TooLarge {
        /// `uploads.max` of the manifest.
        limit: u64,
    },
    /// There is no file.
    #[error("the form has no file; give it one with a file name")]
    NoFile,
    /// The form is none.
    #[error(transparent)]
    Form(FormError),
    /// A field is none.
    #[error(transparent)]
    Field(FieldError),
    /// The command is none.
    #[error("`command`: {0}")]
    Command(InvalidCommandName),
    /// The agent has no such command.
    #[error("the agent has no command `{0}`")]
    UnknownCommand(CommandName),
    /// All requests together hold as much as they may.
    #[error("there is no memory left for the fields of the form; try again later")]
    NoMemory,
    /// The files cannot be written.
    #[error(transparent)]
    Write(WriteError),
}

impl UploadError {
    /// The files cannot be written, because of `error`.
    pub(crate) fn not_written(error: io::Error) -> Self {
        Self::Write(writer::refused(error))
    }
}

/// What all uploads of the process share.
#[derive(Debug)]
pub(crate) struct Uploads {
    coming: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// What is known of an upload before its body is read.
#[derive(Debug)]
pub(crate) struct Announced {
    /// What separates the parts.
    pub(crate) boundary: String,
    /// The length of the body, if the head says it.
    pub(crate) length: Option<u64>,
    /// The command, if the query says it.
    pub(crate) command: Option<CommandName>,
    /// Bytes of all files at most.
    pub(crate) limit: u64,
    /// Whether the files have to outlive a power cut.
    pub(crate) is_durable: bool,
    /// Whether somebody will ask if it is the same form as before.
    pub(crate) is_digested: bool,
}

/// An upload that is whole.
#[derive(Debug)]
pub(crate) struct Received {
    /// What is called.
    pub(crate) command: CommandName,
    /// With what, without the user.
    pub(crate) params: Vec<Box<RawValue>>,
    /// The files.
    pub(crate) files: Files,
}

/// The files of a task that is not submitted yet.
#[derive(Debug)]
pub(crate) struct Files {
    /// The task.
    pub(crate) id: TaskId,
    /// Where they are; removed on drop.
    pub(crate) stage: Stage,
    /// SHA-256 of all of them in their order, if asked for.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Default for Uploads {
    fn default() -> Self {
        let coming = Arc::new(Semaphore::new(UPLOADS_AT_ONCE));
        Self { coming, turns: Arc::new(Semaphore::new(UPLOAD_WRITERS_MAX)) }
    }
}

impl Announced {
    /// Whether the body may be as long as its head says.
    pub(crate) fn check_length(&self) -> Result<(), UploadError> {
        let longest = self.limit.saturating_add(AROUND_FILES_MAX_BYTES);
        if self.length.is_some_and(|length| longest < length) {
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        Ok(())
    }
}

impl Uploads {
    /// The right to bring one upload.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, UploadError> {
        Arc::clone(&self.coming).try_acquire_owned().map_err(|_none_left| UploadError::Busy)
    }

    /// Takes the form in `body` for task `id`, with its files in `stage`. Fields that are not small take
    /// from `bodies` until the task is made of them.
    pub(crate) async fn receive(
        &self,
        announced: Announced,
        body: Body,
        id: TaskId,
        mut stage: Stage,
        bodies: &ByteBudget,
        knows: &(dyn Fn(&CommandName) -> bool + Sync),
    ) -> Result<Received, UploadError> {
        let Announced { boundary, length, command, limit, is_durable, is_digested } = announced;
        let room = stage.room_bytes().map_err(UploadError::not_written)?;
        if room <= length.unwrap_or(0) {
            return Err(UploadError::Write(WriteError::NoSpace));
        }
        let disk = Disk::new(stage, is_durable, is_digested);
        let mut taken = Taken::new(disk, Arc::clone(&self.turns), limit, bodies.nothing());
        let mut command = command;
        let mut form = Form::new(body, boundary);
        while let Some(part) = form.next().await.map_err(UploadError::Form)? {
            if let Some(head) = part.file.clone() {
                taken.file(part, head).await?;
                continue;
            }
            let is_command = command.is_none() && part.name == COMMAND_FIELD;
            let (field, value) = taken.field(part).await?;
            if is_command {
                let named =
                    String::from_utf8_lossy(&value).parse().map_err(UploadError::Command)?;
                command = Some(known(named, knows)?);
            } else {
                taken.add(field, &value)?;
            }
        }
        let command = match command {
            Some(command) => command,
            None => known(COMMAND_DEFAULT.parse().map_err(UploadError::Command)?, knows)?,
        };
        taken.finish(id, command)
    }
}

fn known(
    command: CommandName,
    knows: &(dyn Fn(&CommandName) -> bool + Sync),
) -> Result<CommandName, UploadError> {
    if knows(&command) { Ok(command) } else { Err(UploadError::UnknownCommand(command)) }
}

#[cfg(test)]
mod tests;
