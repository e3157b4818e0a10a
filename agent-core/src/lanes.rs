//! Both queues of the agent behind one set of verbs.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::{Container, TaskId};
use ploinky_queue::{
    Claimed, Consumer, NotClaimed, OpenError, Recorded, Recovered, Request, RunnerLock,
    SyncConsumer, TaskError, Watch, code,
};
use serde_json::value::RawValue;

use crate::file_result::FileName;
use crate::job::Job;
use crate::lane::Lane;
use crate::run::Ending;
use crate::schedule::{Class, Entry, number};
use crate::stream::Stream;

/// The two queues, and what the manifest says of the order in them.
#[derive(Debug)]
pub(crate) struct Lanes {
    durable: Consumer,
    /// Absent where the supervisor mounts none.
    sync: Option<SyncConsumer>,
    tasks: PathBuf,
    lane: PathBuf,
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
    /// Opens the durable queue at `tasks`, and the other one at `sync` if that directory is there.
    pub(crate) fn open(
        tasks: &Path,
        sync: &Path,
        container: &Container,
        boot_id: String,
    ) -> Result<Self, OpenError> {
        let durable = Consumer::open(tasks, boot_id.clone())?;
        let lane = sync.to_owned();
        let sync = match sync.symlink_metadata() {
            Ok(_) => Some(SyncConsumer::open(sync, boot_id)?),
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
        let tasks = tasks.to_owned();
        Ok(Self { durable, sync, tasks, lane, classes, bounds, owners: RandomState::new() })
    }

    /// How many of a class may run at once, from class 1 on.
    pub(crate) fn bounds(&self) -> Vec<u16> {
        self.bounds.clone()
    }

    /// Becomes the runner of both; `None` if somebody else is that of one.
    pub(crate) fn become_runner(&self) -> io::Result<Option<Vec<RunnerLock>>> {
        let mut locks = Vec::new();
        let sync = self.sync.as_ref().map(SyncConsumer::become_runner);
        for lock in [Some(self.durable.become_runner()), sync].into_iter().flatten() {
            match lock? {
                Some(lock) => locks.push(lock),
                None => return Ok(None),
            }
        }
        Ok(Some(locks))
    }

    /// Ends what the runner before left.
    pub(crate) fn recover(&self) -> io::Result<Recovered> {
        let mut all = self.durable.recover()?;
        if let Some(sync) = &self.sync {
            let Recovered { crashed, released, left, .. } = sync.recover()?;
            all.crashed += crashed;
            all.released += released;
            all.left += left;
        }
        Ok(all)
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
            Lane::Sync => {
                let waiting = |sync: &SyncConsumer| sync.waiting(&|_| false);
                self.sync.as_ref().map_or_else(|| Ok(Vec::new()), waiting)
            }
            Lane::Durable => self.durable.waiting(&|_| false),
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

    /// What decides about the order of a task.
    pub(crate) fn look(&self, lane: Lane, id: TaskId) -> Look {
        let directory = match lane {
            Lane::Sync => &self.lane,
            Lane::Durable => &self.tasks,
        };
        let Ok(bytes) = std::fs::read(directory.join("requests").join(id.as_str())) else {
            return Look::Gone;
        };
        let entry = |owner, seq, class| Entry { id: number(id), owner, seq, urgency: 3, class };
        match Request::decode(&bytes) {
            Ok(request) => {
                let owner = self.owners.hash_one(request.owner.as_str());
                let class = self.classes.get(request.command.as_str()).copied().unwrap_or(0);
                Look::Waits(entry(owner, request.seq, class), None)
            }
            // Whoever claims it says what is wrong.
            Err(_) => Look::Waits(entry(0, u64::MAX, 0), None),
        }
    }

    /// Where the handler of a task may leave a file.
    pub(crate) fn output(&self, id: TaskId) -> String {
        self.tasks.join("outputs").join(id.as_str()).display().to_string()
    }

    /// Where the events of a task go, if it streams.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "requests do not say so yet")]
    pub(crate) fn open_stream(&self, _job: &Job) -> Result<Option<Stream>, Ending> {
        Ok(None)
    }

    /// Keeps what a handler said of its progress.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "nobody can look at it yet")]
    pub(crate) fn note_progress(&self, _job: &Job, _note: &RawValue) -> io::Result<()> {
        Ok(())
    }

    /// The error of a task whose result is a file.
    #[expect(clippy::unused_self, reason = "records do not know files yet")]
    pub(crate) fn file_error(&self, _job: &Job, _name: &FileName) -> TaskError {
        TaskError::new(code::AGENT_BAD_RESULT, "results that are files are not supported yet")
    }

    /// Publishes the value of a task and releases it.
    pub(crate) fn complete(&self, job: &Job, value: &RawValue) -> io::Result<Recorded> {
        match (job, &self.sync) {
            (Job::Durable(claim), _) => self.durable.complete(claim, value),
            (Job::Sync(claim), Some(sync)) => sync.complete(claim, value),
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
}
