//! What a handler says of its progress: a note per task that is written not too often, the last one always.

use std::fmt;
use std::io;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{PROGRESS_INTERVAL, PROGRESS_MAX_BYTES};
use serde_json::value::RawValue;

use crate::boot_time::BootTime;
use crate::log;
use crate::said_json::json_of;

/// Where a note goes.
type Write<'a> = &'a dyn Fn(&RawValue) -> io::Result<()>;

/// The notes of one run.
pub(crate) struct Progress<'a> {
    id: TaskId,
    /// Nowhere, if nobody can look at them.
    write: Option<Write<'a>>,
    pending: Option<Box<RawValue>>,
    next: BootTime,
    has_complained: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(id: TaskId, write: Option<Write<'a>>) -> Self {
        Self { id, write, pending: None, next: BootTime::from_ns(0), has_complained: false }
    }

    /// Whether anybody can look at the notes.
    pub(crate) fn is_kept(&self) -> bool {
        self.write.is_some()
    }

    /// Notes a line of the handler: JSON, or a text.
    pub(crate) fn say(&mut self, line: &[u8]) {
        if self.write.is_none() {
            return;
        }
        let note = json_of(line);
        if PROGRESS_MAX_BYTES < note.get().len() {
            return self.complain(&format!("has more than {PROGRESS_MAX_BYTES} bytes"));
        }
        self.pending = Some(note);
        self.write_due();
    }

    /// A line was too long to be kept.
    pub(crate) fn say_too_long(&mut self) {
        self.complain(&format!("has more than {PROGRESS_MAX_BYTES} bytes"));
    }

    /// When a note that waits is to be written.
    pub(crate) fn due(&self) -> Option<BootTime> {
        self.pending.as_ref().map(|_| self.next)
    }

    /// Writes the note that waits, if its time has come.
    pub(crate) fn write_due(&mut self) {
        if self.pending.is_some() && self.next.is_past() {
            self.write_now();
        }
    }

    /// Writes the last note.
    pub(crate) fn finish(&mut self) {
        if self.pending.is_some() {
            self.write_now();
        }
    }

    fn write_now(&mut self) {
        let (Some(write), Some(note)) = (self.write, self.pending.take()) else { return };
        self.next = BootTime::after(PROGRESS_INTERVAL);
        // A note is for people; the task goes on without.
        if let Err(e) = write(&note) {
            self.complain(&format!("cannot be written: {e}"));
        }
    }

    /// Once per run.
    fn complain(&mut self, what: &str) {
        if !self.has_complained {
            self.has_complained = true;
            log::event(&format!("a progress note of task {} {what}", self.id));
        }
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, write: _, pending, next, has_complained: _ } = self;
        f.debug_struct("Progress")
            .field("id", id)
            .field("pending", pending)
            .field("next", next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_flood_is_written_seldom_and_the_last_note_always() {
        let written = RefCell::new(Vec::new());
        let write = |note: &RawValue| {
            written.borrow_mut().push(note.get().to_owned());
            Ok(())
        };
        let mut progress = Progress::new(TaskId::from_random([1; 16]), Some(&write));
        let start = BootTime::now();
        for number in 0..10_000 {
            progress.say(format!("{{\"done\":{number}}}").as_bytes());
        }
        progress.say(&[b'x'; PROGRESS_MAX_BYTES]);
        let took = start.plus(PROGRESS_INTERVAL);
        progress.finish();
        progress.finish();
        let written = written.into_inner();
        if !took.is_past() {
            assert_eq!(written, [r#"{"done":0}"#, r#"{"done":9999}"#]);
        }
        assert_eq!(written.last().map(String::as_str), Some(r#"{"done":9999}"#));
    }

    #[test]
    fn a_note_that_cannot_be_written_is_no_failure() {
        let write = |_: &RawValue| Err(io::ErrorKind::StorageFull.into());
        let mut progress = Progress::new(TaskId::from_random([1; 16]), Some(&write));
        progress.say(b"1");
        assert_eq!(progress.due(), None);
        let mut nowhere = Progress::new(TaskId::from_random([1; 16]), None);
        nowhere.say(b"1");
        assert_eq!(nowhere.due(), None);
    }
}
