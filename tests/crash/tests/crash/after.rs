//! What has to hold when nothing dies any more.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ploinky_crash::{Chaos, Client, Figures, Host, Ledger, Load, Plan, Role, WORKERS, within};

/// Directories of the queue.
const QUEUE: [&str; 7] = ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"];

/// Looks once more at all that was kept, removes everything, and wants nothing lost, run too often or told in
/// two ways, no panic, and an empty queue.
pub(crate) fn holds(name: &str, host: &Host, ledger: &Ledger, chaos: &Chaos<'_>) -> Figures {
    let plan = Plan::of(0);
    let load = Load::new(host, plan, ledger);
    let mut client = Client::new(host.ports(), Duration::from_secs(20));
    let mut random = host.random();
    for id in ledger.kept() {
        load.see_end(&mut client, &mut random, &id);
        for _ in 0..2 {
            load.look(&mut client, &mut random, &id);
        }
    }
    let figures = ledger.figures(&host.effects(), chaos.cuts);
    println!(
        "crash: {name}: {figures}; SIGKILL of workers {}, of the runner {}; power cuts {}; refused {:?}",
        chaos.worker_kills,
        chaos.runner_kills,
        chaos.cuts,
        ledger.refusals()
    );
    for what in ledger.violations() {
        println!("crash: {name}: {what}");
    }
    let logs = host.logs();
    let panics: Vec<&str> = logs.lines().filter(is_panic_of_ours).collect();
    assert_eq!(panics, Vec::<&str>::new());
    assert_eq!((figures.lost, figures.twice, figures.contradictory), (0, 0, 0), "{name}");
    assert_eq!(ledger.violations(), Vec::<String>::new());
    for id in ledger.kept() {
        load.remove(&mut client, &mut random, &id);
    }
    remove_unknown(host, &mut client);
    is_emptied(name, host);
    figures
}

/// Where `write` fails by order, that to an eventfd does, too, which no kernel lets happen; the event loop and the
/// watch of the configuration give up then, the second one while it is dropped.
fn is_panic_of_ours(line: &&str) -> bool {
    let elsewhere = ["/runtime/io/driver.rs", "/inotify.rs:", "library/core/src/panicking.rs"];
    line.contains("panicked at") && !elsewhere.iter().any(|place| line.contains(place))
}

/// Removes tasks that a worker accepted while it died, so that nobody knows their ids.
fn remove_unknown(host: &Host, client: &mut Client) {
    for id in names(&host.tasks().join("requests")) {
        within(Duration::from_secs(60), "a task that nobody knows is removed", || {
            (0..WORKERS).any(|worker| {
                let path = format!("/tasks/{id}");
                client
                    .ask(worker, "DELETE", &path, "", "")
                    .is_ok_and(|r| matches!(r.status, 204 | 404))
            })
        });
    }
}

/// What dead processes left is removed when it is old; that it is old is said here, not waited for.
fn is_emptied(name: &str, host: &Host) {
    let long_ago = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let mut left = Vec::new();
    let limit = Duration::from_secs(20);
    let mut look = || {
        left.clear();
        for directory in QUEUE {
            let is_requests = directory == "requests";
            let directory = host.tasks().join(directory);
            for entry in names(&directory) {
                let path = directory.join(entry);
                if !is_requests {
                    File::open(&path).and_then(|file| file.set_times(long_ago)).ok();
                }
                left.push(path);
            }
        }
        left.is_empty()
    };
    let start = std::time::Instant::now();
    while !look() && start.elapsed() < limit {
        ploinky_crash::pause(Duration::from_millis(100));
    }
    assert!(left.is_empty(), "{name}: still there after {limit:?}: {left:?}");
    println!("crash: {name}: the queue was empty after {} ms", start.elapsed().as_millis());
}

fn names(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".runner")
        .collect()
}

/// Neither the descriptors nor the memory of the processes grow with the tasks.
pub(crate) fn nothing_grows(host: &Host) {
    let run = |tasks| {
        let ledger = Ledger::default();
        let plan = Plan { kept: 0, ..Plan::of(tasks) };
        Load::new(host, plan, &ledger).run(|_| {});
        let sum = |measure: fn(&Host, Role) -> usize| {
            Role::each().map(|role| measure(host, role)).sum::<usize>()
        };
        (sum(Host::descriptors), sum(Host::memory))
    };
    // The first thousand fill what is kept for the next ones.
    let ((descriptors, memory), (more_descriptors, more_memory)) = (run(1_000), run(2_000));
    println!(
        "crash: of all processes after 1,000 tasks: {descriptors} descriptors, {memory} KiB; \
         after 2,000 more: {more_descriptors}, {more_memory} KiB"
    );
    assert!(more_descriptors <= descriptors + descriptors / 10);
    assert!(more_memory <= memory + memory / 10);
}
