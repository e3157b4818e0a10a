//! Writes the content of files in blocks, each on a thread that may block, while the next block comes.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use ploinky_contract::limits::UPLOAD_BLOCK_BYTES;
use ploinky_queue::is_no_space;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::stage::Stage;

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The disk is as full as it may be.
    #[error("there is no space left for the files")]
    NoSpace,
    /// The disk has trouble.
    #[error("the files cannot be written now")]
    Disk(#[source] io::Error),
}

/// What comes back of a block: the disk, and the memory for the next one.
type Written = Result<(Disk, Vec<u8>), WriteError>;

/// Takes files one after the other. At most two blocks are in memory.
#[derive(Debug)]
pub(super) struct Writer {
    turns: Arc<Semaphore>,
    /// `None` while a block is written.
    disk: Option<Disk>,
    writing: Option<JoinHandle<Written>>,
    /// What came and is not being written.
    block: Vec<u8>,
    /// The other block, while nothing is written.
    spare: Vec<u8>,
    starts_file: bool,
}

/// What the blocking side needs.
#[derive(Debug)]
pub(super) struct Disk {
    stage: Stage,
    file: Option<File>,
    is_durable: bool,
    /// Of each file, if somebody will ask for it.
    digest: Option<Sha256>,
}

/// What is to be done with a block.
#[derive(Clone, Copy, Debug)]
struct Step {
    starts_file: bool,
    ends_file: bool,
}

impl Disk {
    /// Writes into `stage`. With `is_durable` a power cut takes nothing back once all is written; with
    /// `is_digested` the content is hashed on its way.
    pub(super) fn new(stage: Stage, is_durable: bool, is_digested: bool) -> Self {
        let digest = is_digested.then(Sha256::new);
        Self { stage, file: None, is_durable, digest }
    }

    /// Where the files are, and the digest of all of them in their order.
    pub(super) fn into_parts(self) -> (Stage, Option<[u8; 32]>) {
        let Self { stage, file: _, is_durable: _, digest } = self;
        (stage, digest.map(|digest| digest.finalize().into()))
    }

    fn write(&mut self, step: Step, block: &[u8]) -> Result<(), WriteError> {
        let Self { stage, file, is_durable, digest } = self;
        if step.starts_file {
            *file = Some(stage.create().map_err(refused)?);
        }
        if stage.room_bytes().map_err(refused)? <= block.len() as u64 {
            return Err(WriteError::NoSpace);
        }
        if let Some(file) = file {
            file.write_all(block).map_err(refused)?;
        }
        if let Some(digest) = digest {
            digest.update(block);
        }
        if step.ends_file
            && let Some(file) = file.take()
            && *is_durable
        {
            stage.sync(file).map_err(refused)?;
        }
        Ok(())
    }
}

impl Writer {
    /// Takes files for `disk`; `turns` bounds how many blocks all uploads write at once.
    pub(super) fn new(disk: Disk, turns: Arc<Semaphore>) -> Self {
        let (block, spare) = (Vec::new(), Vec::new());
        Self { turns, disk: Some(disk), writing: None, block, spare, starts_file: false }
    }

    /// Begins a file; the one before must have ended.
    pub(super) fn begin(&mut self) {
        self.starts_file = true;
    }

    /// Takes content of the file.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            if self.block.capacity() == 0 {
                self.block.reserve_exact(UPLOAD_BLOCK_BYTES);
            }
            let room = UPLOAD_BLOCK_BYTES.saturating_sub(self.block.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.block.extend_from_slice(now);
            bytes = later;
            if UPLOAD_BLOCK_BYTES <= self.block.len() {
                self.write(false).await?;
            }
        }
        Ok(())
    }

    /// Ends the file; all of it is written then.
    pub(super) async fn end(&mut self) -> Result<(), WriteError> {
        self.write(true).await?;
        self.settle().await
    }

    /// Removes the file that ended last.
    pub(super) fn forget_last(&mut self) -> Result<(), WriteError> {
        self.disk.as_mut().map_or(Ok(()), |disk| disk.stage.forget_last()).map_err(refused)
    }

    /// What was written to, once the last file has ended.
    pub(super) fn into_disk(self) -> Option<Disk> {
        self.disk
    }

    /// Hands the block to the disk as soon as the one before is written.
    async fn write(&mut self, ends_file: bool) -> Result<(), WriteError> {
        self.settle().await?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let Some(mut disk) = self.disk.take() else { return Ok(()) };
        let mut block = std::mem::replace(&mut self.block, std::mem::take(&mut self.spare));
        let step = Step { starts_file: std::mem::take(&mut self.starts_file), ends_file };
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let _turn = turn;
            disk.write(step, &block)?;
            block.clear();
            Ok((disk, block))
        }));
        Ok(())
    }

    /// Waits until nothing is being written.
    async fn settle(&mut self) -> Result<(), WriteError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await;
        self.writing = None;
        let (disk, block) = written.map_err(|e| WriteError::Disk(io::Error::other(e)))??;
        (self.disk, self.spare) = (Some(disk), block);
        Ok(())
    }
}

pub(super) fn refused(error: io::Error) -> WriteError {
    if is_no_space(&error) { WriteError::NoSpace } else { WriteError::Disk(error) }
}
