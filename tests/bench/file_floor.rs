//! The floor under a task: two threads that pass files back and forth, with nothing around it.
//!
//! `file_floor DIR SECONDS IN_FLIGHT VARIANT` prints round trips per second, the median in microseconds, and the
//! microseconds of CPU time of one round trip.
//!
//! `plain`: a request is written beside the inbox and renamed into it; the other thread is woken by inotify,
//! reads it, removes it and answers in the same way: the calls that no such protocol can do without.
//! `lane`: the calls of Ploinky's lane of calls that are waited for: nameless file and link, a slot that is written
//! before the request is opened, a look for an earlier record, and the request removed by the side that wrote it.
//! `queue`: the calls of Ploinky's durable queue, without its syncs: nameless file and link, a lock directory that is made, opened, locked
//! and removed, a look for an earlier record, and the request removed by the side that wrote it.
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

/// Which calls are made.
#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Plain,
    Lane,
    Queue,
}

/// One direction: an inbox that is watched, and a directory beside it where files are made.
struct Inbox {
    variant: Variant,
    directory: OwnedFd,
    staging: OwnedFd,
    events: OwnedFd,
}

impl Inbox {
    fn make(parent: &Path, name: &str, variant: Variant) -> io::Result<Self> {
        let (inbox, staging) = (parent.join(name), parent.join(format!("{name}.new")));
        for path in [&inbox, &staging] {
            rustix::fs::mkdir(path, Mode::RWXU)?;
        }
        let events = inotify::init(CreateFlags::CLOEXEC)?;
        let what =
            if variant == Variant::Plain { WatchFlags::MOVED_TO } else { WatchFlags::CREATE };
        inotify::add_watch(&events, &inbox, what)?;
        let open = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        };
        Ok(Self { variant, directory: open(&inbox)?, staging: open(&staging)?, events })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.variant != Variant::Plain {
            let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.directory, c".", flags, Mode::RUSR | Mode::WUSR)?;
            io::write(&file, bytes)?;
            return rustix::fs::linkat(&file, c"", &self.directory, name, AtFlags::EMPTY_PATH);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.staging, name, flags, Mode::RUSR | Mode::WUSR)?;
        io::write(&file, bytes)?;
        drop(file);
        rustix::fs::renameat(&self.staging, name, &self.directory, name)
    }

    fn read(&self, name: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        if self.variant != Variant::Plain {
            rustix::fs::fstat(&file)?;
        }
        io::read(&file, buffer)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())
    }
}

/// The lock of a task, in the directory where the requests are made.
struct Lock<'a> {
    locks: &'a OwnedFd,
    name: &'a str,
    _held: OwnedFd,
}

impl<'a> Lock<'a> {
    fn take(locks: &'a OwnedFd, responses: &Inbox, name: &'a str) -> io::Result<Self> {
        rustix::fs::mkdirat(locks, name, Mode::RWXU)?;
        let held =
            rustix::fs::openat(locks, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        for directory in [&responses.directory, &responses.staging] {
            is_absent(directory, name)?;
        }
        Ok(Self { locks, name, _held: held })
    }

    fn release(self) -> io::Result<()> {
        rustix::fs::unlinkat(self.locks, self.name, AtFlags::REMOVEDIR)
    }
}

/// Refuses a name that is there.
fn is_absent(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(io::Errno::NOENT) => Ok(()),
        Ok(_) => Err(io::Errno::EXIST),
        Err(e) => Err(e),
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
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let slots = rustix::fs::openat(&requests.staging, "slots", flags, Mode::RUSR | Mode::WUSR)?;
    names(&requests.events, |name| {
        if name == "stop" {
            return Ok(false);
        }
        match requests.variant {
            Variant::Queue => {
                let lock = Lock::take(&requests.staging, responses, name)?;
                let length = requests.read(name, &mut buffer)?;
                responses.put(name, &buffer[..length])?;
                lock.release()?;
            }
            Variant::Lane => {
                io::pwrite(&slots, name.as_bytes(), 0)?;
                let length = requests.read(name, &mut buffer)?;
                is_absent(&responses.directory, name)?;
                responses.put(name, &buffer[..length])?;
            }
            Variant::Plain => {
                let length = requests.read(name, &mut buffer)?;
                requests.remove(name)?;
                responses.put(name, &buffer[..length])?;
            }
        }
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
        responses.read(name, &mut buffer)?;
        if requests.variant != Variant::Plain {
            requests.remove(name)?;
        }
        responses.remove(name)?;
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

/// User and system time of all threads of this process.
fn cpu_time() -> io::Result<Duration> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).map_err(|_range| io::Errno::RANGE)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, seconds, in_flight, variant] = words.as_slice() else {
        return Err("usage: file_floor DIR SECONDS IN_FLIGHT plain|lane|queue".into());
    };
    let variant = match variant.as_str() {
        "plain" => Variant::Plain,
        "lane" => Variant::Lane,
        "queue" => Variant::Queue,
        other => return Err(format!("there is no variant `{other}`").into()),
    };
    let parent = Path::new(directory).join(format!("file-floor-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let (requests, responses) =
        (Inbox::make(&parent, "requests", variant)?, Inbox::make(&parent, "responses", variant)?);
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
    let cpu = cpu_time()?.as_micros() as f64 / took.len() as f64;
    println!("{rate:.0} {} {cpu:.1}", median.as_micros());
    std::fs::remove_dir_all(&parent)?;
    Ok(())
}
