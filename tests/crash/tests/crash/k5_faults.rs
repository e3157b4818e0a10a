//! System calls that fail, one kind after the other, in the workers and in the runner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ploinky_crash::{Chaos, FileSystem, Host, Ledger, Load, Plan, Role, WORKERS, end_trace, pause};

use crate::after;

const CALLS: [&str; 5] = ["fsync", "linkat", "openat", "mkdirat", "write"];
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "EMFILE"];
/// Tasks that are accepted while calls of one kind fail.
const TASKS: usize = 60;
/// After this time nothing fails any more: what did not succeed has to do so then.
const TROUBLE: Duration = Duration::from_secs(4);

fn faults(name: &str, whose: &[Role]) {
    let host = Host::start(FileSystem::Ext4, 256);
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    let mut random = host.random();
    let mut ended = BTreeMap::<String, usize>::new();
    // One task, so that everything is open that is opened once.
    Load::new(&host, Plan { clients: 1, ..Plan::of(1) }, &ledger).run(|_| {});
    for call in CALLS {
        for error in ERRORS {
            // Threads count for themselves.
            let when = format!("{}+{}", random.below(3) + 1, random.below(4) + 2);
            let inject = format!("-e inject={call}:error={error}:when={when}");
            let mut tracers: Vec<_> =
                whose.iter().filter_map(|role| host.attach(*role, &inject)).collect();
            let plan =
                Plan { clients: 4, keyed: 100, kept: 30, ..Plan::of(ledger.count() + TASKS) };
            let start = Instant::now();
            Load::new(&host, plan, &ledger).run(|load| {
                while load.goes_on() {
                    pause(Duration::from_millis(50));
                    for role in whose {
                        // systemd starts anew what ends by itself.
                        if let Some(how) = host.revive(*role) {
                            *ended.entry(format!("{call} {error}: {how}")).or_default() += 1;
                        }
                    }
                    if TROUBLE < start.elapsed() {
                        tracers.drain(..).for_each(end_trace);
                    }
                }
            });
            tracers.drain(..).for_each(end_trace);
            // What was acknowledged has to be on the disk.
            chaos.cut();
        }
    }
    println!("crash: {name}: ended by themselves: {ended:?}");
    after::holds(name, &host, &ledger, &chaos);
}

#[test]
fn k5_calls_of_workers_that_fail_lose_nothing() {
    let workers: Vec<Role> = (0..WORKERS).map(Role::Worker).collect();
    faults("K5 workers", &workers);
}

#[test]
fn k5_calls_of_the_runner_that_fail_lose_nothing() {
    faults("K5 runner", &[Role::Runner]);
}
