//! What becomes of a program's stdout: it is the value, or the lines of a stream.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::ChildStdout;

use ploinky_contract::limits::STREAM_LINE_MAX_BYTES;
use rustix::event::PollFlags;

use super::exchange::read_once;
use crate::lines::{Cut, Lines};
use crate::stream::{Gone, Stream};

/// Where stdout goes.
#[derive(Debug)]
pub(super) struct Output {
    read: Vec<u8>,
    /// Bytes of a value at most.
    max_bytes: usize,
    events: Option<Events>,
}

#[derive(Debug)]
struct Events {
    stream: Stream,
    lines: Lines,
}

/// Why a program may not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// The value has too many bytes.
    TooLong,
    /// A line of a stream has too many bytes.
    LineTooLong,
    /// Nobody reads the stream any more.
    ReaderGone,
}

impl Output {
    pub(super) fn value(max_bytes: usize) -> Self {
        Self { read: Vec::new(), max_bytes, events: None }
    }

    pub(super) fn events(stream: Stream) -> Self {
        let events = Events { stream, lines: Lines::new(STREAM_LINE_MAX_BYTES) };
        Self { read: Vec::new(), max_bytes: usize::MAX, events: Some(events) }
    }

    /// Reads once; `false` at the end.
    pub(super) fn read(&mut self, stdout: Option<&ChildStdout>) -> bool {
        read_once(stdout, &mut self.read)
    }

    /// Takes what was read.
    pub(super) fn take(&mut self, is_end: bool) -> Result<(), Trouble> {
        let Self { read, max_bytes, events } = self;
        let Some(Events { stream, lines }) = events else {
            return if *max_bytes < read.len() { Err(Trouble::TooLong) } else { Ok(()) };
        };
        let mut taken = Ok(());
        let mut on = |cut: Cut<'_>| {
            if taken.is_ok() {
                taken = match cut {
                    Cut::Line(line) => stream.send(line).map_err(|Gone| Trouble::ReaderGone),
                    Cut::TooLong => Err(Trouble::LineTooLong),
                };
            }
        };
        lines.take(read, &mut on);
        if is_end {
            lines.finish(&mut on);
        }
        read.clear();
        taken
    }

    /// Throws away what was read.
    #[expect(clippy::unnecessary_wraps, reason = "the other way to treat what was read may fail")]
    pub(super) fn discard(&mut self) -> Result<(), Trouble> {
        self.read.clear();
        Ok(())
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.events.as_ref().is_none_or(|events| events.stream.has_room())
    }

    /// Whether nothing waits for the reader of a stream.
    pub(super) fn is_sent(&self) -> bool {
        self.events.as_ref().is_none_or(|events| events.stream.is_sent())
    }

    /// What to wait for to hear of the reader of a stream.
    pub(super) fn reader(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.events.as_ref().map(|events| (events.stream.as_fd(), events.stream.interest()))
    }

    /// What was heard of the reader.
    pub(super) fn hear_reader(&mut self, flags: PollFlags) -> Result<(), Trouble> {
        match &mut self.events {
            Some(events) if !flags.is_empty() => {
                events.stream.heard(flags).map_err(|Gone| Trouble::ReaderGone)
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn into_value(self) -> Vec<u8> {
        self.read
    }
}
