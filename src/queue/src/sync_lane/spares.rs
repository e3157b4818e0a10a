//! Request files whose tasks are over, kept to be written anew: making and removing a file costs more than all
//! other steps of a submission together.
//!
//! The new request is written over the old one, and *then* the file gets its new name. Until then it has its
//! old one, and the old task still has its record, so whoever reads a mixture of both does not run it: a claim
//! looks for the record first and for the name after that, and the record goes only after the name went.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ploinky_contract::TaskId;
use ploinky_contract::limits::IN_FLIGHT_PER_AGENT;
use rustix::fs::{RenameFlags, ftruncate, renameat_with};
use rustix::io::{Errno, pwrite};

/// Files kept for one agent: as many as one worker has tasks with it, because they end in batches.
const SPARES: usize = IN_FLIGHT_PER_AGENT;
/// Bytes of a request, and of the record beside it, that are worth keeping.
const SPARE_MAX_BYTES: usize = 16 * 1024;

/// The files of one lane.
#[derive(Debug, Default)]
pub(super) struct Spares {
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// Of tasks that are not over.
    used: HashMap<TaskId, Written>,
    /// Of tasks that are, and whose records are still there.
    spare: VecDeque<(TaskId, Written)>,
}

#[derive(Debug)]
struct Written {
    file: OwnedFd,
    bytes: usize,
    /// Of its record, as soon as that was found.
    record_bytes: usize,
}

impl Spares {
    /// Remembers the file of a task that was submitted.
    pub(super) fn add(&self, id: TaskId, file: OwnedFd, bytes: usize) {
        if bytes <= SPARE_MAX_BYTES {
            self.files().used.insert(id, Written { file, bytes, record_bytes: usize::MAX });
        }
    }

    /// A record of a task was found.
    pub(super) fn record_found(&self, id: TaskId, bytes: usize) {
        if let Some(written) = self.files().used.get_mut(&id) {
            written.record_bytes = bytes;
        }
    }

    /// The task is over and was collected: keeps its file if that is of use; otherwise `false`, and everything
    /// of the task is to be removed.
    pub(super) fn keep(&self, id: TaskId) -> bool {
        let mut files = self.files();
        let Some(written) = files.used.remove(&id) else { return false };
        if SPARES <= files.spare.len() || SPARE_MAX_BYTES < written.record_bytes {
            return false;
        }
        files.spare.push_back((id, written));
        true
    }

    /// Forgets a task; its files are to be removed.
    pub(super) fn forget(&self, id: TaskId) {
        self.files().used.remove(&id);
    }

    /// A spare file, and the task whose name and record it has.
    pub(super) fn take(&self) -> Option<Spare> {
        self.files().spare.pop_front().map(|(old, written)| Spare { old, written })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file to be written anew.
pub(super) struct Spare {
    old: TaskId,
    written: Written,
}

impl Spare {
    /// The task whose name and record it has.
    pub(super) fn old(&self) -> TaskId {
        self.old
    }

    /// Makes the file the request of task `id` in `requests`. The record of the old task is to be removed in
    /// any case, and its request, too, if this failed.
    pub(super) fn become_request(
        self,
        requests: &OwnedFd,
        id: TaskId,
        bytes: &[u8],
    ) -> io::Result<OwnedFd> {
        let Self { old, written: Written { file, bytes: before, record_bytes: _ } } = self;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            match pwrite(&file, rest, at as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => at += written,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if bytes.len() < before {
            ftruncate(&file, bytes.len() as u64)?;
        }
        renameat_with(requests, old.as_str(), requests, id.as_str(), RenameFlags::NOREPLACE)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::scratch::{id, raw, request};
    use crate::sync_lane::scratch::Lane;
    use crate::{Claimed, NotClaimed, Recovered};

    /// A task that is over, and whose file is spare.
    fn over(lane: &Lane, number: u8) -> TaskId {
        let id = lane.submit(number);
        lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
        assert_eq!(lane.outcome(id).as_deref(), Some("1"));
        lane.producer.clean_collected(id).unwrap();
        id
    }

    fn assert_never_runs(lane: &Lane, id: TaskId) {
        let next = lane.another_consumer();
        assert_eq!(next.recover().unwrap().crashed, 0);
        for consumer in [&lane.consumer, &next] {
            let claimed = consumer.claim(1, id).unwrap();
            assert!(matches!(claimed, Claimed::Not(NotClaimed::Taken)), "{claimed:?}");
        }
    }

    #[test]
    fn the_next_request_takes_the_file_of_a_task_that_is_over() {
        let lane = Lane::new();
        let inode =
            |id: TaskId| std::fs::metadata(lane.path("requests", id.as_str())).unwrap().ino();
        let old = over(&lane, 1);
        let before = inode(old);
        let mut watch = lane.consumer.watch_requests().unwrap();
        let mut long = request(2);
        long.params.push(raw("\"xxxxxxxxxxxxxxxx\""));
        lane.producer.submit(&long).unwrap();
        assert_eq!(inode(id(2)), before);
        let mut heard = Vec::new();
        watch.drain(&mut |id| heard.push(id)).unwrap();
        assert_eq!((heard, lane.names("requests").len()), (vec![id(2)], 1));
        assert_eq!(lane.names("responses/1"), Vec::<String>::new());
        let claim = lane.claim(0, id(2));
        assert_eq!(claim.bytes(), long.encode());
        lane.consumer.complete(&claim, &raw("2")).unwrap();
        assert_eq!(lane.outcome(id(2)).as_deref(), Some("2"));
        lane.producer.clean_collected(id(2)).unwrap();
        // And a shorter one.
        let claim = lane.claim(0, lane.submit(3));
        assert_eq!(claim.bytes(), request_bytes(&lane, 3));
        lane.consumer.complete(&claim, &raw("3")).unwrap();
        assert_never_runs(&lane, old);
        assert_never_runs(&lane, id(2));
    }

    fn request_bytes(lane: &Lane, number: u8) -> Vec<u8> {
        std::fs::read(lane.path("requests", id(number).as_str())).unwrap()
    }

    #[test]
    fn wherever_the_worker_dies_the_old_task_does_not_run_again() {
        // With all, with a part, and with other bytes of the new request; then with its name, too.
        let new = request(2).encode();
        for bytes in [&new[..], new.split_at(70).0, new.split_at(200).0] {
            let lane = Lane::new();
            let old = over(&lane, 1);
            let Spare { written, .. } = lane.producer.spares.take().unwrap();
            pwrite(&written.file, bytes, 0).unwrap();
            assert_never_runs(&lane, old);
            let [from, to] = [old, id(2)];
            let requests = &lane.producer.directories.requests;
            rustix::fs::renameat(requests, from.as_str(), requests, to.as_str()).unwrap();
            assert_never_runs(&lane, old);
        }
    }

    #[test]
    fn a_request_that_was_read_before_its_file_was_taken_does_not_run() {
        let lane = Lane::new();
        let id = lane.submit(1);
        assert!(lane.consumer.waiting_task(id).unwrap().is_some());
        // Another thread is quicker, and the file goes to the next task.
        lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
        lane.outcome(id).unwrap();
        lane.producer.clean_collected(id).unwrap();
        lane.submit(2);
        assert_never_runs(&lane, id);
    }

    #[test]
    fn a_file_whose_name_is_gone_is_not_used() {
        let lane = Lane::new();
        let old = over(&lane, 1);
        std::fs::remove_file(lane.path("requests", old.as_str())).unwrap();
        let id = lane.submit(2);
        assert_eq!(lane.claim(0, id).bytes(), request_bytes(&lane, 2));
        assert_eq!(lane.names("responses/1"), Vec::<String>::new());
    }

    #[test]
    fn a_task_whose_id_is_there_already_keeps_its_request() {
        let lane = Lane::new();
        over(&lane, 1);
        let first = lane.submit(2);
        over(&lane, 3);
        let before = request_bytes(&lane, 2);
        assert!(lane.producer.submit(&request(2)).is_err());
        assert_eq!(request_bytes(&lane, 2), before);
        assert_eq!(lane.names("requests"), [first.as_str()]);
    }

    #[test]
    fn no_more_than_some_small_files_are_kept() {
        let lane = Lane::new();
        let long = raw(&format!("\"{}\"", "x".repeat(SPARE_MAX_BYTES)));
        let mut request = request(1);
        request.params.push(long.clone());
        lane.producer.submit(&request).unwrap();
        lane.consumer.complete(&lane.claim(0, id(1)), &raw("1")).unwrap();
        lane.consumer.complete(&lane.claim(0, lane.submit(2)), &long).unwrap();
        for number in [1, 2] {
            lane.outcome(id(number)).unwrap();
            lane.producer.clean_collected(id(number)).unwrap();
        }
        lane.assert_empty();
        let ids: Vec<TaskId> = (0..=200).map(|number| lane.submit(number)).collect();
        for id in ids {
            lane.consumer.complete(&lane.claim(0, id), &raw("1")).unwrap();
            lane.outcome(id).unwrap();
            lane.producer.clean_collected(id).unwrap();
        }
        assert_eq!(lane.names("requests").len(), SPARES);
        assert_eq!(
            lane.another_consumer().recover().unwrap(),
            Recovered { released: 1, ..Recovered::default() }
        );
        lane.producer.flush().unwrap();
        lane.assert_empty();
    }
}
