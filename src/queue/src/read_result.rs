//! Reads a file that a stranger may have made: never waits, never follows, never reads more than allowed.

use std::io;
use std::os::fd::OwnedFd;

use ploinky_contract::TaskId;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::record::RecordError;

/// How every file is opened that a stranger may have made: not through a link, and without waiting for the
/// other end of a pipe or the holder of a lease.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How often a name is looked at whose file lost it between opening and looking, as it was removed or replaced.
const LOOKS: usize = 8;

/// Why what stands at the name of a result is none.
#[derive(Debug, thiserror::Error)]
pub enum BadResult {
    /// It does not open as a plain file: a link, a socket, a lease, no permission.
    #[error("the result does not open as a plain file")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// It opens, but is something else than a regular file.
    #[error("the result is a {kind:?}, not a regular file")]
    NotAFile {
        /// What it is.
        kind: FileType,
    },
    /// It has another name somewhere.
    #[error("the result has {links} links instead of one")]
    Links {
        /// How many names it has.
        links: u64,
    },
    /// It is a file that was recorded with another size.
    #[error("the result has {found} bytes and was recorded with {recorded}")]
    Size {
        /// Its bytes.
        found: u64,
        /// Those in the record.
        recorded: u64,
    },
    /// Its bytes are not the record of the task.
    #[error("the result is no record of the task")]
    Record(#[source] RecordError),
    /// Not the agent's fault: whoever asked has no room for that many bytes at present. Nothing was removed.
    #[error("there is no room for the {bytes} bytes of the result at present")]
    PutOff {
        /// Bytes of the file.
        bytes: usize,
    },
    /// Not the agent's fault: this process or the disk has trouble. Nothing was removed.
    #[error("the result cannot be read at present")]
    Trouble {
        /// What the kernel said.
        source: io::Error,
    },
}

impl BadResult {
    /// Whether the agent is to blame; otherwise it is worth trying again.
    pub fn is_fault_of_agent(&self) -> bool {
        !matches!(self, Self::Trouble { .. } | Self::PutOff { .. })
    }
}

/// A private copy of the file at `id`, or `None` if nothing is there.
pub(crate) fn read(
    directory: &OwnedFd,
    id: TaskId,
    limit: usize,
) -> Result<Option<Vec<u8>>, BadResult> {
    read_if(directory, id, limit, &mut |_bytes| true)
}

/// The same if `admit`, which gets the bytes of the file, agrees.
pub(crate) fn read_if(
    directory: &OwnedFd,
    id: TaskId,
    limit: usize,
    admit: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Vec<u8>>, BadResult> {
    match open_plain(directory, id.as_str())? {
        Some((file, about)) => copy(&file, &about, limit, admit).map(Some),
        None => Ok(None),
    }
}

/// A private copy of the file `name` and what is known of it, or `None` if nothing is there.
pub(crate) fn read_named(
    directory: &OwnedFd,
    name: &str,
    limit: usize,
) -> Result<Option<(Vec<u8>, Stat)>, BadResult> {
    match open_plain(directory, name)? {
        Some((file, about)) => {
            copy(&file, &about, limit, &mut |_bytes| true).map(|bytes| Some((bytes, about)))
        }
        None => Ok(None),
    }
}

/// A private copy of the first `limit` bytes of the file `name`, and what is known of it.
pub(crate) fn read_prefix(
    directory: &OwnedFd,
    name: &str,
    limit: usize,
) -> Result<Option<(Vec<u8>, Stat)>, BadResult> {
    let Some((file, about)) = open_plain(directory, name)? else { return Ok(None) };
    let size = size_of(&about).min(limit);
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(&file, rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(e) => return Err(BadResult::Trouble { source: e.into() }),
        }
    }
    bytes.truncate(filled);
    Ok(Some((bytes, about)))
}

/// Opens a file that a stranger may have made, if it is a regular one with a single name.
pub(crate) fn open_plain(
    directory: &OwnedFd,
    name: &str,
) -> Result<Option<(OwnedFd, Stat)>, BadResult> {
    let mut opened = open_once(directory, name);
    for _ in 1..LOOKS {
        // Nobody's fault: it is gone, or another one stands there now.
        let Err(BadResult::Links { links: 0 }) = opened else { break };
        opened = open_once(directory, name);
    }
    opened
}

fn open_once(directory: &OwnedFd, name: &str) -> Result<Option<(OwnedFd, Stat)>, BadResult> {
    let file = match openat(directory, name, READ, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(
            e @ (Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV
            | Errno::WOULDBLOCK
            | Errno::ACCESS
            | Errno::PERM),
        ) => return Err(BadResult::Open { source: e.into() }),
        Err(e) => return Err(BadResult::Trouble { source: e.into() }),
    };
    let about = fstat(&file).map_err(|e| BadResult::Trouble { source: e.into() })?;
    let kind = FileType::from_raw_mode(about.st_mode);
    if kind != FileType::RegularFile {
        return Err(BadResult::NotAFile { kind });
    }
    #[expect(clippy::useless_conversion, reason = "its width depends on the architecture")]
    let links = u64::from(about.st_nlink);
    if links != 1 {
        return Err(BadResult::Links { links });
    }
    Ok(Some((file, about)))
}

/// Bytes of a file as its owner says.
pub(crate) fn length_of(about: &Stat) -> u64 {
    u64::try_from(about.st_size).unwrap_or(u64::MAX)
}

fn size_of(about: &Stat) -> usize {
    usize::try_from(length_of(about)).unwrap_or(usize::MAX)
}

fn copy(
    file: &OwnedFd,
    about: &Stat,
    limit: usize,
    admit: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<u8>, BadResult> {
    let too_long = |length| BadResult::Record(RecordError::TooLong { length, limit });
    let size = size_of(about);
    if limit < size {
        return Err(too_long(length_of(about)));
    }
    if !admit(size) {
        return Err(BadResult::PutOff { bytes: size });
    }
    // What is added or cut off after this look makes the copy no record; it is never read twice.
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(BadResult::Trouble { source: e.into() }),
        }
        if limit < bytes.len() {
            return Err(too_long(bytes.len() as u64));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, Instant};

    use ploinky_contract::limits::RESULT_MAX_BYTES;

    use super::*;
    use crate::scratch::{Scratch, id, raw};
    use crate::{Outcome, TaskError};

    fn response() -> Vec<u8> {
        Outcome::encode_response(id(1), &raw("1"))
    }

    #[test]
    fn a_link_is_not_followed() {
        let queue = Scratch::new();
        queue.submit(1);
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), queue.path("responses", id(1).as_str()))
            .unwrap();
        queue.assert_refused(id(1), "symbolic link");
        assert!(outside.path().exists());
    }

    #[test]
    fn a_pipe_without_a_writer_does_not_stall() {
        let queue = Scratch::new();
        queue.submit(1);
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mkfifoat(rustix::fs::CWD, queue.path("errors", id(1).as_str()), mode).unwrap();
        let start = Instant::now();
        queue.assert_refused(id(1), "Fifo");
        // Opened without O_NONBLOCK it would never return; this is a bound, not a measurement.
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_socket_is_refused() {
        let queue = Scratch::new();
        queue.submit(1);
        let _listener = UnixListener::bind(queue.path("responses", id(1).as_str())).unwrap();
        queue.assert_refused(id(1), "does not open as a plain file");
    }

    #[test]
    fn a_directory_is_refused() {
        let queue = Scratch::new();
        queue.submit(1);
        fs::create_dir(queue.path("responses", id(1).as_str())).unwrap();
        queue.assert_refused(id(1), "Directory");
    }

    #[test]
    fn a_full_directory_is_refused_and_the_request_is_gone() {
        let queue = Scratch::new();
        queue.submit(1);
        fs::create_dir_all(queue.path("responses", id(1).as_str()).join("x")).unwrap();
        assert!(queue.producer.collect(id(1)).is_err());
        assert_eq!(queue.names("requests"), Vec::<String>::new());
    }

    #[test]
    fn a_sparse_terabyte_is_refused_without_reading_it() {
        let queue = Scratch::new();
        queue.submit(1);
        let file = File::create(queue.path("responses", id(1).as_str())).unwrap();
        if file.set_len(1 << 40).is_err() {
            file.set_len(RESULT_MAX_BYTES as u64 + 1).unwrap();
        }
        queue.assert_refused(id(1), "8388608 are allowed");
    }

    #[test]
    fn one_byte_too_many_is_refused_and_the_most_is_read() {
        let queue = Scratch::new();
        for (length, is_good) in [(RESULT_MAX_BYTES, true), (RESULT_MAX_BYTES + 1, false)] {
            queue.submit(1);
            let text = |n| Outcome::encode_response(id(1), &raw(&format!("\"{}\"", "x".repeat(n))));
            let bytes = text(length - text(0).len());
            assert_eq!(bytes.len(), length);
            File::create(queue.path("responses", id(1).as_str()))
                .and_then(|mut file| io::Write::write_all(&mut file, &bytes))
                .unwrap();
            assert_eq!(queue.producer.collect(id(1)).is_ok(), is_good, "{length}");
            queue.producer.clean(id(1)).unwrap();
        }
    }

    #[test]
    fn a_result_that_is_put_off_stays() {
        let queue = Scratch::new();
        queue.submit(1);
        put(&queue, "responses", &response());
        let mut told = Vec::new();
        let found = queue.producer.collect_if(id(1), &mut |bytes| {
            told.push(bytes);
            false
        });
        assert!(matches!(found, Err(BadResult::PutOff { .. })), "{found:?}");
        assert_eq!(told, [response().len()]);
        assert_eq!(queue.outcome(id(1)).as_deref(), Some("1"));
    }

    #[test]
    fn a_file_with_a_second_name_is_refused() {
        let queue = Scratch::new();
        queue.submit(1);
        put(&queue, "responses", &response());
        fs::hard_link(queue.path("responses", id(1).as_str()), queue.path("responses", "other"))
            .unwrap();
        let error = queue.producer.collect(id(1)).unwrap_err();
        assert!(matches!(error, BadResult::Links { links: 2 }), "{error:?}");
        assert_eq!(queue.names("responses"), ["other"]);
    }

    #[test]
    fn a_file_without_permission_is_refused() {
        let queue = Scratch::new();
        queue.submit(1);
        put(&queue, "responses", &response());
        if rustix::process::geteuid().is_root() {
            eprintln!("skipped: root may read everything");
            return;
        }
        let path = queue.path("responses", id(1).as_str());
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
        queue.assert_refused(id(1), "does not open as a plain file");
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
        let good = String::from_utf8(response()).unwrap();
        for (bytes, expected) in [
            (Vec::new(), "not one JSON object"),
            (vec![0; 4096], "not one JSON object"),
            (good.replace(":1}", &format!(":{deep}}}")).into_bytes(), "deeper than 64"),
            (good.replace(":1}", ":\"\u{1}\"}").into_bytes(), "control character"),
            (b"{\"v\":1,\"id\":\"\xc3\x28\"}".to_vec(), "not the shape"),
            (good.replace(":1}", ":1,\"response\":2}").into_bytes(), "duplicate field"),
            (good.replace(":1}", ":1,\"error\":true}").into_bytes(), "more than one way"),
            (format!("{good}{good}").into_bytes(), "trailing characters"),
            (good.replace("0101", "0202").into_bytes(), "field `id`"),
        ] {
            let queue = Scratch::new();
            queue.submit(1);
            put(&queue, "responses", &bytes);
            queue.assert_refused(id(1), expected);
        }
    }

    #[test]
    fn a_result_for_a_task_nobody_waits_for_is_never_opened() {
        let queue = Scratch::new();
        queue.submit(1);
        std::os::unix::fs::symlink("/etc/passwd", queue.path("responses", id(2).as_str())).unwrap();
        assert_eq!(queue.outcome(id(1)), None);
        assert_eq!(queue.names("requests"), [id(1).as_str()]);
    }

    #[test]
    fn an_invalid_string_in_an_error_is_refused() {
        let queue = Scratch::new();
        queue.submit(1);
        let mut bytes = TaskError::new("X", "Y").encode(id(1));
        let at = bytes.iter().position(|b| *b == b'Y').unwrap();
        bytes[at] = 0xff;
        put(&queue, "errors", &bytes);
        queue.assert_refused(id(1), "not the shape");
    }

    fn put(queue: &Scratch, directory: &str, bytes: &[u8]) {
        File::create(queue.path(directory, id(1).as_str()))
            .and_then(|mut file| io::Write::write_all(&mut file, bytes))
            .unwrap();
    }
}
