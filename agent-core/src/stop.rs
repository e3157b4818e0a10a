//! The wish that the container shall end: SIGTERM or SIGINT.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::boot_time::{BootTime, wait};

/// Becomes readable with the first signal and stays so.
#[derive(Debug)]
pub(crate) struct Stop {
    heard: UnixStream,
}

impl Stop {
    /// From now on the signals do not end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        let (heard, said) = UnixStream::pair()?;
        pipe::register(SIGTERM, said.try_clone()?)?;
        pipe::register(SIGINT, said)?;
        Ok(Self { heard })
    }

    /// Waits for a signal; `false` if the time came first.
    pub(crate) fn wait(&self, until: Option<BootTime>) -> io::Result<bool> {
        loop {
            let mut fds = [PollFd::new(&self.heard, PollFlags::IN)];
            wait(&mut fds, until)?;
            let [fd] = fds;
            if fd.revents().contains(PollFlags::IN) {
                return Ok(true);
            }
            if until.is_some_and(BootTime::is_past) {
                return Ok(false);
            }
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}
