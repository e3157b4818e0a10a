//! A bounded part of a directory, and the place where the next one begins.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::fs::Dir;

use super::Swept;

/// Where a listing goes on: what the kernel calls the position, which stays good while names come and go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    offset: i64,
}

/// Names of one part of a directory.
pub(super) struct Slice {
    pub(super) names: Vec<Name>,
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
    pub(super) fn of(
        directory: &OwnedFd,
        place: &mut Place,
        limit: usize,
        swept: &mut Swept,
    ) -> io::Result<Self> {
        let mut names = Vec::new();
        let mut looked = 0;
        let mut listing = Dir::read_from(directory)?;
        let begun = place.offset;
        if begun != 0 {
            listing.seek(begun)?;
        }
        let mut at = Place { offset: begun };
        loop {
            let Some(entry) = listing.next() else {
                at = Place::default();
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
            at = Place { offset: entry.offset() };
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

/// Names of tasks and of files that were not finished, from the beginning; others are none of ours.
pub(crate) fn names_in(
    directory: &OwnedFd,
    limit: usize,
    swept: &mut Swept,
) -> io::Result<Vec<Name>> {
    Slice::of(directory, &mut Place::default(), limit, swept).map(|slice| slice.names)
}
