//! Outcomes that are to be posted: one small file per task, made durable before the task is accepted.
//!
//! The directory belongs to the server alone. A file in it says where the outcome of a task goes; the task
//! itself lies in the queue of its agent. Who has posted the outcome removes the file.

mod secret;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ploinky_contract::limits::CALLBACK_URL_MAX_BYTES;
use ploinky_contract::{DeployPath, Domain, TaskId};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use serde::{Deserialize, Serialize};

pub use self::secret::{CallbackSecret, InvalidKey};
use crate::consumer::ids_in;
use crate::directories::{DIRECTORY, exists, unless_absent};
use crate::disk::Disk;
use crate::publish::{Recorded, publish_synced};
use crate::read_result::{BadResult, read};
use crate::record::{RecordError, VERSION, check_version, parse};
use crate::watch::Watch;

const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Bytes of a file: the URL, and the rest.
const FILE_MAX_BYTES: usize = CALLBACK_URL_MAX_BYTES * 2 + 1024;

/// Where the outcome of a task goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Callback {
    /// The task.
    pub id: TaskId,
    /// The host of its agent.
    pub domain: Domain,
    /// The path of its agent.
    pub path: DeployPath,
    /// Where to post.
    pub url: String,
}

#[derive(Deserialize, Serialize)]
struct Written<'a> {
    v: u8,
    id: &'a str,
    domain: &'a str,
    path: &'a str,
    url: String,
}

/// The directory of outcomes that are to be posted.
#[derive(Debug)]
pub struct CallbackBox {
    directory: OwnedFd,
    disk: Disk,
}

impl CallbackBox {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it is not there, or is a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = DIRECTORY | OFlags::RDONLY;
        let directory = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        let disk = Disk::of(&directory);
        Ok(Self { directory, disk })
    }

    /// Notes durably where an outcome goes. One that is there already stays.
    ///
    /// # Errors
    /// Nothing may be promised then.
    pub fn put(&self, callback: &Callback) -> io::Result<()> {
        let Callback { id, domain, path, url } = callback;
        // What is visible was synced before; on a full disk it would be refused.
        if self.has(*id)? {
            return self.disk.sync_directory(&self.directory);
        }
        let written = Written {
            v: VERSION,
            id: id.as_str(),
            domain: domain.as_str(),
            path: path.as_str(),
            url: url.clone(),
        };
        let bytes = serde_json::to_vec(&written).map_err(io::Error::other)?;
        // One that was there may not be durable yet: who made it may have died since.
        match publish_synced(&self.disk, &self.directory, *id, &bytes, FILE_MODE)? {
            Recorded::Made | Recorded::AlreadySo => self.disk.sync_directory(&self.directory),
        }
    }

    /// Where the outcome of a task goes; `None` if nobody wants it.
    ///
    /// # Errors
    /// When the file is none of ours.
    pub fn get(&self, id: TaskId) -> Result<Option<Callback>, BadResult> {
        let Some(bytes) = read(&self.directory, id, FILE_MAX_BYTES)? else { return Ok(None) };
        Callback::decode(id, &bytes).map(Some).map_err(BadResult::Record)
    }

    /// Whether the outcome of a task is to be posted.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn has(&self, id: TaskId) -> io::Result<bool> {
        exists(&self.directory, id)
    }

    /// At most `limit` tasks whose outcome is to be posted.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn ids(&self, limit: usize) -> io::Result<Vec<TaskId>> {
        ids_in(&self.directory, limit)
    }

    /// Forgets a task. Not made durable: after a power cut an outcome may be posted twice, with the same id.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, id: TaskId) -> io::Result<()> {
        unless_absent(unlinkat(&self.directory, id.as_str(), AtFlags::empty()))
    }

    /// A watch on new files.
    ///
    /// # Errors
    /// When the kernel gives no more watches.
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::on(&[&self.directory])
    }
}

impl Callback {
    fn decode(id: TaskId, bytes: &[u8]) -> Result<Self, RecordError> {
        let Written { v, id: written, domain, path, url } =
            parse(bytes, FILE_MAX_BYTES, "a callback")?;
        check_version(v)?;
        if written != id.as_str() {
            return Err(RecordError::Field { field: "id" });
        }
        Ok(Self {
            id,
            domain: domain.parse().map_err(|_shape| RecordError::Field { field: "domain" })?,
            path: path.parse().map_err(|_shape| RecordError::Field { field: "path" })?,
            url,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::scratch::id;

    fn callback(number: u8) -> Callback {
        Callback {
            id: id(number),
            domain: Domain::localhost(),
            path: "/a/b".parse().unwrap(),
            url: "https://example.org/hook?x=\"1\"".to_owned(),
        }
    }

    #[test]
    fn what_is_no_callback_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let there = CallbackBox::open(directory.path()).unwrap();
        there.put(&callback(1)).unwrap();
        let good = fs::read_to_string(directory.path().join(id(1).as_str())).unwrap();
        for (number, text) in [
            (2, good.clone()),
            (3, good.replace("/a/b", "a")),
            (4, good.replace("\"v\":1", "\"v\":2")),
            (5, "{}".to_owned()),
        ] {
            let text =
                text.replace(id(1).as_str(), id(if number == 2 { 1 } else { number }).as_str());
            fs::File::create(directory.path().join(id(number).as_str()))
                .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
                .unwrap();
            assert!(there.get(id(number)).is_err(), "{text}");
        }
        assert!(CallbackBox::open(&directory.path().join("no")).is_err());
    }

    #[test]
    fn a_callback_is_kept_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let there = CallbackBox::open(directory.path()).unwrap();
        assert_eq!(there.get(id(1)).unwrap(), None);
        let other = Callback { url: "https://other.example".to_owned(), ..callback(1) };
        there.put(&callback(1)).unwrap();
        there.put(&other).unwrap();
        assert_eq!(there.get(id(1)).unwrap(), Some(callback(1)));
        assert_eq!(there.ids(10).unwrap(), [id(1)]);
        there.remove(id(1)).unwrap();
        there.remove(id(1)).unwrap();
        assert!(!there.has(id(1)).unwrap());
    }
}
