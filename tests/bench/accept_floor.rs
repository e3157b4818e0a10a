//! The floor under an accepted task: files that are written, synced and linked, and one sync of the directory
//! for all that came together; nothing around it.
//!
//! `accept_floor DIR SECONDS CLIENTS THREADS` prints acceptances per second and the median in microseconds.
//! CLIENTS wait each for the acceptance of one file before they hand in the next one; a group is what has come
//! while the last group was made durable. THREADS sync the files of a group, which is what the disk may merge.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measuring program, not a part of the product"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, linkat, openat};

/// Bytes of a request.
const SIZE: usize = 400;

/// One client's wish: whom to tell.
type Wish = Sender<io::Result<()>>;

fn write(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(directory, c".", flags, Mode::from_raw_mode(0o640))?;
    rustix::io::write(&file, &[b'x'; SIZE])?;
    fsync(&file)?;
    Ok(file)
}

fn commit(directory: &OwnedFd, wishes: usize, threads: usize, next: &AtomicU64) -> io::Result<()> {
    let share = wishes.div_ceil(threads);
    let files: Vec<io::Result<OwnedFd>> = thread::scope(|scope| {
        let of = |count: usize| move || (0..count).map(|_| write(directory)).collect::<Vec<_>>();
        let mut left = wishes;
        let mut running = Vec::new();
        while share < left {
            left -= share;
            running.push(scope.spawn(of(share)));
        }
        let mut files = of(left)();
        for thread in running {
            files.extend(thread.join().unwrap_or_default());
        }
        files
    });
    for file in files {
        let name = format!("{:032x}", next.fetch_add(1, Ordering::Relaxed));
        linkat(&file?, c"", directory, name, AtFlags::EMPTY_PATH)?;
    }
    Ok(fsync(directory)?)
}

fn serve(directory: &OwnedFd, wishes: &Receiver<Wish>, threads: usize) {
    let next = AtomicU64::new(0);
    while let Ok(first) = wishes.recv() {
        let group: Vec<Wish> = std::iter::once(first).chain(wishes.try_iter()).collect();
        let done = commit(directory, group.len(), threads, &next);
        for wish in group {
            let told = match &done {
                Ok(()) => Ok(()),
                Err(e) => Err(io::Error::from(e.kind())),
            };
            // A client that is gone does not mind.
            wish.send(told).ok();
        }
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, directory, seconds, clients, threads] = words.as_slice() else {
        return Err(io::Error::other("usage: accept_floor DIR SECONDS CLIENTS THREADS"));
    };
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, Path::new(directory), flags, Mode::empty())?;
    let threads = usize::try_from(number(threads)?.max(1)).unwrap_or(1);
    let (stop, (wish, wishes)) = (AtomicBool::new(false), channel::<Wish>());
    let start = Instant::now();
    let (clients, seconds) = (number(clients)?, number(seconds)?);
    let directory = &directory;
    let mut took: Vec<u64> = thread::scope(|scope| -> io::Result<Vec<u64>> {
        scope.spawn(move || serve(directory, &wishes, threads));
        let running: Vec<_> = (0..clients)
            .map(|_| {
                let (wish, stop) = (wish.clone(), &stop);
                scope.spawn(move || -> io::Result<Vec<u64>> {
                    let mut took = Vec::new();
                    let (told, outcome) = channel();
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        wish.send(told.clone()).map_err(io::Error::other)?;
                        outcome.recv().map_err(io::Error::other)??;
                        took.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    }
                    Ok(took)
                })
            })
            .collect();
        drop(wish);
        thread::park_timeout(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in running {
            all.extend(client.join().map_err(|_panic| io::Error::other("a client panicked"))??);
        }
        Ok(all)
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or(0);
    println!("{:.0} {:.0}", took.len() as f64 / elapsed, median as f64 / 1000.0);
    Ok(())
}
