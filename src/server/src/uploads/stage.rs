//! The files of one upload until a task has them. What is not handed over is removed again, and never on the
//! event loop: a long file takes long to remove.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ploinky_contract::TaskId;
use ploinky_queue::{Producer, StagedUpload};
use tokio::runtime::Handle;

/// The files of one upload. Removed on drop.
#[derive(Debug)]
pub(crate) struct Stage {
    files: Option<Files>,
}

/// Where the files are. Dropping it removes them, and blocks.
#[derive(Debug)]
enum Files {
    /// Nobody sees them yet; so many were begun.
    Coming(Arc<Producer>, StagedUpload, usize),
    /// The agent sees them.
    Whole(Published),
}

#[derive(Debug)]
struct Published {
    queue: Arc<Producer>,
    /// `None`: they are somebody else's.
    id: Option<TaskId>,
}

impl Stage {
    /// No files yet, in the queue `queue`; `upload` has to be an id of its own.
    pub(crate) fn make(queue: Arc<Producer>, upload: TaskId) -> io::Result<Self> {
        let staged = queue.stage_upload(upload)?;
        Ok(Self { files: Some(Files::Coming(queue, staged, 0)) })
    }

    /// The first `count` files of task `old`, for task `new`, which is nobody's yet. `None` if one of them is
    /// gone. Blocks on the disk.
    pub(crate) fn again(
        queue: Arc<Producer>,
        old: TaskId,
        new: TaskId,
        count: usize,
    ) -> io::Result<Option<Self>> {
        let staged = queue.stage_again(new, old, count)?;
        Ok(staged.map(|staged| Self { files: Some(Files::Coming(queue, staged, count)) }))
    }

    /// The next file, which is called by its number.
    pub(super) fn create(&mut self) -> io::Result<File> {
        let (staged, count) = self.coming()?;
        let file = staged.create(*count)?;
        *count += 1;
        Ok(file)
    }

    /// Removes the last file again.
    pub(super) fn forget_last(&mut self) -> io::Result<()> {
        let (staged, count) = self.coming()?;
        if let Some(last) = count.checked_sub(1) {
            staged.remove(last)?;
            *count = last;
        }
        Ok(())
    }

    /// Makes the content of a whole file durable.
    pub(super) fn sync(&mut self, file: File) -> io::Result<()> {
        self.coming()?.0.sync(file)
    }

    /// Bytes that may be written before the disk is as full as it may be.
    pub(super) fn room_bytes(&mut self) -> io::Result<u64> {
        self.coming()?.0.room_bytes()
    }

    /// Gives the files to task `id`, where the agent finds them; with `is_durable` a power cut does not take
    /// them back. `false`: that task has files already, and keeps them. Blocks on the disk.
    ///
    /// # Errors
    /// When they are not there, or not for sure.
    pub(crate) fn publish(&mut self, id: TaskId, is_durable: bool) -> io::Result<bool> {
        match self.files.take() {
            Some(Files::Coming(queue, staged, _count)) => {
                let is_ours = staged.publish_as(id, is_durable)?;
                let id = is_ours.then_some(id);
                self.files = Some(Files::Whole(Published { queue, id }));
                Ok(is_ours)
            }
            other => {
                self.files = other;
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    /// The files are the task's now, and are removed with it.
    pub(crate) fn hand_over(mut self) {
        if let Some(Files::Whole(published)) = &mut self.files {
            published.id = None;
        }
    }

    fn coming(&mut self) -> io::Result<(&StagedUpload, &mut usize)> {
        match &mut self.files {
            Some(Files::Coming(_queue, staged, count)) => Ok((staged, count)),
            Some(Files::Whole(_)) | None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let files = self.files.take();
        let is_nothing = matches!(&files, None | Some(Files::Whole(Published { id: None, .. })));
        if !is_nothing && let Ok(event_loop) = Handle::try_current() {
            // If the process ends, the closure is dropped here.
            event_loop.spawn_blocking(move || drop(files));
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && let Err(error) = self.queue.remove_files(id)
        {
            // The janitor tries again.
            tracing::warn!(TASK_ID = %id, "cannot remove the files of an upload: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::tests::{Queue, id};
    use super::*;

    #[test]
    fn what_is_not_handed_over_is_removed() {
        let queue = Queue::new();
        let mut stage = Stage::make(queue.producer(), id(1)).unwrap();
        stage.create().unwrap().write_all(b"x").unwrap();
        stage.create().unwrap();
        assert_eq!(queue.left(), [format!(".tmp-{}", id(1))]);
        drop(stage);
        assert_eq!(queue.left(), [""; 0]);
        let mut stage = Stage::make(queue.producer(), id(1)).unwrap();
        stage.create().unwrap();
        assert!(stage.publish(id(2), true).unwrap());
        assert_eq!(queue.left(), [id(2).as_str()]);
        drop(stage);
        assert_eq!(queue.left(), [""; 0]);
    }

    #[test]
    fn the_files_of_another_task_are_not_touched() {
        let queue = Queue::new();
        let mut first = Stage::make(queue.producer(), id(1)).unwrap();
        first.create().unwrap().write_all(b"first").unwrap();
        assert!(first.publish(id(9), false).unwrap());
        first.hand_over();
        let mut second = Stage::make(queue.producer(), id(2)).unwrap();
        second.create().unwrap().write_all(b"second").unwrap();
        assert!(!second.publish(id(9), true).unwrap());
        drop(second);
        assert_eq!(queue.left(), [id(9).as_str()]);
        assert_eq!(std::fs::read(queue.file(id(9), "0")).unwrap(), b"first");
    }

    #[test]
    fn a_file_that_is_forgotten_leaves_its_number() {
        let queue = Queue::new();
        let mut stage = Stage::make(queue.producer(), id(1)).unwrap();
        for _ in 0..2 {
            stage.create().unwrap();
        }
        stage.forget_last().unwrap();
        stage.create().unwrap();
        assert!(stage.publish(id(3), false).unwrap());
        assert!(queue.file(id(3), "1").exists() && !queue.file(id(3), "2").exists());
    }
}
