//! A connection whose client must take what it is sent: it is cut off when it takes nothing for too long.
//!
//! The kernel gives up a client that lets nothing in at all (`TCP_USER_TIMEOUT`), but not one that takes a few
//! bytes now and then and holds a whole answer for hours. Here a write that waits for room must get some within
//! [`WRITE_STALL`]; the kernel says that there is room when half of what it holds for the connection has gone
//! (`TCP_NOTSENT_LOWAT`), so a client has to take about 1 KiB a second.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ploinky_contract::limits::WRITE_STALL;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    /// Ends the patience; there while a write waits.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Waits for `stream`, but not for ever.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, limit: None }
    }

    fn bound<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.limit = None;
            return written;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        match limit.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bound(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.bound(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off_and_who_takes_slowly_is_not() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server);
        let writing = tokio::spawn(async move { server.write_all(&[7; 1024]).await });
        for _ in 0..8 {
            sleep(WRITE_STALL * 9 / 10).await;
            client.read_exact(&mut [0; 64]).await.unwrap();
        }
        let stalled = Instant::now();
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(stalled.elapsed() <= WRITE_STALL);
    }
}
