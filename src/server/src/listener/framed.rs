//! The bytes of a connection, let through to the parser as long as every server would read them in one way.
//!
//! The parser takes line feeds without carriage returns, repeated lengths and more that a proxy in front may
//! read otherwise, and then one request is two (RFC 9112, 11.2). So heads are held back until they are whole and
//! strict, and nothing comes through behind the first fault but a request of our own, which is answered with it.

mod chunks;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod head;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName};
use ploinky_contract::limits::HEADER_TIMEOUT;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

pub(crate) use self::chunks::ChunkError;
use self::chunks::Chunks;
pub(crate) use self::head::FramingError;
use self::head::{Framing, HeadLines};

/// Stands for the fault in what the parser gets. No client can send it: `_` is refused in names.
const MARK: HeaderName = HeaderName::from_static("ploinky_fault");
const MARKED: &[u8] = b"GET / HTTP/1.1\r\nploinky_fault: 1\r\n\r\n";
/// Bytes that are read at once behind the beginning of a head.
const HELD_BLOCK_BYTES: usize = 4096;

/// Why a connection is not read any more, if it is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<OnceLock<FramingError>>);

impl Fault {
    /// The fault that a request of these headers stands for.
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<&FramingError> {
        self.0.get().filter(|_| headers.contains_key(MARK))
    }
}

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct Framed<S> {
    stream: S,
    /// What has come and was not given yet.
    held: BytesMut,
    /// Bytes at the front of `held` that may be given.
    clear: usize,
    part: Part,
    /// When the head has to be whole that is awaited: the first one, or one that has begun.
    limit: Option<Pin<Box<Sleep>>>,
    fault: Fault,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    Head(HeadLines),
    Length(u64),
    Chunks(Chunks),
    /// Nothing that could be trusted.
    Refused,
    /// As before, in the middle of a body.
    Broken(ChunkError),
}

impl<S> Framed<S> {
    /// Reads `stream`; the first fault of a head goes to `fault`.
    pub(super) fn new(stream: S, fault: Fault) -> Self {
        let part = Part::Head(HeadLines::default());
        let limit = Some(Box::pin(sleep(HEADER_TIMEOUT)));
        Self { stream, held: BytesMut::new(), clear: 0, part, limit, fault }
    }
}

/// How many of `bytes` may be given, and what comes behind them. If that is a head, `bytes` go on with it, from
/// its beginning.
fn examine(bytes: &[u8], mut part: Part) -> (usize, Result<Part, FramingError>) {
    let mut clear = 0;
    while let Some(rest) = bytes.get(clear..).filter(|rest| !rest.is_empty()) {
        part = match part {
            Part::Head(mut lines) => match lines.read(rest) {
                Ok(Some((head, framing))) => {
                    clear += head;
                    match framing {
                        Framing::Length(0) => Part::Head(HeadLines::default()),
                        Framing::Length(length) => Part::Length(length),
                        Framing::Chunked => Part::Chunks(Chunks::default()),
                    }
                }
                Ok(None) => return (clear, Ok(Part::Head(lines))),
                Err(fault) => return (clear, Err(fault)),
            },
            Part::Length(length) => {
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
                clear += here;
                match length - here as u64 {
                    0 => Part::Head(HeadLines::default()),
                    length => Part::Length(length),
                }
            }
            Part::Chunks(mut chunks) => {
                let (here, ended) = chunks.read(rest);
                clear += here;
                match ended {
                    Ok(true) => Part::Head(HeadLines::default()),
                    Ok(false) => Part::Chunks(chunks),
                    Err(fault) => return (clear, Ok(Part::Broken(fault))),
                }
            }
            Part::Refused | Part::Broken(_) => break,
        };
    }
    (clear, Ok(part))
}

impl<S> Framed<S> {
    /// Looks at bytes that have just come, which are or follow those held; how many of them may be given.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let part = std::mem::replace(&mut self.part, Part::Refused);
        let (clear, next) = examine(bytes, part);
        if 0 < clear {
            self.limit = None;
        }
        match next {
            Ok(part) => self.part = part,
            Err(fault) => self.refuse(fault),
        }
        if matches!(self.part, Part::Head(_)) && clear < bytes.len() {
            self.limit.get_or_insert_with(|| Box::pin(sleep(HEADER_TIMEOUT)));
        }
        clear
    }

    fn refuse(&mut self, fault: FramingError) {
        self.part = Part::Refused;
        self.fault.0.set(fault).ok();
    }

    /// Whether the beginning of a head is held.
    fn holds_head(&self) -> bool {
        !self.held.is_empty()
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.limit.as_mut().is_some_and(|limit| limit.as_mut().poll(context).is_ready())
    }

    /// After the first fault: what stands for it, once.
    fn hold_mark(&mut self) {
        self.held.truncate(self.clear);
        self.held.extend_from_slice(MARKED);
        self.clear = self.held.len();
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.clear.min(buffer.remaining());
        buffer.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.clear -= count;
        if self.held.is_empty() {
            // Most connections never hold anything back.
            self.held = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// More of a head that is not whole; `false` at the end of the stream.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut block = [0; HELD_BLOCK_BYTES];
        let mut buffer = ReadBuf::new(&mut block);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.held.extend_from_slice(buffer.filled());
        let held = std::mem::take(&mut self.held);
        self.clear = self.admit(&held);
        self.held = held;
        Poll::Ready(Ok(true))
    }

    /// What comes, into the buffer of the parser; what it may not see yet is taken out again. `false` at the
    /// end of the stream.
    fn poll_through(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        if came.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let clear = self.admit(came);
        self.held.extend_from_slice(came.get(clear..).unwrap_or_default());
        buffer.set_filled(before + clear);
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        while buffer.filled().len() == before {
            if 0 < self.clear {
                self.give(buffer);
                break;
            }
            if matches!(self.part, Part::Head(_)) && self.is_late(context) {
                if !self.holds_head() {
                    // Who never said anything is told nothing.
                    break;
                }
                self.refuse(FramingError::TooSlow);
                self.hold_mark();
                continue;
            }
            let came = match self.part {
                Part::Broken(fault) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
                // The answer to the mark is the last one; who sends it does not read.
                Part::Refused => return Poll::Pending,
                Part::Head(_) if self.holds_head() => ready!(self.poll_more(context))?,
                Part::Head(_) | Part::Length(_) | Part::Chunks(_) => {
                    ready!(self.poll_through(context, buffer))?
                }
            };
            if !came {
                break;
            }
            if matches!(self.part, Part::Refused) {
                self.hold_mark();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
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
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
