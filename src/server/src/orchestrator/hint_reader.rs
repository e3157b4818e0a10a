//! Reads the kernel's hints on results of one agent; seldom, when nobody waits for what they name.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};

use ploinky_contract::TaskId;
use ploinky_queue::{ResultWatch, Strangers};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// The hints on one agent.
pub(super) struct HintReader {
    state: State,
    strangers: Strangers,
}

enum State {
    /// The event loop is woken by the next hint.
    Listening(AsyncFd<Source>),
    /// The event loop does not know of the hints: to know and not to read would wake it all the same.
    Resting(Source),
    /// There are no hints.
    Deaf,
}

/// The watch in the form that the event loop takes.
struct Source(ResultWatch);

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl HintReader {
    pub(super) fn new(results: ResultWatch) -> Self {
        let state = State::Resting(Source(results));
        Self { state, strangers: Strangers::new(Instant::now().into_std()) }
    }

    /// Waits for names and reads them. `false`: some were lost. May be given up at any time.
    ///
    /// # Errors
    /// When hints cannot be waited for, and then there are none from now on, or cannot be read.
    pub(super) async fn read(&mut self, named: &mut Vec<TaskId>) -> io::Result<bool> {
        let Some(hints) = self.listen().await? else { return std::future::pending().await };
        // Fails when the event loop ends.
        let Ok(mut ready) = hints.readable_mut().await else { return std::future::pending().await };
        let drained = ready.get_inner_mut().0.drain(&mut |id| named.push(id));
        match drained {
            Ok(drained) => {
                if !drained.more {
                    ready.clear_ready();
                }
                Ok(!drained.overflowed)
            }
            Err(error) => {
                ready.clear_ready();
                Err(error)
            }
        }
    }

    /// Nobody waits for any of the names that were read.
    pub(super) fn were_strangers(&mut self) {
        self.strangers.came(Instant::now().into_std());
    }

    /// The hints in the event loop, after the rest that they are to have.
    async fn listen(&mut self) -> io::Result<Option<&mut AsyncFd<Source>>> {
        if let Some(rest) = self.strangers.rest().map(Instant::from_std)
            && Instant::now() < rest
        {
            self.state = match std::mem::replace(&mut self.state, State::Deaf) {
                State::Listening(hints) => State::Resting(hints.into_inner()),
                state @ (State::Resting(_) | State::Deaf) => state,
            };
            sleep_until(rest).await;
        }
        self.state = match std::mem::replace(&mut self.state, State::Deaf) {
            State::Resting(source) => {
                #[expect(
                    deprecated,
                    reason = "the successor is unsafe; `Source` owns its descriptor for life"
                )]
                let hints = AsyncFd::with_interest(source, Interest::READABLE)?;
                State::Listening(hints)
            }
            state @ (State::Listening(_) | State::Deaf) => state,
        };
        match &mut self.state {
            State::Listening(hints) => Ok(Some(hints)),
            State::Resting(_) | State::Deaf => Ok(None),
        }
    }
}
