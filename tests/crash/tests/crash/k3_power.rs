//! Power cuts: nothing that was acknowledged is lost, nothing runs again, nothing that was told changes.

use std::time::Duration;

use ploinky_crash::{Chaos, FileSystem, Host, Ledger, Load, Plan, times};

use crate::after;

const TASKS: usize = 8_000;
const CUTS: usize = 30;
/// Words before a process that make fsync do nothing and say that it did.
const NO_FSYNC: &str =
    "strace -D -f -q --seccomp-bpf -o /dev/null -e inject=fsync,fdatasync:retval=0";

fn cuts_and_kills(name: &str, kind: FileSystem, megabytes: u64) {
    let host = Host::start(kind, megabytes);
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    Load::new(&host, Plan::of(TASKS * times()), &ledger).run(|load| {
        while load.goes_on() {
            chaos.kill();
            chaos.cut_after(Duration::from_secs(2));
        }
    });
    while chaos.cuts < CUTS * times() {
        chaos.cut();
    }
    after::holds(name, &host, &ledger, &chaos);
}

#[test]
fn k3_tasks_survive_power_cuts_on_ext4() {
    cuts_and_kills("K3 ext4", FileSystem::Ext4, 256);
}

#[test]
fn k3_tasks_survive_power_cuts_on_xfs() {
    cuts_and_kills("K3 XFS", FileSystem::Xfs, 512);
}

/// Shows that the tests above would see a loss: here nothing is ever synced.
#[test]
fn k3_without_fsync_tasks_are_lost() {
    let host = Host::start(FileSystem::Ext4, 256);
    host.trace(NO_FSYNC, NO_FSYNC);
    host.kill_all();
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    let plan = Plan { kept: 100, ..Plan::of(1_500) };
    Load::new(&host, plan, &ledger).run(|load| {
        while load.goes_on() {
            ploinky_crash::pause(Duration::from_secs(1));
            if 300 < ledger.count() && chaos.cuts < 3 {
                chaos.cut();
            }
            if 3 <= chaos.cuts {
                load.stop();
            }
        }
    });
    let figures = ledger.figures(&host.effects(), chaos.cuts);
    println!("crash: K3 control without fsync: {figures}; power cuts {}", chaos.cuts);
    assert!(0 < figures.lost, "the cut loses nothing, so it proves nothing: {figures}");
}
