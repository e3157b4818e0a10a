//! What tokens stand for: grants, found by the digest of the token in the directories that hold them.
//!
//! What was found once is kept in memory. The kernel tells when a file changes or goes, and a grant that is used
//! again is looked at again when the last look is older than [`GRANT_LOOK`], so that a removal counts within a
//! second whatever was not told. Who uses nothing causes no look. That a token is unknown is never kept: such an
//! answer costs one failed `openat` in each directory, and memory that strangers fill would cost more.

mod files;
mod memory;
mod sessions;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use ploinky_contract::limits::{GRANT_LOOK, LAST_USE_GRAIN};
use ploinky_contract::paths::StateDir;
use ploinky_contract::{Grant, TokenDigest};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use self::files::Kind;
use self::files::{Files, Found};
use self::memory::{Looked, Memory};
pub(crate) use self::sessions::{MintError, Session, Sessions, is_of};
use self::watch::Watch;

/// All grants of a host. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Grants {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    memory: Arc<Memory>,
    watch: Watch,
}

/// A grant that counts now.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    digest: TokenDigest,
    found: Arc<Found>,
}

impl Known {
    /// By which its token is known.
    pub(crate) fn digest(&self) -> &TokenDigest {
        &self.digest
    }

    /// What it says.
    pub(crate) fn grant(&self) -> &Grant {
        self.found.grant()
    }

    /// Where it lies.
    pub(crate) fn kind(&self) -> Kind {
        self.found.kind()
    }

    /// A token that nobody has.
    #[cfg(test)]
    pub(crate) fn of_test(grant: Grant) -> Self {
        let digest = ploinky_contract::Token::of_program([0; 32]).digest();
        Self { digest, found: Arc::new(Found::of_test(grant, 0)) }
    }
}

impl Grants {
    /// The grants of the host with this state. Directories that are missing are empty ones.
    pub(crate) fn new(state: &StateDir) -> Self {
        let files = Files::new(state);
        let memory = Arc::new(Memory::default());
        let watch = Watch::start(files.directories(), &memory);
        Self { shared: Arc::new(Shared { files, memory, watch }) }
    }

    /// What the token with this digest stands for at `now_s`, and notes that it was used. A grant whose time is over
    /// is none. A few system calls at most, in line.
    ///
    /// # Errors
    /// When the kernel does not let the files be read; then nobody knows.
    pub(crate) fn find(&self, digest: &TokenDigest, now_s: u64) -> io::Result<Option<Known>> {
        let Shared { files, memory, watch } = &*self.shared;
        let now = Instant::now();
        let held = match memory.find(digest, now) {
            Some(Looked { found, at }) if now.saturating_duration_since(at) < GRANT_LOOK => {
                Some(found)
            }
            Some(Looked { found, .. }) => {
                watch.mend(now);
                if files.is_same(digest, &found) {
                    memory.looked(digest, now);
                    Some(found)
                } else {
                    memory.forget(digest);
                    None
                }
            }
            None => {
                watch.mend(now);
                None
            }
        };
        let found = match held {
            Some(found) if found.grant().counts_at(now_s, found.used()) => found,
            // Another instance may have noted a later use.
            Some(_) | None => match self.read(digest, now)? {
                Some(found) if found.grant().counts_at(now_s, found.used()) => found,
                Some(_) | None => return Ok(None),
            },
        };
        if found.used().saturating_add(grain_s(found.grant())) <= now_s {
            // Once in a while, whether it can be written down or not.
            found.set_used(now_s);
            if let Err(error) = files.note_use(digest, &found) {
                tracing::warn!("cannot note that a token was used: {error}");
            }
        }
        Ok(Some(Known { digest: digest.clone(), found }))
    }

    /// The sessions of users, to be made, ended and listed. Blocks on the disk.
    pub(crate) fn sessions(&self) -> Sessions<'_> {
        let Shared { files, memory, watch: _ } = &*self.shared;
        Sessions::new(files, memory)
    }

    /// Does `work` with the sessions of users where a slow disk holds nobody up.
    ///
    /// # Errors
    /// When the work was cut off.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(Sessions<'_>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let grants = self.clone();
        let done = tokio::task::spawn_blocking(move || work(grants.sessions()));
        done.await.map_err(io::Error::other)
    }

    fn read(&self, digest: &TokenDigest, now: Instant) -> io::Result<Option<Arc<Found>>> {
        let Shared { files, memory, watch: _ } = &*self.shared;
        // Before the file is opened: a change that is told from now on makes what was read worthless.
        let age = memory.age();
        let Some(found) = files.read(digest)? else { return Ok(None) };
        let found = Arc::new(found);
        memory.keep(digest, &found, age, now);
        Ok(Some(found))
    }
}

/// How long after a use the next one is noted: a short idle time needs to be told more often.
fn grain_s(grant: &Grant) -> u64 {
    let grain = LAST_USE_GRAIN.as_secs();
    grant.idle_seconds.map_or(grain, |idle| grain.min(idle / 4))
}

/// Seconds since 1970.
pub(crate) fn wall_clock_s() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

#[cfg(test)]
mod tests;
