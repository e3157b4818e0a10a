//! Calls at a rate that does not wait for answers, or from some clients that do: one thread, kept connections.
//!
//! [`Load`](crate::load::Load) has a thread for each client, which costs as much as the server does when there
//! are hundreds.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::answers::{Answer, Answers, End};

/// How long answers may take when nothing is sent any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// When calls are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each of these clients sends its next call when it has the answer to the last one.
    Clients(usize),
    /// So many calls in a second, whatever comes back, over so many connections at most.
    Rate(f64, usize),
}

/// Calls under way.
#[derive(Debug)]
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Answers>,
}

impl Flow {
    /// Starts to send `request`.
    pub(crate) fn start(pace: Pace, request: Vec<u8>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Sender::new(pace, request).run(&seen));
        Self { stop, thread }
    }

    /// Sends no more, waits for all answers, and hands them out in the order of their end.
    pub(crate) fn finish(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }

    /// Sends for some time.
    pub(crate) fn run(pace: Pace, request: Vec<u8>, time: Duration) -> Answers {
        let flow = Self::start(pace, request);
        std::thread::park_timeout(time);
        flow.finish()
    }
}

struct Sender {
    pace: Pace,
    request: Vec<u8>,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Those that are not open.
    closed: Vec<usize>,
    /// Those that wait for nothing; the one that has waited longest is next, so that all instances get calls.
    idle: VecDeque<usize>,
    busy: usize,
    answers: Vec<Answer>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    due: Option<Instant>,
}

impl Sender {
    fn new(pace: Pace, request: Vec<u8>) -> Self {
        let (Pace::Clients(most) | Pace::Rate(_, most)) = pace;
        Self {
            pace,
            request,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
            connections: (0..most).map(|_| None).collect(),
            closed: (0..most).rev().collect(),
            idle: VecDeque::new(),
            busy: 0,
            answers: Vec::new(),
        }
    }

    fn run(mut self, stop: &AtomicBool) -> Answers {
        let start = Instant::now();
        let mut sent = 0_u32;
        let mut stopped: Option<Instant> = None;
        let mut events = Vec::with_capacity(256);
        loop {
            if stopped.is_none() && stop.load(Ordering::Relaxed) {
                stopped = Some(Instant::now());
            }
            let mut wait = Duration::from_millis(5);
            match (stopped, self.pace) {
                (Some(_), _) if self.busy == 0 => break,
                (Some(since), _) => {
                    assert!(since.elapsed() < PATIENCE, "{} calls got no answer", self.busy);
                }
                (None, Pace::Clients(most)) => {
                    while self.busy < most {
                        if !self.send(Instant::now()) {
                            break;
                        }
                    }
                }
                (None, Pace::Rate(rate, _)) => loop {
                    let due = start + Duration::from_secs_f64(f64::from(sent) / rate);
                    wait = due.saturating_duration_since(Instant::now());
                    if !wait.is_zero() {
                        break;
                    }
                    self.send(due);
                    sent += 1;
                },
            }
            let wait = wait.clamp(Duration::from_micros(200), Duration::from_millis(5));
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)).unwrap();
            for event in events.drain(..) {
                let at: epoll::EventData = event.data;
                self.receive(usize::try_from(at.u64()).unwrap());
            }
        }
        Answers(self.answers)
    }

    /// Whether a call is on its way now.
    fn send(&mut self, due: Instant) -> bool {
        let Some(at) = self.idle.pop_front().or_else(|| self.closed.pop()) else {
            self.end(due, End::Unsent);
            return false;
        };
        if self.connections[at].is_none() && !self.open(at) {
            self.closed.push(at);
            self.end(due, End::Refused);
            return false;
        }
        let connection = self.connections[at].as_mut().unwrap();
        connection.due = Some(due);
        self.busy += 1;
        // Requests are far shorter than the kernel's buffer.
        if connection.stream.write_all(&self.request).is_err() {
            self.close(at, End::Broken);
            return false;
        }
        true
    }

    fn open(&mut self, at: usize) -> bool {
        let Ok(stream) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 8000))) else {
            return false;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).unwrap();
        self.connections[at] = Some(Connection { stream, received: Vec::new(), due: None });
        true
    }

    fn receive(&mut self, at: usize) {
        let Some(connection) = self.connections[at].as_mut() else { return };
        let mut buffer = [0; 4096];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return self.close(at, End::Broken),
                Ok(bytes) => {
                    connection.received.extend_from_slice(&buffer[..bytes]);
                    if bytes < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.close(at, End::Broken),
            }
        }
        let Some(head) = Head::parse(&connection.received) else { return };
        let end = End::Status(head.status, head.has_retry_after);
        if head.closes {
            return self.close(at, end);
        }
        connection.received.clear();
        let due = connection.due.take().expect("an answer without a call");
        self.idle.push_back(at);
        self.busy -= 1;
        self.end(due, end);
    }

    fn close(&mut self, at: usize, end: End) {
        let connection = self.connections[at].take().unwrap();
        self.closed.push(at);
        if let Some(due) = connection.due {
            self.busy -= 1;
            self.end(due, end);
        } else {
            // The server may close a connection that is idle.
            self.idle.retain(|idle| *idle != at);
        }
    }

    fn end(&mut self, due: Instant, end: End) {
        let at = Instant::now();
        self.answers.push(Answer { at, took: at.saturating_duration_since(due), end });
    }
}

/// What matters of an answer that has come as a whole.
struct Head {
    status: u16,
    has_retry_after: bool,
    closes: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let mut head = Self { status, has_retry_after: false, closes: false };
        let mut length = 0;
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            match name {
                "content-length" => length = value.parse().unwrap(),
                "retry-after" => head.has_retry_after = true,
                "connection" => head.closes = value == "close",
                _ => {}
            }
        }
        (end + 4 + length <= bytes.len()).then_some(head)
    }
}
