//! A connection that can end softly: what is still coming in is read and thrown away for a while.
//!
//! Closing a socket with unread bytes resets the connection, and a client that is still sending its body would
//! never see why it was refused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use ploinky_contract::limits::LINGER;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes thrown away at once.
const SCRATCH_BYTES: usize = 8 * 1024;

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    wanted: Arc<AtomicBool>,
    /// Ends the lingering, once it has begun.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    /// Lingers at the end if `wanted` says so then.
    pub(super) fn new(stream: S, wanted: Arc<AtomicBool>) -> Self {
        Self { stream, wanted, limit: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, wanted, limit } = &mut *self;
        if limit.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if !wanted.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let limit = limit.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; SCRATCH_BYTES];
        loop {
            if limit.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
