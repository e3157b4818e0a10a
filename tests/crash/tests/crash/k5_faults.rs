//! System calls that fail, one kind after the other, in the workers and in the runner.

use std::collections::BTreeMap;
use std::time::Duration;

use ploinky_crash::{Chaos, FileSystem, Host, Ledger, Load, Plan, Role, pause};

use crate::after;

const CALLS: [&str; 5] = ["fsync", "linkat", "openat", "mkdirat", "write"];
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "EMFILE"];
const TASKS: usize = 60;

/// Every call of `kind` fails that `when` names; from the 300th on, because a process that cannot start at all
/// has nothing to lose.
fn strace(call: &str, error: &str, when: &str) -> String {
    format!("strace -D -f -q -o /dev/null --seccomp-bpf -e inject={call}:error={error}:when={when}")
}

fn faults(name: &str, whose: fn(String) -> [String; 2]) {
    let host = Host::start(FileSystem::Ext4, 256);
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    let mut random = host.random();
    let mut combinations = 0;
    let mut ended = BTreeMap::<String, usize>::new();
    for call in CALLS {
        for error in ERRORS {
            let when = format!("{}+{}", random.below(40) + 20, random.below(12) + 2);
            let [workers, runner] = whose(strace(call, error, &when));
            host.trace(&workers, &runner);
            host.kill_all();
            let before = ledger.count();
            let plan = Plan { clients: 4, keyed: 100, kept: 30, ..Plan::of(before + TASKS) };
            let start = std::time::Instant::now();
            let mut is_over = false;
            Load::new(&host, plan, &ledger).run(|load| {
                while load.goes_on() {
                    pause(Duration::from_millis(50));
                    for role in Role::each() {
                        // systemd starts anew what ends by itself.
                        if let Some(how) = host.revive(role) {
                            *ended.entry(format!("{call} {error}: {how}")).or_default() += 1;
                        }
                    }
                    if !is_over && Duration::from_secs(6) < start.elapsed() {
                        is_over = true;
                        // What does not succeed while the calls fail has to do so afterwards.
                        host.trace("", "");
                        host.kill_all();
                    }
                }
            });
            // What was acknowledged has to be on the disk.
            host.trace("", "");
            chaos.cut();
            combinations += 1;
        }
    }
    println!("crash: {name}: {combinations} kinds of failure; ended by themselves: {ended:?}");
    after::holds(name, &host, &ledger, &chaos);
}

#[test]
fn k5_calls_of_workers_that_fail_lose_nothing() {
    faults("K5 workers", |trace| [trace, String::new()]);
}

#[test]
fn k5_calls_of_the_runner_that_fail_lose_nothing() {
    faults("K5 runner", |trace| [String::new(), trace]);
}
