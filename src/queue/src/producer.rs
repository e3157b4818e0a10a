//! The server's side of one agent's queue: submit, collect, cancel, clean.

use std::io;
use std::path::Path;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{FREE_SPACE_FLOOR_PERCENT, RESULT_MAX_BYTES};
use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::directories::{Directories, OpenError, unless_absent};
use crate::lock::runner_is_alive_in;
use crate::publish::{Recorded, publish};
use crate::read_result::{BadResult, read_if};
use crate::request::REQUEST_FILE_MAX_BYTES;
use crate::watch::ResultWatch;
use crate::{Outcome, RecordPlace, Request, TaskError};

/// Requests and our own records: the agent reads them by its group.
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Locks.
const LOCK_MODE: Mode = Mode::from_raw_mode(0o770);

/// The server's handle of one agent's queue. All methods take `&self`; threads may share it.
#[derive(Debug)]
pub struct Producer {
    pub(crate) directories: Directories,
}

/// Why a task was not submitted; nothing of it is visible then.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// A task of this id was submitted before; it is not touched.
    #[error("task {id} exists already")]
    Exists {
        /// The id.
        id: TaskId,
    },
    /// The disk or the agent's share of it is full.
    #[error("there is no space for task {id}")]
    NoSpace {
        /// The task.
        id: TaskId,
        /// `ENOSPC` or `EDQUOT`.
        source: io::Error,
    },
    /// The request is longer than agents accept.
    #[error("the request of task {id} has {length} bytes; {REQUEST_FILE_MAX_BYTES} are allowed")]
    TooLong {
        /// The task.
        id: TaskId,
        /// Its bytes.
        length: usize,
    },
    /// The queue cannot be written to.
    #[error("cannot publish the request of task {id}")]
    Publish {
        /// The task.
        id: TaskId,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a wish to cancel met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cancel {
    /// The task had not started and never will; its error record is published.
    NeverStarted,
    /// The agent has the task and was asked to end it; a record follows, or [`Producer::give_up`] makes one.
    Asked,
    /// The task has an outcome already.
    Finished,
}

impl Producer {
    /// Opens the queue at `tasks` without following links.
    ///
    /// # Errors
    /// Names the directory that cannot be opened.
    pub fn open(tasks: &Path) -> Result<Self, OpenError> {
        Directories::open(tasks).map(|directories| Self { directories })
    }

    /// Device and inode of the directory that was opened; no other one has them as long as this value lives.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn place(&self) -> io::Result<(u64, u64)> {
        self.directories.place()
    }

    /// Makes the request visible to the agent.
    ///
    /// # Errors
    /// Nothing is visible then.
    pub fn submit(&self, request: &Request) -> Result<(), SubmitError> {
        let id = request.id;
        let bytes = request.encode();
        if bytes.is_empty() || REQUEST_FILE_MAX_BYTES < bytes.len() {
            return Err(SubmitError::TooLong { id, length: bytes.len() });
        }
        match publish(&self.directories.requests, id, &bytes, FILE_MODE) {
            Ok(Recorded::Made) => Ok(()),
            Ok(Recorded::AlreadySo) => Err(SubmitError::Exists { id }),
            Err(source) if is_no_space(&source) => Err(SubmitError::NoSpace { id, source }),
            Err(source) => Err(SubmitError::Publish { id, source }),
        }
    }

    /// Whether blocks and inodes are above the floor below which no task is taken.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn has_room(&self) -> io::Result<bool> {
        has_free_percent(&self.directories.requests, FREE_SPACE_FLOOR_PERCENT)
    }

    /// The outcome of a task, or `None` if it has none yet. The files stay; call [`Producer::clean`].
    ///
    /// # Errors
    /// What stands at the name is no result. It is removed then, the request before it, so that the task can
    /// not run again; only with [`BadResult::Trouble`] everything stays.
    pub fn collect(&self, id: TaskId) -> Result<Option<Outcome>, BadResult> {
        self.collect_if(id, &mut |_bytes| true)
    }

    /// The same; `admit` gets the bytes of the record before memory is taken for it, and may refuse.
    ///
    /// # Errors
    /// Those of [`Producer::collect`], and [`BadResult::PutOff`] if `admit` refused; everything stays then.
    pub fn collect_if(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        let found = self.look(id, admit);
        if found.as_ref().is_err_and(BadResult::is_fault_of_agent) {
            // What cannot be removed is a stray, and the janitor's.
            self.clean(id).ok();
        }
        found
    }

    fn look(
        &self,
        id: TaskId,
        admit: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Outcome>, BadResult> {
        let Directories { responses, errors, .. } = &self.directories;
        let decoded = if let Some(bytes) = read_if(responses, id, RESULT_MAX_BYTES, admit)? {
            Outcome::decode_response(id, &bytes)
        } else if let Some(bytes) = read_if(errors, id, RESULT_MAX_BYTES, admit)? {
            Outcome::decode_error(id, &bytes)
        } else {
            return Ok(None);
        };
        decoded.map(Some).map_err(BadResult::Record)
    }

    /// Ends a task that nobody waits for: takes its lock before the agent does and publishes `why`, or asks
    /// the agent to end it. Call [`Producer::clean`] when the outcome is of no use any more.
    ///
    /// # Errors
    /// When the lock or the wish cannot be made. The task may still run; its deadline ends it.
    pub fn cancel(&self, id: TaskId, why: &TaskError) -> io::Result<Cancel> {
        let Directories { urgent, locks, .. } = &self.directories;
        match mkdirat(locks, id.as_str(), LOCK_MODE) {
            Ok(()) => {
                // The lock is also free after the end: the agent records first and unlocks then.
                if self.directories.has_outcome(id)? {
                    unless_absent(unlinkat(locks, id.as_str(), AtFlags::REMOVEDIR))?;
                    return Ok(Cancel::Finished);
                }
                self.give_up(id, why)?;
                Ok(Cancel::NeverStarted)
            }
            Err(Errno::EXIST) => {
                if self.directories.has_outcome(id)? {
                    return Ok(Cancel::Finished);
                }
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                match openat(urgent, id.as_str(), flags, FILE_MODE) {
                    Ok(_) | Err(Errno::EXIST) => Ok(Cancel::Asked),
                    Err(e) => Err(e.into()),
                }
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Publishes an error record for a task whose agent does not. The first record wins.
    ///
    /// # Errors
    /// When the record cannot be written; none is visible then.
    pub fn give_up(&self, id: TaskId, why: &TaskError) -> io::Result<()> {
        publish(&self.directories.errors, id, &why.encode(id), FILE_MODE).map(|_recorded| ())
    }

    /// Removes everything of a task. The request goes first: without it the task can never run again,
    /// wherever this process dies in between.
    ///
    /// # Errors
    /// When something of the task cannot be removed; what the agent did to its own lock is no error.
    pub fn clean(&self, id: TaskId) -> io::Result<()> {
        let Directories { requests, urgent, responses, errors, locks, .. } = &self.directories;
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
        // A task has one record; if it had two, the janitor finds the other.
        if !remove_result(responses, id)? {
            remove_result(errors, id)?;
        }
        unless_absent(unlinkat(urgent, id.as_str(), AtFlags::empty()))?;
        match unlinkat(locks, id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes a task that ended by itself and whose record was collected from `place`: nobody made a marker,
    /// and the agent removes its lock itself. Half the calls of [`Producer::clean`], in the same order.
    ///
    /// # Errors
    /// When the request or the record cannot be removed.
    pub fn clean_collected(&self, id: TaskId, place: RecordPlace) -> io::Result<()> {
        let Directories { requests, responses, errors, .. } = &self.directories;
        unless_absent(unlinkat(requests, id.as_str(), AtFlags::empty()))?;
        let directory = match place {
            RecordPlace::Responses => responses,
            RecordPlace::Errors => errors,
        };
        remove_result(directory, id).map(|_was_there| ())
    }

    /// Whether the agent serves its queue.
    pub fn runner_is_alive(&self) -> bool {
        runner_is_alive_in(&self.directories.locks)
    }

    /// A watch of its own on the results of this agent.
    ///
    /// # Errors
    /// When the kernel gives no more watches (`fs.inotify.max_user_instances`).
    pub fn watch(&self) -> io::Result<ResultWatch> {
        ResultWatch::on(&[&self.directories.responses, &self.directories.errors])
    }
}

/// Whether at least `percent` of the blocks and of the inodes are free where `directory` lies.
pub(crate) fn has_free_percent(directory: &std::os::fd::OwnedFd, percent: u64) -> io::Result<bool> {
    let about = fstatvfs(directory)?;
    let is_above = |free: u64, all: u64| {
        all == 0 || u128::from(all) * u128::from(percent) <= u128::from(free) * 100
    };
    Ok(is_above(about.f_bavail, about.f_blocks) && is_above(about.f_favail, about.f_files))
}

/// Removes what stands at the name of a result, and tells whether something did.
pub(crate) fn remove_result(directory: &std::os::fd::OwnedFd, id: TaskId) -> io::Result<bool> {
    match unlinkat(directory, id.as_str(), AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => match unlinkat(directory, id.as_str(), AtFlags::REMOVEDIR) {
            // A directory with something in it is the agent's own litter.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(true),
            Err(e) => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::scratch::{Scratch, id, raw, request};
    use crate::{Claimed, code};

    struct Mounted(std::path::PathBuf);

    impl Drop for Mounted {
        fn drop(&mut self) {
            rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }

    #[test]
    fn a_link_on_the_way_to_the_queue_is_refused() {
        let queue = Scratch::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let tasks = queue.path("errors", "").parent().unwrap().to_owned();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&tasks, &link).unwrap();
        let error = Producer::open(&link).unwrap_err();
        assert!(error.to_string().starts_with("cannot open the directory"), "{error}");
        fs::remove_dir(tasks.join("errors")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), tasks.join("errors")).unwrap();
        assert!(Producer::open(&tasks).is_err());
        assert!(Producer::open(&elsewhere.path().join("..")).is_err());
        assert!(Producer::open(Path::new("")).is_err());
    }

    #[test]
    fn a_directory_that_is_open_keeps_its_place_for_itself() {
        let root = tempfile::tempdir().unwrap();
        let tasks = root.path().join("tasks");
        let open = || {
            for name in ["requests", "urgent", "responses", "errors", "locks"] {
                fs::create_dir_all(tasks.join(name)).unwrap();
            }
            Producer::open(&tasks).unwrap()
        };
        let mut known = Vec::new();
        for _ in 0..20 {
            known.push(open());
            fs::remove_dir_all(&tasks).unwrap();
        }
        let places: std::collections::HashSet<_> =
            known.iter().map(|producer| producer.place().unwrap()).collect();
        assert_eq!(places.len(), known.len());
    }

    #[test]
    fn a_task_is_never_submitted_twice() {
        let queue = Scratch::new();
        queue.submit(1);
        let inode = fs::metadata(queue.path("requests", id(1).as_str())).unwrap().ino();
        let again = queue.producer.submit(&request(1));
        assert!(matches!(again, Err(SubmitError::Exists { .. })), "{again:?}");
        assert_eq!(fs::metadata(queue.path("requests", id(1).as_str())).unwrap().ino(), inode);
    }

    #[test]
    fn a_request_that_is_too_long_is_not_submitted() {
        let queue = Scratch::new();
        let mut long = request(1);
        long.params.push(raw(&format!("\"{}\"", "x".repeat(REQUEST_FILE_MAX_BYTES))));
        assert!(matches!(queue.producer.submit(&long), Err(SubmitError::TooLong { .. })));
        assert_eq!(queue.names("requests"), Vec::<String>::new());
    }

    #[test]
    fn a_task_goes_there_and_back_and_leaves_nothing() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        assert_eq!(queue.outcome(id), None);
        let claim = queue.claim(id);
        assert_eq!(claim.command().as_str(), "ns.echo");
        assert_eq!(claim.request().unwrap().encode(), claim.bytes());
        assert_eq!(queue.consumer.complete(&claim, &raw("[1, 2]")).unwrap(), Recorded::Made);
        assert_eq!(queue.outcome(id).as_deref(), Some("[1, 2]"));
        assert_eq!(queue.outcome(id).as_deref(), Some("[1, 2]"));
        queue.producer.clean(id).unwrap();
        queue.producer.clean(id).unwrap();
        for directory in ["requests", "urgent", "responses", "errors", "locks"] {
            assert_eq!(queue.names(directory), Vec::<String>::new(), "{directory}");
        }
    }

    #[test]
    fn a_cancelled_task_that_nobody_claimed_never_runs() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let why = TaskError::new(code::CANCELLED, "gone");
        assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::NeverStarted);
        assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(_)));
        assert_eq!(queue.outcome(id).as_deref(), Some("CANCELLED: gone"));
        queue.producer.clean(id).unwrap();
        assert!(matches!(queue.consumer.claim(id).unwrap(), Claimed::Not(_)));
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }

    #[test]
    fn a_cancelled_task_that_is_claimed_is_asked_to_end() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let claim = queue.claim(id);
        let mut urgent = queue.consumer.watch_urgent().unwrap();
        let why = TaskError::new(code::CANCELLED, "gone");
        assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Asked);
        assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Asked);
        let mut seen = Vec::new();
        urgent.drain(&mut |id| seen.push(id)).unwrap();
        assert_eq!((seen, queue.consumer.urgent().unwrap()), (vec![id], vec![id]));
        queue.consumer.fail(&claim, &why).unwrap();
        assert_eq!(queue.outcome(id).as_deref(), Some("CANCELLED: gone"));
        queue.producer.clean(id).unwrap();
        assert_eq!(queue.names("urgent"), Vec::<String>::new());
    }

    #[test]
    fn a_task_that_is_over_is_not_cancelled() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        queue.consumer.complete(&queue.claim(id), &raw("1")).unwrap();
        let why = TaskError::new(code::CANCELLED, "gone");
        assert_eq!(queue.producer.cancel(id, &why).unwrap(), Cancel::Finished);
        assert_eq!(queue.outcome(id).as_deref(), Some("1"));
        assert_eq!(queue.names("locks"), Vec::<String>::new());
    }

    #[test]
    fn the_first_record_of_a_task_wins() {
        let queue = Scratch::new();
        let id = queue.submit(1);
        let claim = queue.claim(id);
        queue.producer.give_up(id, &TaskError::new(code::DEADLINE, "first")).unwrap();
        let late = TaskError::new(code::HANDLER_FAILED, "second");
        assert_eq!(queue.consumer.fail(&claim, &late).unwrap(), Recorded::AlreadySo);
        queue.producer.give_up(id, &TaskError::new(code::DEADLINE, "third")).unwrap();
        assert_eq!(queue.outcome(id).as_deref(), Some("DEADLINE: first"));
    }

    #[test]
    fn a_file_system_without_space_refuses_the_whole_task() {
        let directory = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount(
            "tmpfs",
            directory.path(),
            "tmpfs",
            flags,
            Some(c"size=32k,nr_inodes=12"),
        );
        if let Err(e) = mounted {
            eprintln!("skipped: cannot mount a tmpfs here ({e})");
            return;
        }
        let path = directory.path().to_owned();
        let queue = Scratch::within(directory);
        let mount = Mounted(path);
        let claim = {
            queue.submit(1);
            queue.claim(id(1))
        };
        assert!(queue.producer.has_room().unwrap());
        let mut big = request(2);
        big.params.push(raw(&format!("\"{}\"", "x".repeat(64 * 1024))));
        let refused = queue.producer.submit(&big);
        assert!(matches!(refused, Err(SubmitError::NoSpace { .. })), "{refused:?}");
        assert_eq!(queue.names("requests"), [id(1).as_str()]);
        let value = raw(&format!("\"{}\"", "x".repeat(64 * 1024)));
        assert!(queue.consumer.complete(&claim, &value).is_err());
        assert_eq!((queue.names("locks").len(), queue.names("responses").len()), (1, 0));
        // The claim is still ours, and a smaller record fits.
        queue.consumer.complete(&claim, &raw("1")).unwrap();
        assert_eq!(queue.outcome(id(1)).as_deref(), Some("1"));
        let filled = fs::File::create(mount.0.join("fill"))
            .and_then(|mut file| io::Write::write_all(&mut file, &vec![0; 64 * 1024]));
        assert!(filled.is_err());
        assert!(!queue.producer.has_room().unwrap());
    }

    #[test]
    fn a_runner_is_alive_as_long_as_it_holds_its_lock() {
        let queue = Scratch::new();
        assert!(!queue.producer.runner_is_alive());
        let lock = queue.consumer.become_runner().unwrap().unwrap();
        assert!(queue.producer.runner_is_alive());
        assert!(queue.another_consumer().become_runner().unwrap().is_none());
        drop(lock);
        assert!(!queue.producer.runner_is_alive());
        assert!(queue.another_consumer().become_runner().unwrap().is_some());
    }
}
