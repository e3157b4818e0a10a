//! The kernel: control groups, settings, the clock.

use super::{Said, fail, ok, text, warn};
use crate::machine::Machine;

const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";
/// Without these, the limits of an agent do not hold, or its container does not start.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];

/// Settings of the package's sysctl.d file, by their name and the least value.
const SETTINGS: [(&str, u64); 6] = [
    ("fs.inotify.max_user_instances", 32_768),
    ("fs.inotify.max_user_watches", 524_288),
    ("fs.protected_fifos", 1),
    ("fs.protected_hardlinks", 1),
    ("fs.protected_regular", 1),
    ("fs.protected_symlinks", 1),
];

/// A moment before the first release, in seconds since 1970: 2025-01-01.
const PLAUSIBLE: u64 = 1_735_689_600;
/// How far in the future a file may be: two clocks are never the same.
const SKEW_SECONDS: u64 = 300;

/// Limits need control groups of version 2 with three controllers.
pub(super) fn cgroups(machine: &dyn Machine) -> Said {
    let Ok(controllers) = text(machine, CONTROLLERS) else {
        return fail(
            "there is no control group hierarchy of version 2",
            "boot with `systemd.unified_cgroup_hierarchy=1`",
        );
    };
    let there: Vec<&str> = controllers.split_ascii_whitespace().collect();
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !there.contains(name)).collect();
    if missing.is_empty() {
        ok("control groups of version 2 with cpu, memory and pids")
    } else {
        fail(
            format!(
                "the limits of agents do not hold without the controllers {}",
                missing.join(", ")
            ),
            "take them from version 1: boot with `cgroup_no_v1=all`",
        )
    }
}

/// Settings that the package makes, unless the admin's are weaker.
pub(super) fn sysctls(machine: &dyn Machine) -> Said {
    let mut weak = Vec::new();
    for (name, least) in SETTINGS {
        let value = text(machine, &format!("/proc/sys/{}", name.replace('.', "/")));
        match value.ok().and_then(|value| value.trim().parse::<u64>().ok()) {
            Some(value) if least <= value => {}
            Some(value) => weak.push(format!("{name} is {value} instead of {least}")),
            None => weak.push(format!("{name} cannot be read")),
        }
    }
    if weak.is_empty() {
        ok("inotify limits and protected links, FIFOs and files are set")
    } else {
        warn(
            weak.join(", "),
            "`sudo sysctl --system` applies /usr/lib/sysctl.d/50-ploinky.conf; look for a weaker value in /etc/sysctl.d",
        )
    }
}

/// A clock that is not set, or went back, makes nonsense of times, and breaks pulls of images.
pub(super) fn clock(machine: &dyn Machine) -> Said {
    let now = machine.now_usec() / 1_000_000;
    let fix = "set the clock; `timedatectl set-ntp true` keeps it right";
    if now < PLAUSIBLE {
        return fail("the clock is not set: it says a time before 2025", fix);
    }
    let boot = text(machine, "/proc/stat").ok().and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok())
    });
    match boot {
        Some(boot) if now < boot => {
            return fail("the clock says a time before the boot of this host", fix);
        }
        Some(_) => {}
        None => return warn("the time of the boot is not known", "mount /proc"),
    }
    let config = machine.paths().state.config();
    if let Ok(changed) = machine.modified(&config)
        && now.saturating_add(SKEW_SECONDS) < changed
    {
        return warn(
            format!("the clock went back: {} was changed in the future", config.display()),
            fix,
        );
    }
    ok("the clock is after the boot and after the last change of the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::bare;

    #[test]
    fn missing_controllers_are_named() {
        let mut machine = bare();
        assert_eq!(cgroups(&machine).verdict, Verdict::Fail);
        machine.files.insert(CONTROLLERS.into(), "cpuset cpu io\n".into());
        assert_eq!(
            cgroups(&machine).message,
            "the limits of agents do not hold without the controllers memory, pids"
        );
        machine.files.insert(CONTROLLERS.into(), "cpuset cpu io memory pids rdma\n".into());
        assert_eq!(cgroups(&machine).verdict, Verdict::Ok);
    }

    #[test]
    fn weak_settings_are_named_with_both_values() {
        let mut machine = bare();
        for (name, least) in SETTINGS {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            machine.files.insert(path, format!("{least}\n"));
        }
        assert_eq!(sysctls(&machine).verdict, Verdict::Ok);
        machine.files.insert("/proc/sys/fs/inotify/max_user_instances".into(), "128\n".into());
        machine.files.remove("/proc/sys/fs/protected_fifos");
        assert_eq!(
            sysctls(&machine).message,
            "fs.inotify.max_user_instances is 128 instead of 32768, fs.protected_fifos cannot be read"
        );
    }

    #[test]
    fn a_clock_before_the_boot_or_the_last_change_is_told() {
        let mut machine = bare();
        let now = machine.now_usec / 1_000_000;
        assert_eq!(clock(&machine).verdict, Verdict::Warn);
        machine.files.insert("/proc/stat".into(), format!("cpu 1 2\nbtime {}\n", now + 1));
        assert_eq!(clock(&machine).verdict, Verdict::Fail);
        machine.files.insert("/proc/stat".into(), format!("cpu 1 2\nbtime {}\n", now - 1));
        assert_eq!(clock(&machine).verdict, Verdict::Ok);
        machine.modified.insert("/var/lib/ploinky/config.json".into(), now + SKEW_SECONDS + 1);
        assert_eq!(clock(&machine).verdict, Verdict::Warn);
        machine.now_usec = 1_000_000;
        assert_eq!(clock(&machine).verdict, Verdict::Fail);
    }
}
