//! The events of a streaming task on their way to the server: a pipe that takes them as fast as the reader
//! does, and tells when the reader is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::boot_time::{BootTime, wait};
use crate::interrupt::Interrupt;
use crate::said_json::json_of;

/// Bytes that may wait for the reader before the handler has to.
const UNSENT_BYTES: usize = 64 * 1024;

/// The reader does not read any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gone;

/// Our end of the pipe; writing to it never waits.
#[derive(Debug)]
pub(crate) struct Stream {
    fifo: OwnedFd,
    unsent: Vec<u8>,
    sent: usize,
}

impl Stream {
    /// `fifo` has to be non-blocking.
    pub(crate) fn new(fifo: OwnedFd) -> Self {
        Self { fifo, unsent: Vec::new(), sent: 0 }
    }

    /// Sends a line of a handler as an event: JSON, or a text.
    pub(crate) fn send(&mut self, line: &[u8]) -> Result<(), Gone> {
        self.unsent.extend_from_slice(json_of(line).get().as_bytes());
        self.unsent.push(b'\n');
        self.flush()
    }

    /// Whether the handler may go on: what waits is not too much.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.len() - self.sent < UNSENT_BYTES
    }

    /// Whether all is with the reader, or at least in the pipe.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.unsent.len()
    }

    /// What to wait for: room, if something is unsent. The end of the reader is told in any case.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.is_sent() { PollFlags::empty() } else { PollFlags::OUT }
    }

    /// Writes what the pipe takes.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.fifo, rest) {
                Ok(written) => self.sent += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Gone),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// What it means that a wait for [`Stream::interest`] returned `flags`.
    pub(crate) fn heard(&mut self, flags: PollFlags) -> Result<(), Gone> {
        if flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Err(Gone);
        }
        if flags.contains(PollFlags::OUT) { self.flush() } else { Ok(()) }
    }

    /// Waits until all is sent, the reader is gone, the time is over or somebody asks for the end.
    pub(crate) fn drain(&mut self, until: BootTime, interrupt: &Interrupt) -> Result<(), Gone> {
        while !self.is_sent() {
            let mut fds =
                [PollFd::new(&self.fifo, PollFlags::OUT), PollFd::new(interrupt, PollFlags::IN)];
            if wait(&mut fds, Some(until)).is_err() {
                return Err(Gone);
            }
            let [fifo, bell] = fds.map(|fd| fd.revents());
            self.heard(fifo)?;
            if !bell.is_empty() || until.is_past() {
                return Err(Gone);
            }
        }
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }
}
