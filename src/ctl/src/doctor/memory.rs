//! The memory in which calls wait.

use ploinky_contract::limits::{LANE_ENOUGH_BYTES, LANE_ENOUGH_INODES, LANE_FLOOR_PERCENT};
use ploinky_contract::{Floor, Space};

use super::{Said, ok, text, warn};
use crate::machine::Machine;
use crate::words::size;

const MOUNTS: &str = "/proc/self/mounts";

/// Without it, or when it is full, everything works and calls take longer.
pub(super) fn lanes(machine: &dyn Machine) -> Said {
    let path = machine.paths().runtime.sync();
    let shown = path.display();
    let Ok(mounts) = text(machine, MOUNTS) else {
        return warn("it is not known what is mounted", "mount /proc");
    };
    // What is mounted last lies on top.
    let mounted = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        (fields.next() == path.to_str()).then(|| fields.next().unwrap_or_default())
    });
    match mounted {
        Some("tmpfs") => {}
        Some(other) => {
            return warn(
                format!("{shown} is {other} instead of memory"),
                "`systemctl cat run-ploinky-sync.mount` shows a drop-in that says so",
            );
        }
        None => {
            return warn(
                format!("{shown} is not mounted, so that all calls go through the disk"),
                "`sudo systemctl unmask run-ploinky-sync.mount && sudo systemctl restart ploinky.target`",
            );
        }
    }
    let found = match machine.space(&path) {
        Ok(found) => found,
        Err(e) => return warn(format!("{shown} cannot be looked at: {e}"), "run this as root"),
    };
    let Space { bytes, inodes } = found;
    let message = format!(
        "{shown} has {} free ({} %), and {} % of its inodes",
        size(bytes.1),
        percent(bytes),
        percent(inodes)
    );
    if found.is_below(Floor::LANE) {
        warn(
            format!(
                "{message}; below {LANE_FLOOR_PERCENT} % and {}, or {LANE_ENOUGH_INODES} inodes, calls go \
                 through the disk, which takes longer, and streams are refused with 507",
                size(LANE_ENOUGH_BYTES)
            ),
            format!(
                "`sudo du -s {shown}/*` names the agent that fills it; restart or undeploy that one"
            ),
        )
    } else {
        ok(message)
    }
}

fn percent((all, free): (u64, u64)) -> u64 {
    free.saturating_mul(100).checked_div(all).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::bare;

    #[test]
    fn what_is_not_mounted_is_told() {
        let mut machine = bare();
        assert_eq!(lanes(&machine).message, "it is not known what is mounted");
        let mut with = |lines: &str| {
            machine.files.insert(MOUNTS.into(), format!("proc /proc proc rw 0 0\n{lines}"));
            lanes(&machine)
        };
        assert_eq!(
            with("tmpfs /run tmpfs rw 0 0\n").message,
            "/run/ploinky/sync is not mounted, so that all calls go through the disk"
        );
        let wrong = with("/dev/sda1 /run/ploinky/sync ext4 rw 0 0\n");
        assert_eq!(wrong.message, "/run/ploinky/sync is ext4 instead of memory");
        let right = with("tmpfs /run/ploinky/sync tmpfs rw 0 0\n");
        assert_eq!(right, ok("/run/ploinky/sync has 50.0 GiB free (50 %), and 50 % of its inodes"));
    }

    #[test]
    fn a_memory_in_which_workers_take_no_calls_is_told() {
        let mut machine = bare();
        machine.files.insert(MOUNTS.into(), "tmpfs /run/ploinky/sync tmpfs rw 0 0\n".into());
        let mut with = |bytes, inodes| {
            machine.space = Space { bytes, inodes };
            lanes(&machine)
        };
        let (little, many) = (1 << 30, (262_144, 65_536));
        for (bytes, inodes) in [
            ((1_000, 249), (100, 100)),
            ((1_000, 900), (100, 24)),
            ((8 * little, little - 1), many),
            ((8 * little, 8 * little), (1 << 20, 65_535)),
        ] {
            let Said { verdict, message, .. } = with(bytes, inodes);
            assert_eq!(verdict, Verdict::Warn, "{message}");
            assert!(message.contains("calls go through the disk"), "{message}");
            assert!(message.contains("streams are refused"), "{message}");
        }
        for (bytes, inodes) in
            [((1_000, 250), (100, 25)), ((8 * little, little), (1 << 20, 65_536)), ((0, 0), (0, 0))]
        {
            assert_eq!(with(bytes, inodes).verdict, Verdict::Ok, "{bytes:?} {inodes:?}");
        }
    }
}
