//! Load that counts every failure: threads that call without pause until they are told to stop.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::{Connection, call_bytes};

/// One call: when it ended, how long it took, and what went wrong.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) failure: Option<Failure>,
}

/// What can go wrong, told apart.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection could not be made.
    Refused(io::Error),
    /// The connection ended without an answer.
    Broken(io::Error),
    /// The answer was not 200.
    Status(u16, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(e) => write!(f, "refused: {e}"),
            Self::Broken(e) => write!(f, "broken: {e}"),
            Self::Status(status, body) => write!(f, "{status}: {body}"),
        }
    }
}

/// Threads under way.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// `clients` threads call `command` of the agent at `path`; `keep_alive` clients use a connection as long
    /// as the server does not close it.
    pub(crate) fn start(clients: usize, keep_alive: bool, path: &str, command: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bytes: Arc<[u8]> = call_bytes(path, command, &serde_json::json!(["x"])).into();
        let threads = (0..clients)
            .map(|_| {
                let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
                std::thread::spawn(move || client(&stop, keep_alive, &bytes))
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends the load and hands out all samples, in the order of their end.
    pub(crate) fn finish(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples: Vec<_> =
            self.threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        samples.sort_by_key(|sample| sample.at);
        samples
    }
}

fn client(stop: &AtomicBool, keep_alive: bool, bytes: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut connection: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let failure = match connection.take().map_or_else(|| Connection::open(8000), Ok) {
            Err(e) => Some(Failure::Refused(e)),
            Ok(mut opened) => match opened.exchange(bytes) {
                Err(e) => Some(Failure::Broken(e)),
                Ok(reply) => {
                    if keep_alive && opened.is_open() {
                        connection = Some(opened);
                    }
                    (reply.status != 200).then(|| Failure::Status(reply.status, reply.text()))
                }
            },
        };
        samples.push(Sample { at: Instant::now(), took: start.elapsed(), failure });
    }
    samples
}

/// The samples that failed.
pub(crate) fn failures(samples: &[Sample]) -> Vec<&Sample> {
    samples.iter().filter(|sample| sample.failure.is_some()).collect()
}

/// How many failed, and the first of them in words.
pub(crate) fn describe(samples: &[Sample]) -> String {
    let words: Vec<_> =
        samples.iter().filter_map(|s| s.failure.as_ref()).map(Failure::to_string).collect();
    format!(
        "{} of {} failed: {:?}",
        words.len(),
        samples.len(),
        words.iter().take(5).collect::<Vec<_>>()
    )
}
