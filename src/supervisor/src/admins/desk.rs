//! The one thread that works on the book: what is cheap at once, passwords one after the other with rests.
//!
//! A password costs a tenth of a second of a processor, and strangers say when. So few of them wait, and after
//! each one the thread does for a while what is cheap only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ploinky_contract::chain;
use ploinky_contract::limits::{PASSWORD_REST, PASSWORDS_WAITING, SUPERVISOR_CALL_LIMIT};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{AdminError, Book, Now};

/// Cheap jobs that wait; more than that wait to wait.
const CHEAP_WAITING: usize = 64;
/// Time between two looks for sessions that have ended.
const SWEEP: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce(&mut Book, Now) + Send>;

/// What a job takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cost {
    /// A few small files.
    Files,
    /// A password is hashed.
    Password,
}

/// Asks the owner of the book.
#[derive(Clone)]
pub(crate) struct Admins {
    cheap: mpsc::Sender<Job>,
    costly: mpsc::Sender<Job>,
}

/// Where the owner of the book gets what it is asked.
pub(crate) struct Desk {
    cheap: mpsc::Receiver<Job>,
    costly: mpsc::Receiver<Job>,
}

impl Admins {
    /// A way to ask, and the end that the owner works from.
    pub(crate) fn new() -> (Self, Desk) {
        let (cheap, from_cheap) = mpsc::channel(CHEAP_WAITING);
        let (costly, from_costly) = mpsc::channel(PASSWORDS_WAITING);
        (Self { cheap, costly }, Desk { cheap: from_cheap, costly: from_costly })
    }

    /// Has `work` done and waits for it. Who waits no more before it begins does not get it done.
    ///
    /// # Errors
    /// What `work` says; `Overloaded` if too many passwords wait, `Stopping` at the end.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnOnce(&mut Book, Now) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let (done, outcome) = oneshot::channel();
        let job: Job = Box::new(move |book, now| {
            if !done.is_closed() {
                // Whoever asked may be gone; what was done stays done.
                drop(done.send(work(book, now)));
            }
        });
        match cost {
            Cost::Password => self.costly.try_send(job).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => AdminError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => AdminError::Stopping,
            })?,
            Cost::Files => timeout(SUPERVISOR_CALL_LIMIT, self.cheap.send(job))
                .await
                .map_err(|_elapsed| AdminError::Overloaded)?
                .map_err(|_closed| AdminError::Stopping)?,
        }
        outcome.await.map_err(|_closed| AdminError::Stopping)?
    }
}

impl Desk {
    /// Works until nobody can ask any more.
    pub(crate) async fn run(mut self, mut book: Book) {
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rests_until = Instant::now();
        loop {
            let is_rested = rests_until <= Instant::now();
            let (job, cost) = tokio::select! {
                biased;
                job = self.cheap.recv() => (job, Cost::Files),
                job = self.costly.recv(), if is_rested => (job, Cost::Password),
                _tick = sweeps.tick() => (Some(sweep()), Cost::Files),
                () = sleep_until(rests_until), if !is_rested => continue,
            };
            let Some(job) = job else { return };
            let began = Instant::now();
            let worked = tokio::task::spawn_blocking(move || {
                job(&mut book, Now { ms: now_ms() });
                book.settle();
                book
            });
            match worked.await {
                Ok(back) => book = back,
                // It panicked, or the process ends.
                Err(_gone) => return,
            }
            if cost == Cost::Password {
                rests_until = Instant::now() + began.elapsed() * PASSWORD_REST;
            }
        }
    }
}

fn sweep() -> Job {
    Box::new(|book, now| {
        if let Err(error) = book.sweep(now) {
            tracing::error!("sessions that have ended are not removed: {}", chain(&error));
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place of this crate that asks the clock")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use ploinky_contract::paths::StateDir;

    use super::*;
    use crate::accounts::Accounts;

    fn book() -> (tempfile::TempDir, Book) {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(&StateDir::new(dir.path()), Accounts::kept()).unwrap();
        (dir, book)
    }

    #[tokio::test]
    async fn few_passwords_wait_and_more_are_put_off() {
        let (_dir, book) = book();
        let (admins, desk) = Admins::new();
        let owner = tokio::spawn(desk.run(book));
        let (release, held) = blocking::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let asking = admins.clone();
        let first = tokio::spawn(async move {
            let held = move |_: &mut Book, _| {
                begun.send(()).unwrap();
                held.recv().unwrap();
                Ok(())
            };
            asking.ask(Cost::Password, held).await
        });
        has_begun.await.unwrap();
        let waiting: Vec<_> = (0..PASSWORDS_WAITING)
            .map(|number| {
                let admins = admins.clone();
                tokio::spawn(
                    async move { admins.ask(Cost::Password, move |_, _| Ok(number)).await },
                )
            })
            .collect();
        while admins.costly.capacity() != 0 {
            tokio::task::yield_now().await;
        }
        let refused = admins.ask(Cost::Password, |_, _| Ok(())).await;
        assert!(matches!(refused, Err(AdminError::Overloaded)));
        release.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        for (number, waited) in waiting.into_iter().enumerate() {
            assert_eq!(waited.await.unwrap().unwrap(), number);
        }
        drop(admins);
        owner.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_cheap_does_not_wait_for_passwords_that_wait() {
        let (_dir, book) = book();
        let (admins, desk) = Admins::new();
        let (order, seen) = blocking::channel();
        let passwords = (0..3).map(|number| {
            let order = order.clone();
            admins.ask(Cost::Password, move |_, _| {
                order.send(number).map_err(|_closed| AdminError::Stopping)
            })
        });
        let passwords = futures_util::future::join_all(passwords);
        let cheap = {
            let order = order.clone();
            admins.ask(Cost::Files, move |_, _| {
                order.send(100).map_err(|_closed| AdminError::Stopping)
            })
        };
        let asked = async { futures_util::future::join(passwords, cheap).await };
        tokio::select! {
            biased;
            _done = asked => {}
            () = desk.run(book) => panic!("the desk ended"),
        }
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [100, 0, 1, 2]);
    }

    #[tokio::test]
    async fn who_waits_no_more_does_not_get_it_done() {
        let (_dir, book) = book();
        let (admins, desk) = Admins::new();
        let (done, seen) = blocking::channel();
        {
            let given_up = admins.ask(Cost::Password, move |_, _| {
                done.send(()).map_err(|_closed| AdminError::Stopping)
            });
            tokio::pin!(given_up);
            assert!(futures_util::poll!(given_up.as_mut()).is_pending());
        }
        let asked = admins.ask(Cost::Password, |_, _| Ok(()));
        tokio::select! {
            biased;
            done = asked => done.unwrap(),
            () = desk.run(book) => panic!("the desk ended"),
        }
        assert!(seen.try_recv().is_err());
    }
}
