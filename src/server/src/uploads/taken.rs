//! What has come of a form: files on the disk, fields in memory, each within its bounds.

use std::sync::Arc;

use bytes::BytesMut;
use ploinky_contract::limits::{FREE_BYTES, REQUEST_MAX_BYTES, UPLOAD_FIELD_MAX_BYTES};
use ploinky_contract::{CommandName, TaskId};
use tokio::sync::Semaphore;

use super::form::{FileHead, Part};
use super::parameters::{Fields, WholeFile, parameters};
use super::writer::{Disk, Writer};
use super::{FieldError, Files, Received, UploadError};
use crate::byte_budget::ByteShare;

/// What has come of a form.
pub(super) struct Taken {
    writer: Writer,
    files: Vec<WholeFile>,
    fields: Fields,
    /// Bytes that may still come in files.
    left: u64,
    limit: u64,
    /// Bytes of the fields.
    held: usize,
    share: ByteShare,
}

impl Taken {
    /// Nothing yet. The files go to `disk` and are `limit` bytes together at most; fields that are not small
    /// take from `share`.
    pub(super) fn new(disk: Disk, turns: Arc<Semaphore>, limit: u64, share: ByteShare) -> Self {
        let (files, fields) = (Vec::new(), Fields::default());
        let writer = Writer::new(disk, turns);
        Self { writer, files, fields, left: limit, limit, held: 0, share }
    }

    /// Takes a file.
    pub(super) async fn file(&mut self, mut part: Part, head: FileHead) -> Result<(), UploadError> {
        let mut size = 0;
        self.writer.begin();
        while let Some(bytes) = part.chunk().await.map_err(UploadError::Form)? {
            let length = bytes.len() as u64;
            self.left =
                self.left.checked_sub(length).ok_or(UploadError::TooLarge { limit: self.limit })?;
            size += length;
            self.writer.push(&bytes).await.map_err(UploadError::Write)?;
        }
        self.writer.end().await.map_err(UploadError::Write)?;
        if size == 0 && head.name.is_empty() {
            // What a browser sends for a file that was not chosen.
            self.writer.forget_last().map_err(UploadError::Write)
        } else {
            self.files.push(WholeFile { field: part.name, head, size });
            Ok(())
        }
    }

    /// Reads a part that is no file.
    pub(super) async fn field(
        &mut self,
        mut part: Part,
    ) -> Result<(String, BytesMut), UploadError> {
        let mut value = BytesMut::new();
        while let Some(bytes) = part.chunk().await.map_err(UploadError::Form)? {
            if UPLOAD_FIELD_MAX_BYTES < value.len() + bytes.len() {
                let field = part.name;
                return Err(UploadError::Field(FieldError::TooLong { field }));
            }
            self.held += bytes.len();
            if REQUEST_MAX_BYTES < self.held {
                return Err(UploadError::Field(FieldError::AllTooLong));
            }
            if FREE_BYTES < self.held && !self.share.grow(self.held - FREE_BYTES) {
                return Err(UploadError::NoMemory);
            }
            value.extend_from_slice(&bytes);
        }
        Ok((part.name, value))
    }

    /// Keeps the value of a field.
    pub(super) fn add(&mut self, field: String, value: &[u8]) -> Result<(), UploadError> {
        self.fields.add(field, value).map_err(UploadError::Field)
    }

    /// What becomes of it all at the end of the form.
    pub(super) fn finish(self, id: TaskId, command: CommandName) -> Result<Received, UploadError> {
        let Self { writer, files, fields, left: _, limit: _, held: _, share: _ } = self;
        if files.is_empty() {
            return Err(UploadError::NoFile);
        }
        let params = parameters(id, &files, &fields).map_err(UploadError::Field)?;
        // Every file has ended, so nothing is being written.
        let disk = writer.into_disk().ok_or(UploadError::NoFile)?;
        let (stage, digest) = disk.into_parts();
        Ok(Received { command, params, files: Files { id, stage, digest } })
    }
}
