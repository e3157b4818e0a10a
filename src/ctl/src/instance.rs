//! An instance of this host, asked over its Unix socket by HTTP. The caller is `Admin`.
//!
//! Each request has a connection of its own to the first instance that takes one. A wait has a limit, and so
//! has what is held of an answer; only streams and files may be longer, which are handed on as they come.

mod command;
mod events;
mod refusal;
mod sessions;
mod tasks;
mod transport;
mod upload;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{PREFER_WAIT_MAX, RESULT_MAX_BYTES, WORKERS_MAX};
use ploinky_contract::paths::RuntimeDir;
use ureq::RequestBuilder;
use ureq::http::{Response, header::HeaderMap};
use ureq::typestate::{WithBody, WithoutBody};

pub(crate) use self::events::{Event, Events};
pub(crate) use self::refusal::{AskError, Refusal};
pub(crate) use self::tasks::{Deleted, Filter, Submission};
use self::transport::{Connected, NoNames, connect};
pub(crate) use self::upload::Upload;

/// Longest silence while something is read or written: longer than an instance may wait for a task.
const SILENCE: Duration = PREFER_WAIT_MAX.saturating_add(Duration::from_secs(30));
/// Bytes of an answer: a result and what is around it.
const ANSWER_MAX_BYTES: u64 = RESULT_MAX_BYTES as u64 + 64 * 1024;

/// The way to the instances of this host.
#[derive(Debug)]
pub(crate) struct Instances {
    sockets: Vec<PathBuf>,
    pattern: String,
}

/// What came back with a status of success.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    headers: HeaderMap,
    body: ureq::Body,
}

impl Instances {
    /// All that may have a socket in `runtime`; or the one at `socket`.
    pub(crate) fn new(runtime: &RuntimeDir, socket: Option<&Path>) -> Self {
        match socket {
            Some(socket) => {
                Self { sockets: vec![socket.to_owned()], pattern: socket.display().to_string() }
            }
            None => Self {
                sockets: (1..=WORKERS_MAX).map(|number| runtime.admin_socket(number)).collect(),
                pattern: runtime.root().join("admin-*.sock").display().to_string(),
            },
        }
    }

    /// Sends a request without a body that `build` completes.
    ///
    /// # Errors
    /// When no instance takes it, or the answer is none of success.
    pub(crate) fn ask(
        &self,
        build: impl FnOnce(&ureq::Agent) -> RequestBuilder<WithoutBody>,
    ) -> Result<Answer, AskError> {
        let agent = self.agent()?;
        Answer::of(build(&agent).call())
    }

    /// Sends a request with a body that `build` completes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) fn send(
        &self,
        body: impl ureq::AsSendBody,
        build: impl FnOnce(&ureq::Agent) -> RequestBuilder<WithBody>,
    ) -> Result<Answer, AskError> {
        let agent = self.agent()?;
        Answer::of(build(&agent).send(body))
    }

    /// A client for one request over a connection that is there.
    fn agent(&self) -> Result<ureq::Agent, AskError> {
        let config = ureq::Agent::config_builder()
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("ploinkyctl/", env!("CARGO_PKG_VERSION")))
            .build();
        let stream = self.connect()?;
        Ok(ureq::Agent::with_parts(config, Connected::new(stream), NoNames))
    }

    /// The first socket that takes a connection; else why the first that is there does not.
    fn connect(&self) -> Result<std::os::unix::net::UnixStream, AskError> {
        let mut failed = None;
        for path in &self.sockets {
            match connect(path) {
                Ok(stream) => return Ok(stream),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(AskError::NotAllowed { path: path.clone() });
                }
                Err(source) => {
                    failed = failed.or(Some(AskError::Connect { path: path.clone(), source }));
                }
            }
        }
        Err(failed.unwrap_or_else(|| AskError::NoSocket { pattern: self.pattern.clone() }))
    }
}

impl Answer {
    fn of(answered: Result<Response<ureq::Body>, ureq::Error>) -> Result<Self, AskError> {
        let (head, body) = answered.map_err(explained)?.into_parts();
        let answer = Self { status: head.status.as_u16(), headers: head.headers, body };
        if head.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let retry_after = answer.header("retry-after").and_then(|text| text.parse().ok());
        let body = answer.bytes(ANSWER_MAX_BYTES)?;
        Err(AskError::Refused(Refusal::new(status, retry_after, &body)))
    }

    /// `Task-Id`.
    pub(crate) fn task(&self) -> Option<TaskId> {
        self.header("task-id").and_then(|text| text.parse().ok())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole body, which is at most a result and what is around it.
    pub(crate) fn document(self) -> Result<Vec<u8>, AskError> {
        self.bytes(ANSWER_MAX_BYTES)
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) fn bytes(mut self, limit: u64) -> Result<Vec<u8>, AskError> {
        self.body.with_config().limit(limit).read_to_vec().map_err(explained)
    }

    /// The body as it comes, without an end that is known.
    pub(crate) fn reader(self) -> impl Read {
        self.body.into_with_config().limit(u64::MAX).reader()
    }
}

/// A document of an answer.
pub(crate) fn parsed<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(|e| AskError::Unreadable { reason: e.to_string() })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of the client may grow")]
pub(crate) fn explained(error: ureq::Error) -> AskError {
    match error {
        ureq::Error::Timeout(_) => AskError::Timeout,
        ureq::Error::Io(ref e) if e.kind() == io::ErrorKind::TimedOut => AskError::Timeout,
        source @ (ureq::Error::Io(_) | ureq::Error::BodyStalled) => AskError::Lost { source },
        other => AskError::Unreadable { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    use super::*;

    /// What a client is answered that sends a file of `size` bytes to an instance that says 100 and then, with
    /// the file unread, `413`.
    fn refused_late(size: u64) -> AskError {
        let directory = tempfile::tempdir().unwrap();
        let (socket, path) = (directory.path().join("s"), directory.path().join("file"));
        File::create(&path).unwrap().set_len(size).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _from) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let body = r#"{"message":"too long","code":"BODY_TOO_LARGE"}"#;
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        });
        let instances = Instances::new(&RuntimeDir::new("/nonexistent"), Some(&socket));
        let (place, command) = ("localhost/a".parse().unwrap(), "say".parse().unwrap());
        let submission = Submission {
            place: &place,
            command: &command,
            key: None,
            urgency: None,
            deadline: None,
            callback: None,
        };
        let upload = Upload::open(&[], &[("f", path)]).unwrap();
        let refused = instances.upload(&submission, upload).unwrap_err();
        served.join().unwrap();
        refused
    }

    #[test]
    fn a_refusal_in_the_middle_of_an_upload_is_heard() {
        for size in [1, 16 << 20] {
            let refused = refused_late(size);
            assert_eq!(refused.to_string(), "BODY_TOO_LARGE: too long", "{refused:?}");
        }
    }

    #[test]
    fn an_event_is_there_before_the_next_one_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let (seen, is_seen) = mpsc::channel();
        let served = std::thread::spawn(move || {
            let (mut stream, _from) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            for _ in 0..3 {
                write!(stream, "9\r\ndata: 1\n\n\r\n").unwrap();
                is_seen.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            write!(stream, "0\r\n\r\n").unwrap();
        });
        let instances = Instances::new(&RuntimeDir::new("/nonexistent"), Some(&socket));
        let place = "localhost/a".parse().unwrap();
        let stream = instances.subscribe(&place, &"say".parse().unwrap(), &[]).unwrap();
        let mut events = Events::new(stream);
        for _ in 0..3 {
            let event = Event { kind: String::new(), data: "1".to_owned() };
            assert_eq!(events.next().unwrap(), Some(event));
            seen.send(()).unwrap();
        }
        assert_eq!(events.next().unwrap(), None);
        served.join().unwrap();
    }

    #[test]
    fn an_answer_without_bounds_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _from) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let block = vec![b' '; 64 * 1024];
            let mut sent = 0_u64;
            while stream.write_all(&block).is_ok() {
                sent += block.len() as u64;
            }
            sent
        });
        let instances = Instances::new(&RuntimeDir::new("/nonexistent"), Some(&socket));
        let id = TaskId::from_random([0; 16]);
        let found = instances.task(id, None).unwrap_err();
        assert!(matches!(found, AskError::Unreadable { .. }), "{found:?}");
        assert!(served.join().unwrap() < 2 * ANSWER_MAX_BYTES);
    }

    #[test]
    fn who_may_not_use_the_socket_is_told_to_be_root() {
        let failure = AskError::NotAllowed { path: "/run/ploinky/admin-1.sock".into() }.failure("");
        assert_eq!(failure.exit(), ploinky_contract::exit::NOT_ALLOWED);
        assert_eq!(failure.first_cause(), "only root may use /run/ploinky/admin-1.sock");
    }
}
