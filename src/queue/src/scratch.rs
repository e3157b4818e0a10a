//! A queue in a temporary directory, for the tests of this crate.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use ploinky_contract::TaskId;
use rustix::io::Errno;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::disk::Step;
use crate::{
    Claim, Claimed, Consumer, Outcome, Producer, Request, Submitter, Terms, boot_id, boottime_ns,
};

/// All directories of a queue.
pub(crate) const DIRECTORIES: [&str; 7] =
    ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"];

pub(crate) struct Scratch {
    directory: TempDir,
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
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

    /// Another runner on the same queue.
    pub(crate) fn another_consumer(&self) -> Consumer {
        Consumer::open(self.directory.path(), boot_id().unwrap()).unwrap()
    }

    pub(crate) fn path(&self, directory: &str, name: &str) -> PathBuf {
        self.directory.path().join(directory).join(name)
    }

    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
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

    /// The outcome as text: the value, or `code: message`.
    pub(crate) fn outcome(&self, id: TaskId) -> Option<String> {
        self.producer.collect(id).unwrap().map(|outcome| match outcome {
            Outcome::Done(value) => value.get().to_owned(),
            Outcome::File(file) => format!("{file:?}"),
            Outcome::Failed(error) => format!("{}: {}", error.code, error.message),
        })
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

/// Errors that the next syncs give, in this order; then all goes well.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<(Step, Errno)>>);

impl Faults {
    /// Makes the next sync of this kind fail.
    #[expect(dead_code, reason = "the tests of promises come next")]
    pub(crate) fn add(&self, step: Step, error: Errno) {
        self.0.lock().unwrap().push((step, error));
    }

    pub(crate) fn next(&self, step: Step) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap();
        match faults.iter().position(|(kind, _)| *kind == step) {
            Some(index) => Err(faults.remove(index).1.into()),
            None => Ok(()),
        }
    }
}
