//! Threads that post, each one outcome after the other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use ploinky_contract::TaskId;
use rustix::event::{EventfdFlags, eventfd};

use crate::desk::Errand;
use crate::retry::Verdict;

/// Outcomes that are posted at the same time.
pub(crate) const THREADS: usize = 8;

/// What a messenger brings back.
#[derive(Debug)]
pub(crate) struct Report {
    /// The task.
    pub(crate) id: TaskId,
    /// The number of the try.
    pub(crate) tries: u32,
    /// How it went.
    pub(crate) verdict: Verdict,
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Messengers {
    errands: SyncSender<Errand>,
    reports: Receiver<Report>,
    bell: Arc<OwnedFd>,
}

impl Messengers {
    /// Starts the threads; each carries out errands with `carry_out`.
    ///
    /// # Errors
    /// When the kernel gives no descriptor or no thread.
    pub(crate) fn start(
        carry_out: impl Fn(&Errand) -> Verdict + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (errands, waiting) = sync_channel(THREADS);
        let (done, reports) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let carry_out = Arc::new(carry_out);
        for number in 0..THREADS {
            let (waiting, done, bell) = (Arc::clone(&waiting), done.clone(), Arc::clone(&bell));
            let carry_out = Arc::clone(&carry_out);
            thread::Builder::new()
                .name(format!("messenger-{number}"))
                .spawn(move || work(&waiting, &done, &bell, &*carry_out))?;
        }
        Ok(Self { errands, reports, bell })
    }

    /// Hands an errand over. There is room as long as no more than [`THREADS`] are away.
    pub(crate) fn send(&self, errand: Errand) {
        let (id, tries) = (errand.callback.id, errand.tries);
        if self.errands.try_send(errand).is_err() {
            tracing::error!(TASK_ID = %id, "try {tries} found no messenger");
        }
    }

    /// Reports that came since the last call.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let mut count = [0; 8];
        // Nothing there is no error.
        rustix::io::read(&*self.bell, &mut count).ok();
        self.reports.try_iter().collect()
    }
}

impl AsFd for Messengers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn work(
    waiting: &Mutex<Receiver<Errand>>,
    done: &Sender<Report>,
    bell: &OwnedFd,
    carry_out: &dyn Fn(&Errand) -> Verdict,
) {
    loop {
        let errand = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(errand) = errand else { return };
        let verdict = carry_out(&errand);
        let report = Report { id: errand.callback.id, tries: errand.tries, verdict };
        if done.send(report).is_err() {
            return;
        }
        // The counter does not overflow before the desk has read it.
        rustix::io::write(bell, &1_u64.to_ne_bytes()).ok();
    }
}
