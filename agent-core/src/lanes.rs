//! Both queues of the agent behind one set of verbs.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::time::Duration;

use ploinky_contract::{CommandName, Container, TaskId, UserId, chain};
use ploinky_queue::{
    BadResult, Claim, Claimed, Consumer, FileResult, NotClaimed, OpenError, Recorded, Recovered,
    RunnerLock, SyncConsumer, TaskError, TaskHead, Waiting, Watch, boottime_ns, code,
};
use serde_json::value::RawValue;

use crate::file_result::FileName;
use crate::interrupt::Why;
use crate::job::Job;
use crate::lane::Lane;
use crate::log;
use crate::run::Ending;
use crate::schedule::{Class, Entry, number};
use crate::stream::Stream;

/// The two queues, and what the manifest says of the order in them.
#[derive(Debug)]
pub(crate) struct Lanes {
    durable: Consumer,
    /// Absent where the supervisor mounts none.
    sync: Option<SyncConsumer>,
    /// Where handlers leave files.
    outputs: String,
    boot_id: String,
    classes: HashMap<String, Class>,
    bounds: Vec<u16>,
    /// Owners are told apart by a hash that they cannot foresee.
    owners: RandomState,
}

/// What a look at a task found.
#[derive(Debug)]
pub(crate) enum Look {
    /// It waits, until a time if that is given.
    Waits(Entry, Option<u64>),
    /// It has its outcome.
    Over,
    /// It is not there, or cannot be looked at now; the next sweep finds it.
    Gone,
}

impl Lanes {
    /// Opens the durable queue at `tasks`, and the other one at `sync` if it can be opened: where the host has no
    /// memory for it the directory is empty, and all calls come through the durable one.
    pub(crate) fn open(
        tasks: &Path,
        sync: &Path,
        container: &Container,
        boot_id: String,
    ) -> Result<Self, OpenError> {
        let durable = Consumer::open(tasks, boot_id.clone())?;
        let sync = match sync.join("requests").symlink_metadata() {
            Ok(_) => SyncConsumer::open(sync, boot_id.clone())
                .inspect_err(|e| log::event(&format!("going on without memory: {}", chain(e))))
                .ok(),
            Err(_) => None,
        };
        let mut classes = HashMap::new();
        let mut bounds = Vec::new();
        for (name, command) in &container.commands {
            // Whoever may run on all threads has no bound of its own.
            if let Some(bound) = command.concurrency.filter(|own| *own < container.concurrency) {
                bounds.push(bound);
                classes
                    .insert(name.as_str().to_owned(), Class::try_from(bounds.len()).unwrap_or(0));
            }
        }
        let outputs = tasks.join("outputs").display().to_string();
        Ok(Self { durable, sync, outputs, boot_id, classes, bounds, owners: RandomState::new() })
    }

    /// How many of a class may run at once, from class 1 on.
    pub(crate) fn bounds(&self) -> Vec<u16> {
        self.bounds.clone()
    }

    /// Becomes the runner of the durable queue, and then of the other one unless its memory has no room for the
    /// lock; `None` if somebody else is that of one.
    pub(crate) fn become_runner(&mut self) -> io::Result<Option<Vec<RunnerLock>>> {
        let Some(durable) = self.durable.become_runner()? else { return Ok(None) };
        match self.sync.as_ref().map(SyncConsumer::become_runner) {
            Some(Ok(Some(sync))) => Ok(Some(vec![durable, sync])),
            Some(Ok(None)) => Ok(None),
            Some(Err(e)) => {
                self.leave_memory(&e);
                Ok(Some(vec![durable]))
            }
            None => Ok(Some(vec![durable])),
        }
    }

    /// Ends what the runner before left of kept tasks.
    pub(crate) fn recover(&self) -> io::Result<Recovered> {
        self.durable.recover()
    }

    /// Ends what the runner before left of calls.
    pub(crate) fn recover_calls(&self) -> io::Result<Recovered> {
        self.sync.as_ref().map_or_else(|| Ok(Recovered::default()), SyncConsumer::recover)
    }

    /// Serves the durable queue alone from now on. Workers see that nobody holds the lock of the other one, and
    /// send calls through the disk; what is left there is the next runner's.
    pub(crate) fn leave_memory(&mut self, why: &(dyn std::error::Error + 'static)) {
        log::event(&format!("going on without memory: {}", chain(why)));
        self.sync = None;
    }

    /// A watch on the tasks that arrive; `None` if the lane is not there.
    pub(crate) fn watch_requests(&self, lane: Lane) -> io::Result<Option<Watch>> {
        match lane {
            Lane::Sync => self.sync.as_ref().map(SyncConsumer::watch_requests).transpose(),
            Lane::Durable => self.durable.watch_requests().map(Some),
        }
    }

    /// A watch on the wishes to end tasks; `None` if the lane is not there.
    pub(crate) fn watch_urgent(&self, lane: Lane) -> io::Result<Option<Watch>> {
        match lane {
            Lane::Sync => self.sync.as_ref().map(SyncConsumer::watch_urgent).transpose(),
            Lane::Durable => self.durable.watch_urgent().map(Some),
        }
    }

    /// Tasks that shall end early.
    pub(crate) fn urgent(&self, lane: Lane) -> io::Result<Vec<TaskId>> {
        match lane {
            Lane::Sync => self.sync.as_ref().map_or_else(|| Ok(Vec::new()), SyncConsumer::urgent),
            Lane::Durable => self.durable.urgent(),
        }
    }

    /// All tasks whose requests are there.
    pub(crate) fn list(&self, lane: Lane) -> io::Result<Vec<TaskId>> {
        match lane {
            Lane::Sync => self.sync.as_ref().map_or_else(|| Ok(Vec::new()), SyncConsumer::requests),
            Lane::Durable => self.durable.requests(),
        }
    }

    /// Claims a task for the thread in `slot`.
    pub(crate) fn claim(&self, slot: usize, lane: Lane, id: TaskId) -> io::Result<Claimed<Job>> {
        match (lane, &self.sync) {
            (Lane::Sync, Some(sync)) => Ok(match sync.claim(slot, id)? {
                Claimed::Ours(claim) => Claimed::Ours(Job::Sync(claim)),
                Claimed::Not(why) => Claimed::Not(why),
            }),
            (Lane::Sync, None) => Ok(Claimed::Not(NotClaimed::Taken)),
            (Lane::Durable, _) => Ok(match self.durable.claim(id)? {
                Claimed::Ours(claim) => Claimed::Ours(Job::Durable(claim)),
                Claimed::Not(why) => Claimed::Not(why),
            }),
        }
    }

    /// What decides about the order of a task, unless it is over.
    pub(crate) fn look(&self, lane: Lane, id: TaskId) -> Look {
        let found = match (lane, &self.sync) {
            (Lane::Durable, _) => self.durable.waiting_task(id),
            (Lane::Sync, Some(sync)) => sync.waiting_task(id),
            (Lane::Sync, None) => Ok(None),
        };
        let waiting = match found {
            Ok(Some(waiting)) => waiting,
            Ok(None) if lane == Lane::Durable && self.durable.is_over(id).unwrap_or(false) => {
                return Look::Over;
            }
            Ok(None) => return Look::Gone,
            Err(e) => {
                log::event(&format!("cannot look at task {id}: {e}"));
                return Look::Gone;
            }
        };
        let Waiting { id, order, urgency, what, not_before_boot_ns, .. } = waiting;
        let (owner, class) =
            what.map_or((0, 0), |(owner, command)| (self.owner(&owner), self.class(&command)));
        let entry = Entry { id: number(id), owner, seq: order, urgency, class };
        Look::Waits(entry, Some(not_before_boot_ns).filter(|time| boottime_ns() < *time))
    }

    /// The same of a claimed task.
    pub(crate) fn entry(&self, head: &TaskHead) -> Entry {
        Entry {
            id: number(head.id),
            owner: self.owner(&head.owner),
            seq: head.order_on(&self.boot_id),
            urgency: head.terms.urgency,
            class: self.class(&head.command),
        }
    }

    fn owner(&self, owner: &UserId) -> u64 {
        self.owners.hash_one(owner.as_str())
    }

    fn class(&self, command: &CommandName) -> Class {
        self.classes.get(command.as_str()).copied().unwrap_or(0)
    }

    /// Where the handler of a task may leave a file.
    pub(crate) fn output(&self, id: TaskId) -> String {
        format!("{}/{id}", self.outputs)
    }

    /// Where the events of a task go, if it streams.
    ///
    /// # Errors
    /// The task ends so, because nobody reads.
    pub(crate) fn open_stream(&self, job: &Job) -> Result<Option<Stream>, Ending> {
        let (Job::Sync(claim), Some(sync)) = (job, &self.sync) else { return Ok(None) };
        if !claim.is_stream() {
            return Ok(None);
        }
        match sync.open_stream(claim.id()) {
            Ok(Some(fifo)) => Ok(Some(Stream::new(fifo))),
            Ok(None) => Err(Ending::Asked(Why::ReaderGone)),
            Err(e) => {
                Err(Ending::failed(code::HANDLER_FAILED, format!("cannot open the stream: {e}")))
            }
        }
    }

    /// Keeps what a handler said of its progress.
    pub(crate) fn note_progress(&self, job: &Job, note: &RawValue) -> io::Result<()> {
        match job {
            Job::Durable(claim) => self.durable.progress(claim.id(), note),
            Job::Sync(_) => Ok(()),
        }
    }

    /// Makes the file that a handler left the result of its task.
    ///
    /// # Errors
    /// [`BadResult::is_fault_of_agent`] tells whether a later try can do better.
    pub(crate) fn seal(&self, job: &Job, name: &FileName) -> Result<Option<FileResult>, BadResult> {
        let id = job.id();
        let media_type = name.media_type.as_deref().unwrap_or("application/octet-stream");
        let name = name.name.as_deref().unwrap_or(id.as_str());
        match job {
            Job::Durable(claim) => self.durable.seal_output(claim, name, media_type),
            Job::Sync(claim) => self.durable.seal_output_of_call(claim, name, media_type),
        }
    }

    /// Removes the file that a handler left, if its task failed.
    pub(crate) fn remove_output(&self, id: TaskId) -> io::Result<()> {
        self.durable.remove_output(id)
    }

    /// Publishes the value of a task and releases it.
    pub(crate) fn complete(&self, job: &Job, value: &RawValue) -> io::Result<Recorded> {
        match (job, &self.sync) {
            (Job::Durable(claim), _) => self.durable.complete(claim, value),
            (Job::Sync(claim), Some(sync)) => sync.complete(claim, value),
            (Job::Sync(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Publishes that the result of a task is a file and releases it.
    pub(crate) fn complete_file(&self, job: &Job, file: &FileResult) -> io::Result<Recorded> {
        match (job, &self.sync) {
            (Job::Durable(claim), _) => self.durable.complete_file(claim, file),
            (Job::Sync(claim), Some(sync)) => sync.complete_file(claim, file),
            (Job::Sync(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Publishes why a task has no value, and releases it.
    pub(crate) fn fail(&self, job: &Job, why: &TaskError) -> io::Result<Recorded> {
        match (job, &self.sync) {
            (Job::Durable(claim), _) => self.durable.fail(claim, why),
            (Job::Sync(claim), Some(sync)) => sync.fail(claim, why),
            (Job::Sync(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Writes down that a run failed, and releases the task for another one.
    pub(crate) fn put_off(&self, claim: &Claim, why: &TaskError, wait: Duration) -> io::Result<()> {
        self.durable.put_off(claim, why, wait)
    }

    /// Releases a task as if it had not been claimed.
    pub(crate) fn give_back(&self, claim: &Claim) -> io::Result<()> {
        self.durable.give_back(claim)
    }
}
