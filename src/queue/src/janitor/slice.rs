//! A bounded part of a directory, and the place where the next one begins.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::{Dir, Stat, fstat};

use super::Swept;
use crate::clock::wall_clock_s;

/// Age in seconds from which a time of change is told apart from that of any later change.
const SETTLED_S: i64 = 2;

/// Where a listing goes on: what the kernel calls the position, which stays good while names come and go.
///
/// A directory that had no name of ours needs no listing until its time of change is another one. That holds
/// although programs in a container write there: they do not own it, and cannot set its times.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    offset: i64,
    empty_since: Option<(i64, u64)>,
}

impl Place {
    /// Whether the directory that `about` describes has no names of ours, as one whole listing found.
    pub(crate) fn is_still_empty(&self, about: &Stat) -> bool {
        self.offset == 0 && self.empty_since == Some(changed(about))
    }

    /// Lets the next listing start from the beginning.
    pub(crate) fn begin_again(&mut self) {
        self.offset = 0;
    }
}

/// When the names in a directory changed last, if every later change is told apart from that one.
pub(crate) fn settled(about: &Stat) -> Option<(i64, u64)> {
    let changed = changed(about);
    (changed.0.saturating_add(SETTLED_S) <= wall_clock_s()).then_some(changed)
}

/// When the names in a directory changed last.
pub(crate) fn changed(about: &Stat) -> (i64, u64) {
    #[expect(clippy::useless_conversion, reason = "its type depends on the architecture")]
    let nanoseconds = u64::try_from(about.st_mtime_nsec).unwrap_or(0);
    (about.st_mtime, nanoseconds)
}

/// Names of one part of a directory.
pub(crate) struct Slice {
    pub(crate) names: Vec<Name>,
}

/// A name that is ours.
pub(crate) enum Name {
    /// The id of a task.
    Task(TaskId),
    /// The id of a task and a word behind a dot.
    OfTask(TaskId, String),
    /// A file that was not finished.
    Staged(String),
}

impl Slice {
    /// Up to `limit` names from `place` on, and moves `place` behind them; at the end to the beginning.
    pub(crate) fn of(
        directory: &OwnedFd,
        place: &mut Place,
        limit: usize,
        swept: &mut Swept,
    ) -> io::Result<Self> {
        let mut names = Vec::new();
        // Before the listing: what comes meanwhile has a later time.
        let about = fstat(directory)?;
        if place.is_still_empty(&about) {
            return Ok(Self { names });
        }
        let mut looked = 0;
        let mut listing = Dir::read_from(directory)?;
        let begun = place.offset;
        if begun != 0 {
            listing.seek(begun)?;
        }
        let mut at = Place { offset: begun, empty_since: None };
        loop {
            let Some(entry) = listing.next() else {
                let is_whole = begun == 0 && names.is_empty();
                at = Place { offset: 0, empty_since: settled(&about).filter(|_| is_whole) };
                break;
            };
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if limit <= looked {
                swept.more = true;
                break;
            }
            looked += 1;
            at.offset = entry.offset();
            names.extend(Name::of(entry.file_name().to_bytes()));
        }
        *place = at;
        swept.looked += looked;
        Ok(Self { names })
    }
}

impl Name {
    /// `None` if the name is none of ours.
    fn of(name: &[u8]) -> Option<Self> {
        if let Ok(id) = TaskId::from_bytes(name) {
            return Some(Self::Task(id));
        }
        let text = std::str::from_utf8(name).ok()?;
        if text.starts_with(".tmp-") {
            return Some(Self::Staged(text.to_owned()));
        }
        let (id, _word) = text.split_once('.')?;
        Some(Self::OfTask(id.parse().ok()?, text.to_owned()))
    }
}
