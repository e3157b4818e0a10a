//! A lane in a temporary directory, for tests.

use std::path::PathBuf;

use ploinky_contract::TaskId;
use tempfile::TempDir;

use super::{SyncClaim, SyncConsumer, SyncProducer};
use crate::scratch::{names_in, request, text};
use crate::{Claimed, boot_id};

/// The worker of the requests that tests make.
const INSTANCE: u16 = 1;

pub(crate) struct Lane {
    directory: TempDir,
    pub(crate) producer: SyncProducer,
    pub(crate) consumer: SyncConsumer,
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    pub(crate) fn within(directory: TempDir) -> Self {
        for name in ["requests", "urgent", "streams", "responses", "locks"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let producer = SyncProducer::open(directory.path(), INSTANCE).unwrap();
        let consumer = SyncConsumer::open(directory.path(), boot_id().unwrap()).unwrap();
        Self { directory, producer, consumer }
    }

    /// Another life of the runner.
    pub(crate) fn another_consumer(&self) -> SyncConsumer {
        SyncConsumer::open(self.directory.path(), boot_id().unwrap()).unwrap()
    }

    /// Another worker.
    pub(crate) fn another_producer(&self, instance: u16) -> SyncProducer {
        SyncProducer::open(self.directory.path(), instance).unwrap()
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

    pub(crate) fn claim(&self, slot: usize, id: TaskId) -> SyncClaim {
        match self.consumer.claim(slot, id).unwrap() {
            Claimed::Ours(claim) => claim,
            Claimed::Not(why) => panic!("not claimed: {why:?}"),
        }
    }

    /// The outcome, as [`text`] has it.
    pub(crate) fn outcome(&self, id: TaskId) -> Option<String> {
        self.producer.collect(id).unwrap().map(text)
    }

    pub(crate) fn assert_empty(&self) {
        for directory in ["requests", "urgent", "streams", "responses/1"] {
            assert_eq!(self.names(directory), Vec::<String>::new(), "{directory}");
        }
    }
}
