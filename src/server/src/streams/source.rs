//! One stream: what the handler writes into a pipe, as events, until the task has an outcome.
//!
//! Nothing is read while the client takes nothing: the pipe fills, and the handler waits.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use ploinky_contract::TaskId;
use ploinky_contract::limits::STREAM_KEEP_ALIVE;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep};

use super::event::{self, EventId};
use super::lines::{Lines, TooLong};

/// Bytes that are read at once; the other streams get their turn then.
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes that a pipe holds at most (`fs.pipe-max-size`): all that a handler can have written and nobody read
/// when its task has an outcome.
const PIPE_MAX_BYTES: usize = 1 << 20;

/// How a stream ends: with what a call would have answered.
#[derive(Debug)]
pub(crate) struct Last {
    /// Whether it is a value.
    pub(crate) is_success: bool,
    /// The JSON of the answer.
    pub(crate) answer: Bytes,
}

/// Why a stream ends before its task does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// This process is about to end.
    Restart,
    /// The handler wrote a line that is too long.
    LineTooLong,
    /// The pipe cannot be read.
    Pipe,
}

/// What comes when the task has an outcome; dropping it ends the task.
pub(crate) type Outcome = Pin<Box<dyn Future<Output = Last> + Send>>;

/// Everything that one stream needs.
pub(super) struct Source {
    pub(super) pipe: Receiver,
    pub(super) outcome: Outcome,
    /// The words for an early end.
    pub(super) words: fn(Broken) -> Last,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) id: TaskId,
}

/// A stream that goes on.
pub(super) struct Flow {
    pipe: Receiver,
    lines: Lines,
    stage: Stage,
    words: fn(Broken) -> Last,
    draining: watch::Receiver<bool>,
    keep_alive: Pin<Box<Sleep>>,
    id: TaskId,
    /// Events so far.
    count: u64,
    _permit: OwnedSemaphorePermit,
}

enum Stage {
    /// Nothing was sent.
    Opening(Outcome),
    /// The handler writes.
    Running(Outcome),
    /// The task has an outcome; so many bytes may still be in the pipe.
    Emptying(Last, usize),
    /// The last event was sent.
    Over,
}

/// How the pipe is read.
#[derive(Clone, Copy)]
enum Pipe {
    /// As far as the event loop knows of bytes in it.
    Watched,
    /// Whatever is in it; the event loop may not have heard of it yet.
    Unwatched,
}

/// What happened next.
enum Happened {
    Readable,
    Ended(Last),
    Quiet,
    Restart,
}

impl Flow {
    pub(super) fn new(source: Source) -> Self {
        let Source { pipe, outcome, words, draining, permit, id } = source;
        Self {
            pipe,
            lines: Lines::default(),
            stage: Stage::Opening(outcome),
            words,
            draining,
            keep_alive: Box::pin(sleep(STREAM_KEEP_ALIVE)),
            id,
            count: 0,
            _permit: permit,
        }
    }

    /// The next piece of the answer, and what follows it.
    pub(super) async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut text = BytesMut::new();
        while text.is_empty() {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Opening(outcome) => {
                    event::opening(self.event_id(), &mut text);
                    Stage::Running(outcome)
                }
                Stage::Running(outcome) => self.run(outcome, &mut text).await,
                Stage::Emptying(last, left) => self.empty(last, left, &mut text),
                Stage::Over => return None,
            };
        }
        self.keep_alive.as_mut().reset(Instant::now() + STREAM_KEEP_ALIVE);
        Some((Ok(text.freeze()), self))
    }

    async fn run(&mut self, mut outcome: Outcome, text: &mut BytesMut) -> Stage {
        let restart = async {
            if self.draining.wait_for(|is_draining| *is_draining).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // In no order, so that a handler that never stops writing does not outlive its time.
        let happened = tokio::select! {
            _ready = self.pipe.readable() => Happened::Readable,
            last = &mut outcome => Happened::Ended(last),
            () = &mut self.keep_alive => Happened::Quiet,
            () = restart => Happened::Restart,
        };
        match happened {
            Happened::Readable => match self.read(text, Pipe::Watched) {
                Ok(_bytes) => Stage::Running(outcome),
                Err(broken) => self.end_early(broken, text),
            },
            Happened::Ended(last) => Stage::Emptying(last, PIPE_MAX_BYTES),
            Happened::Quiet => {
                text.extend_from_slice(event::KEEP_ALIVE);
                Stage::Running(outcome)
            }
            Happened::Restart => self.end_early(Broken::Restart, text),
        }
    }

    fn empty(&mut self, last: Last, left: usize, text: &mut BytesMut) -> Stage {
        match self.read(text, Pipe::Unwatched) {
            Err(broken) => return self.end_early(broken, text),
            Ok(bytes) if 0 < bytes && bytes < left => return Stage::Emptying(last, left - bytes),
            Ok(_all) => {}
        }
        if let Some(rest) = self.lines.rest() {
            self.count += 1;
            event::line(self.event_id(), &rest, text);
        }
        self.end(&last, text)
    }

    /// Reads a piece and writes its lines as events. 0: the pipe is empty.
    fn read(&mut self, text: &mut BytesMut, how: Pipe) -> Result<usize, Broken> {
        let mut piece = [0; PIECE_BYTES];
        let read = match how {
            Pipe::Watched => self.pipe.try_read(&mut piece),
            Pipe::Unwatched => rustix::io::read(&self.pipe, &mut piece).map_err(io::Error::from),
        };
        let read = match read {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(_broken) => return Err(Broken::Pipe),
        };
        self.lines.push(piece.get(..read).unwrap_or_default());
        while let Some(line) = self.lines.next().map_err(|TooLong| Broken::LineTooLong)? {
            self.count += 1;
            event::line(self.event_id(), &line, text);
        }
        Ok(read)
    }

    fn end_early(&mut self, why: Broken, text: &mut BytesMut) -> Stage {
        let last = (self.words)(why);
        self.end(&last, text)
    }

    fn end(&mut self, last: &Last, text: &mut BytesMut) -> Stage {
        self.count += 1;
        event::last(self.event_id(), last.is_success, &last.answer, text);
        Stage::Over
    }

    fn event_id(&self) -> EventId {
        EventId { task: self.id, number: self.count }
    }
}
