//! Users and the state directory.

use std::io;

use ploinky_contract::limits::{
    CONFIG_MAX_BYTES, DEPLOYMENTS_MAX, FREE_SPACE_ENOUGH_BYTES, FREE_SPACE_ENOUGH_INODES,
    FREE_SPACE_FLOOR_PERCENT, UID_RANGE_FIRST, UID_RANGE_SIZE,
};
use ploinky_contract::{Config, Floor, is_task_key};

use super::{Said, fail, ok, text, warn};
use crate::machine::Machine;
use crate::words::size;

/// Bytes of `task.key`; a longer one is none.
const TASK_KEY_MAX_BYTES: usize = 100;
/// Percent of free room below which someone should know.
const SCARCE_PERCENT: u64 = 20;

/// The workers run as this user.
pub(super) fn user(machine: &dyn Machine) -> Said {
    match machine.run(&["getent", "passwd", "ploinky"], &[]) {
        Ok(finished) if finished.code == Some(0) => match finished.stdout.split(':').nth(2) {
            Some("0") => fail("the user ploinky is root", "give it a system uid of its own"),
            Some(uid) => ok(format!("the user ploinky has uid {uid}")),
            None => fail("the user ploinky has no uid", "look at its line in /etc/passwd"),
        },
        Ok(_) | Err(_) => fail(
            "there is no user ploinky",
            "`sudo systemd-sysusers` makes it as the package describes it",
        ),
    }
}

/// Ranges of agents must not be handed out to users' containers, who could then read agents' files.
pub(super) fn uids(machine: &dyn Machine) -> Said {
    let count = u64::try_from(DEPLOYMENTS_MAX).unwrap_or(u64::MAX);
    let first = u64::from(UID_RANGE_FIRST);
    let end = first.saturating_add(count.saturating_mul(u64::from(UID_RANGE_SIZE)));
    for path in ["/etc/subuid", "/etc/subgid"] {
        let lines = match text(machine, path) {
            Ok(lines) => lines,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return warn(format!("{path} cannot be read: {e}"), "run this as root"),
        };
        for line in lines.lines() {
            let mut fields = line.trim().split(':');
            let owner = fields.next().unwrap_or_default();
            let mut number = || fields.next().and_then(|field| field.trim().parse::<u64>().ok());
            let (Some(start), Some(length)) = (number(), number()) else { continue };
            if start < end && first < start.saturating_add(length) {
                return fail(
                    format!(
                        "{path} gives `{owner}` ids from {start} on, which are those of agents"
                    ),
                    format!("give `{owner}` a range outside of {first} to {}", end - 1),
                );
            }
        }
    }
    ok(format!("nobody else has the ids {first} to {}", end - 1))
}

/// Below the floor no task is taken.
pub(super) fn space(machine: &dyn Machine) -> Said {
    let root = machine.paths().state.root();
    let found = match machine.space(root) {
        Ok(found) => found,
        Err(e) => {
            return fail(
                format!("{} cannot be looked at: {e}", root.display()),
                "`sudo systemd-tmpfiles --create` makes it as the package describes it",
            );
        }
    };
    let percent = |(all, free): (u64, u64)| {
        if all == 0 {
            100
        } else {
            u64::try_from(u128::from(free) * 100 / u128::from(all)).unwrap_or(100)
        }
    };
    let (bytes, inodes) = (percent(found.bytes), percent(found.inodes));
    let message = format!(
        "{} has {} free ({bytes} %), and {inodes} % of its inodes",
        root.display(),
        size(found.bytes.1)
    );
    let fix = "remove images with `sudo podman image prune`, or give the file system more room";
    match bytes.min(inodes) {
        _ if found.is_below(Floor::USABLE) => fail(
            format!(
                "{message}; below {FREE_SPACE_FLOOR_PERCENT} % and {}, or {FREE_SPACE_ENOUGH_INODES} inodes, \
                 calls are refused with 507",
                size(FREE_SPACE_ENOUGH_BYTES)
            ),
            fix,
        ),
        least if least < SCARCE_PERCENT => warn(message, fix),
        _ => ok(message),
    }
}

/// The desired state of the host.
pub(super) fn config(machine: &dyn Machine) -> Said {
    let path = machine.paths().state.config();
    match machine.read(&path, CONFIG_MAX_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            ok(format!("{} does not exist yet; the defaults hold", path.display()))
        }
        Err(e) => warn(format!("{} cannot be read: {e}", path.display()), "run this as root"),
        Ok(text) => match Config::parse(&text) {
            Ok(_) => ok(format!("{} is valid", path.display())),
            Err(e) => fail(
                format!("{} is not valid: {e}", path.display()),
                "repair the value; `ploinkyctl config check` checks it before and after",
            ),
        },
    }
}

/// The secret that the supervisor makes at its first start.
pub(super) fn task_key(machine: &dyn Machine) -> Said {
    let path = machine.paths().state.task_key();
    match machine.read(&path, TASK_KEY_MAX_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => fail(
            format!("{} does not exist, so that no task can be accepted", path.display()),
            "`sudo systemctl restart ploinky-supervisor` makes it",
        ),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            warn(format!("{} cannot be read: {e}", path.display()), "run this as root")
        }
        Ok(text) if is_key(&text) => ok(format!("{} is a key", path.display())),
        Ok(_) | Err(_) => fail(
            format!("{} is no key, so that no task can be accepted", path.display()),
            "restore it from a backup; a new one lets requests that are repeated with an Idempotency-Key run again",
        ),
    }
}

/// 64 hexadecimal digits, with or without a line feed.
fn is_key(text: &[u8]) -> bool {
    is_task_key(text.strip_suffix(b"\n").unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use ploinky_contract::Space;

    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::bare;

    #[test]
    fn ranges_that_touch_those_of_agents_are_refused() {
        let mut machine = bare();
        let end = (1_u64 << 30) + 240 * 65_536;
        for (line, verdict) in [
            ("a:1073741824:1", Verdict::Fail),
            ("a:1073741823:2", Verdict::Fail),
            ("a:100000:4294867295", Verdict::Fail),
            (&format!("a:{}:1", end - 1), Verdict::Fail),
            ("a:100000:65536\n# x\nnonsense\nb:1073741823:1", Verdict::Ok),
            (&format!("a:{end}:65536"), Verdict::Ok),
        ] {
            machine.files.insert("/etc/subgid".into(), line.into());
            assert_eq!(uids(&machine).verdict, verdict, "{line}");
        }
    }

    #[test]
    fn room_and_inodes_both_count() {
        let mut machine = bare();
        let mut with = |bytes, inodes| {
            machine.space = Space { bytes: (1_000, bytes), inodes };
            space(&machine).verdict
        };
        assert_eq!(with(49, (100, 100)), Verdict::Fail);
        assert_eq!(with(900, (100, 4)), Verdict::Fail);
        assert_eq!(with(199, (100, 100)), Verdict::Warn);
        assert_eq!(with(200, (0, 0)), Verdict::Ok);
    }

    #[test]
    fn a_broken_configuration_is_named_with_its_rule() {
        let mut machine = bare();
        assert_eq!(config(&machine).verdict, Verdict::Ok);
        machine.files.insert("/var/lib/ploinky/config.json".into(), "{}".into());
        let Said { verdict, message, .. } = config(&machine);
        assert_eq!(verdict, Verdict::Fail);
        assert!(message.contains("missing field `domains`"), "{message}");
    }

    #[test]
    fn a_key_has_64_digits() {
        let mut machine = bare();
        assert!(task_key(&machine).message.contains("does not exist"));
        let path = "/var/lib/ploinky/task.key";
        for (text, verdict) in [
            (String::new(), Verdict::Fail),
            ("g".repeat(64), Verdict::Fail),
            ("a".repeat(65), Verdict::Fail),
            (format!("{}\n", "0a".repeat(32)), Verdict::Ok),
        ] {
            machine.files.insert(path.into(), text.clone());
            assert_eq!(task_key(&machine).verdict, verdict, "{text}");
        }
    }

    #[test]
    fn the_user_must_be_there_and_not_be_root() {
        let mut machine = bare();
        assert_eq!(user(&machine).message, "there is no user ploinky");
        machine.program("getent passwd ploinky", 0, "ploinky:x:0:0::/:/bin/sh\n", "");
        assert_eq!(user(&machine).verdict, Verdict::Fail);
        machine.program("getent passwd ploinky", 0, "ploinky:x:997:997::/:/usr/sbin/nologin\n", "");
        assert_eq!(user(&machine), ok("the user ploinky has uid 997"));
    }
}
