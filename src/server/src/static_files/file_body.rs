//! A file as the body of a response, read in blocks as fast as the client takes them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ploinky_contract::limits::STATIC_BLOCK_BYTES;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Bytes `offset..offset + remaining` of a file. At most one block is in memory.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// There as long as the body lives.
    file: Option<Arc<File>>,
    offset: u64,
    remaining: u64,
    block: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

/// The file may have no name any more: its end is the end of its bytes, which takes long for many. If the
/// process ends, the closure is dropped here.
impl Drop for FileBody {
    fn drop(&mut self) {
        let file = self.file.take();
        if let Ok(event_loop) = Handle::try_current() {
            event_loop.spawn_blocking(move || drop(file));
        }
    }
}

impl FileBody {
    /// The bytes from `offset` on, `length` of them.
    pub(super) fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file: Some(Arc::new(file)), offset, remaining: length, block: None }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Self { file, offset, remaining, block } = &mut *self;
        let Some(file) = file.as_ref().filter(|_open| 0 < *remaining) else {
            return Poll::Ready(None);
        };
        let reading = block.get_or_insert_with(|| {
            let (file, offset, length) = (Arc::clone(file), *offset, block_bytes(*remaining));
            // The disk may be slow; the event loop does not wait for it.
            tokio::task::spawn_blocking(move || read(&file, offset, length))
        });
        let read = ready!(Pin::new(reading).poll(context));
        *block = None;
        let bytes = read.map_err(io::Error::other).flatten()?;
        *offset += bytes.len() as u64;
        *remaining -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// Reads exactly `length` bytes; a file that became shorter is an error, which ends the connection: the
/// length was announced already.
pub(super) fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn block_bytes(remaining: u64) -> usize {
    usize::try_from(remaining).unwrap_or(usize::MAX).min(STATIC_BLOCK_BYTES)
}
