//! The floor under a task: two threads that pass files back and forth, with nothing around it.
//!
//! `file_floor DIR SECONDS IN_FLIGHT` prints round trips per second and the median in microseconds. A request is
//! written beside the inbox and renamed into it; the other thread is woken by inotify, reads it, removes it and
//! answers in the same way; so each side makes the calls that no such protocol can do without.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measuring program, not a part of the product"
)]

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io;

/// Bytes of a request and of an answer.
const SIZE: usize = 200;

/// One direction: an inbox that is watched, and a directory beside it where files are made.
struct Inbox {
    directory: OwnedFd,
    staging: OwnedFd,
    events: OwnedFd,
}

impl Inbox {
    fn make(parent: &Path, name: &str) -> io::Result<Self> {
        let (inbox, staging) = (parent.join(name), parent.join(format!("{name}.new")));
        for path in [&inbox, &staging] {
            rustix::fs::mkdir(path, Mode::RWXU)?;
        }
        let events = inotify::init(CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, &inbox, WatchFlags::MOVED_TO)?;
        let open = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        };
        Ok(Self { directory: open(&inbox)?, staging: open(&staging)?, events })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.staging, name, flags, Mode::RUSR | Mode::WUSR)?;
        io::write(&file, bytes)?;
        drop(file);
        rustix::fs::renameat(&self.staging, name, &self.directory, name)
    }

    fn take(&self, name: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let file = rustix::fs::openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let length = io::read(&file, buffer)?;
        drop(file);
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
        Ok(length)
    }
}

/// Calls `on` for each name that arrives, until `on` says that it was enough.
fn names(events: &OwnedFd, mut on: impl FnMut(&str) -> io::Result<bool>) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::<u8>::uninit(); 65_536];
    let mut reader = inotify::Reader::new(events.as_fd(), &mut buffer);
    loop {
        let event = reader.next()?;
        if let Some(name) = event.file_name().and_then(|name| name.to_str().ok())
            && !on(name)?
        {
            return Ok(());
        }
    }
}

fn serve(requests: &Inbox, responses: &Inbox) -> io::Result<()> {
    let mut buffer = [0; 4096];
    names(&requests.events, |name| {
        let length = requests.take(name, &mut buffer)?;
        if name == "stop" {
            return Ok(false);
        }
        responses.put(name, &buffer[..length])?;
        Ok(true)
    })
}

fn drive(
    requests: &Inbox,
    responses: &Inbox,
    duration: Duration,
    in_flight: usize,
) -> io::Result<Vec<Duration>> {
    let body = [b'x'; SIZE];
    let start = Instant::now();
    let mut sent = HashMap::new();
    let mut took = Vec::new();
    let mut next = 0_u64;
    let mut put = |sent: &mut HashMap<String, Instant>| {
        let name = format!("{next:032x}");
        next += 1;
        sent.insert(name.clone(), Instant::now());
        requests.put(&name, &body)
    };
    for _ in 0..in_flight {
        put(&mut sent)?;
    }
    let mut buffer = [0; 4096];
    names(&responses.events, |name| {
        responses.take(name, &mut buffer)?;
        if let Some(at) = sent.remove(name) {
            took.push(at.elapsed());
        }
        if start.elapsed() < duration {
            put(&mut sent)?;
        }
        Ok(!sent.is_empty())
    })?;
    requests.put("stop", b"")?;
    Ok(took)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, seconds, in_flight] = words.as_slice() else {
        return Err("usage: file_floor DIR SECONDS IN_FLIGHT".into());
    };
    let parent = Path::new(directory).join(format!("file-floor-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let (requests, responses) =
        (Inbox::make(&parent, "requests")?, Inbox::make(&parent, "responses")?);
    let duration = Duration::from_secs(seconds.parse()?);
    let start = Instant::now();
    let mut took = std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&requests, &responses));
        let took = drive(&requests, &responses, duration, in_flight.parse().unwrap_or(1));
        match server.join() {
            Ok(end) => end.and(took),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let rate = took.len() as f64 / start.elapsed().as_secs_f64();
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    println!("{rate:.0} {}", median.as_micros());
    std::fs::remove_dir_all(&parent)?;
    Ok(())
}
