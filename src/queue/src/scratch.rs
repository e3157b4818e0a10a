//! A queue in a temporary directory, for the tests of this crate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ploinky_contract::{TaskId, TaskState};
use rustix::io::Errno;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::disk::Step;
use crate::{
    Accepted, Claim, Claimed, Consumer, Mode, Outcome, Producer, Request, SubmitError, Submitter,
    Terms, boot_id, boottime_ns,
};

/// All directories of a queue.
pub(crate) const DIRECTORIES: [&str; 7] =
    ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"];

pub(crate) struct Scratch {
    directory: TempDir,
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
}

/// Unmounts when it goes.
pub(crate) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    pub(crate) fn within(directory: TempDir) -> Self {
        for name in DIRECTORIES {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let producer = Producer::open(directory.path()).unwrap();
        let consumer = Consumer::open(directory.path(), boot_id().unwrap()).unwrap();
        Self { directory, producer, consumer }
    }

    /// A queue on a small file system of its own; `None` where nothing can be mounted.
    pub(crate) fn on_tmpfs(options: &str) -> Option<(Self, Mounted)> {
        let directory = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let options = std::ffi::CString::new(options).unwrap();
        let options = Some(options.as_c_str());
        if let Err(e) = rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, options) {
            eprintln!("skipped: cannot mount a tmpfs here ({e})");
            return None;
        }
        let mount = Mounted(directory.path().to_owned());
        Some((Self::within(directory), mount))
    }

    /// Another runner on the same queue.
    pub(crate) fn another_consumer(&self) -> Consumer {
        Consumer::open(self.directory.path(), boot_id().unwrap()).unwrap()
    }

    /// A server that sees the same queue.
    pub(crate) fn another_producer(&self) -> Producer {
        Producer::open(self.directory.path()).unwrap()
    }

    /// Accepts a task for good.
    pub(crate) fn accept(&self, request: &Request) -> Result<Accepted, SubmitError> {
        let mut results = self.producer.submit_durable(std::slice::from_ref(request));
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    /// Accepts the task `number`, which is run once.
    pub(crate) fn accept_once(&self, number: u8) -> TaskId {
        let request = kept(number, 1);
        assert_eq!(self.accept(&request).unwrap(), Accepted::New);
        request.id
    }

    /// Accepts the task `number`, which is run up to `attempts` times.
    pub(crate) fn accept_retried(&self, number: u8, attempts: u16) -> TaskId {
        let request = kept(number, attempts);
        assert_eq!(self.accept(&request).unwrap(), Accepted::New);
        request.id
    }

    /// The durable outcome, as [`text`] has it.
    pub(crate) fn kept_outcome(&self, id: TaskId) -> Option<String> {
        self.producer.collect_durable(id).unwrap().map(text)
    }

    pub(crate) fn state(&self, id: TaskId) -> Option<TaskState> {
        self.producer.inspect(id).unwrap().map(|task| task.state)
    }

    pub(crate) fn put(&self, directory: &str, name: &str, bytes: &[u8]) {
        std::fs::File::create(self.path(directory, name))
            .and_then(|mut file| io::Write::write_all(&mut file, bytes))
            .unwrap();
    }

    /// Nothing may be left in any directory.
    pub(crate) fn assert_empty(&self) {
        for directory in DIRECTORIES {
            assert_eq!(self.names(directory), Vec::<String>::new(), "{directory}");
        }
    }

    pub(crate) fn path(&self, directory: &str, name: &str) -> PathBuf {
        self.directory.path().join(directory).join(name)
    }

    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        names_in(&self.directory.path().join(directory))
    }

    pub(crate) fn submit(&self, number: u8) -> TaskId {
        let request = request(number);
        self.producer.submit(&request).unwrap();
        request.id
    }

    pub(crate) fn claim(&self, id: TaskId) -> Claim {
        match self.consumer.claim(id).unwrap() {
            Claimed::Ours(claim) => claim,
            Claimed::Not(why) => panic!("not claimed: {why:?}"),
        }
    }

    /// The outcome, as [`text`] has it.
    pub(crate) fn outcome(&self, id: TaskId) -> Option<String> {
        self.producer.collect(id).unwrap().map(text)
    }

    /// What a stranger leaves at the name of a result has to be refused, and nothing may stay of the task.
    pub(crate) fn assert_refused(&self, id: TaskId, expected: &str) {
        let error = self.producer.collect(id).expect_err("the result is refused");
        assert!(error.is_fault_of_agent(), "{error:?}");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        assert!(text.contains(expected), "found `{text}`, want `{expected}`");
        for directory in ["requests", "responses", "errors"] {
            assert_eq!(self.names(directory), Vec::<String>::new(), "{directory}");
        }
    }
}

pub(crate) fn id(number: u8) -> TaskId {
    TaskId::from_random([number; 16])
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// What is in a directory, in order.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An outcome as text: the value, or `code: message`.
pub(crate) fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done(value) => value.get().to_owned(),
        Outcome::File(file) => format!("{file:?}"),
        Outcome::Failed(error) => format!("{}: {}", error.code, error.message),
    }
}

/// A request that is accepted for good, for a minute, and run up to `attempts` times.
pub(crate) fn kept(number: u8, attempts: u16) -> Request {
    let terms = Terms {
        mode: Mode::Async,
        attempts,
        deadline_in_ns: Some(60_000_000_000),
        ..Terms::default()
    };
    Request { terms, ..request(number) }
}

/// The same with an id that comes from a key.
pub(crate) fn keyed(number: u8) -> Request {
    let mut request = kept(number, 1);
    request.terms.digest = Some("0".repeat(64));
    request
}

/// A request that may run for a minute.
pub(crate) fn request(number: u8) -> Request {
    let now = boottime_ns();
    Request {
        id: id(number),
        command: "ns.echo".parse().unwrap(),
        params: vec![raw(r#""alice""#), raw("{ \"a\" :\n [1, 2] }")],
        owner: "alice".parse().unwrap(),
        seq: now,
        deadline_boot_ns: now + 60_000_000_000,
        boot_id: boot_id().unwrap(),
        submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
        attempt: 1,
        terms: Terms::default(),
    }
}

/// What happens at the next syncs, in this order; then all goes well.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<(Step, Fault)>>);

type Fault = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Faults {
    /// Makes the next sync of this kind fail.
    pub(crate) fn fail(&self, step: Step) {
        self.at(step, || Err(Errno::IO.into()));
    }

    /// Does something in the place of the next sync of this kind.
    pub(crate) fn at(&self, step: Step, fault: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.0.lock().unwrap().push((step, Box::new(fault)));
    }

    /// How many have not come yet.
    pub(crate) fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn next(&self, step: Step) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        let Some(index) = faults.iter().position(|(kind, _)| *kind == step) else { return Ok(()) };
        let (_, fault) = faults.remove(index);
        drop(faults);
        fault()
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Faults").field(&self.left()).finish()
    }
}
