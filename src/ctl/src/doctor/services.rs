//! Units of Ploinky and of others, as systemd knows them.

use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::{Config, Settings, exit};
use ploinky_control::ControlError;

use super::{Said, fail, ok, text, warn};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::words::count;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// The supervisor answers on the bus.
pub(super) fn supervisor(machine: &dyn Machine) -> Said {
    let fix = "`sudo systemctl restart ploinky-supervisor`, then `journalctl -u ploinky-supervisor -n 20`";
    match machine.supervisor().and_then(|supervisor| supervisor.status()) {
        Ok(host) => match host.config_error {
            None => ok(format!("the supervisor {} answers", host.version)),
            Some(error) => warn(
                format!("the supervisor answers, but config.json is not applied: {error}"),
                "`ploinkyctl config check` names the value and the rule",
            ),
        },
        Err(ControlError::NotAuthorized(_)) => {
            warn("the supervisor answers, but not to you", "run this as root")
        }
        Err(e) => {
            let failure = Failure::of_control("", &e);
            if failure.exit() == exit::NOT_ALLOWED {
                return warn("the supervisor answers, but not to you", "run this as root");
            }
            fail(failure.first_cause(), fix)
        }
    }
}

/// The supervisor asks polkit about every caller but root.
pub(super) fn polkit(machine: &dyn Machine) -> Said {
    match property(machine, "polkit.service", "LoadState").as_deref() {
        Some("loaded")
            if machine.exists("/usr/share/polkit-1/actions/io.ploinky.policy".as_ref()) =>
        {
            ok("polkit is installed and knows the actions of Ploinky")
        }
        Some("loaded") => fail(
            "polkit does not know the actions of Ploinky, so that every call is refused",
            "reinstall Ploinky; /usr/share/polkit-1/actions/io.ploinky.policy is missing",
        ),
        Some(_) | None => fail(
            "polkit is not installed, so that the supervisor cannot allow any call",
            "install the package polkitd (Debian) or polkit (Fedora)",
        ),
    }
}

/// The target, and at least one listening socket.
pub(super) fn target(machine: &dyn Machine) -> Said {
    let fix = "`sudo systemctl enable --now ploinky.target`";
    match property(machine, "ploinky.target", "ActiveState").as_deref() {
        Some("active") => match sockets(machine, "ploinky@") {
            0 => fail("ploinky.target is active, but no ploinky@N.socket listens", {
                "`sudo systemctl daemon-reload && sudo systemctl restart ploinky.target`"
            }),
            number => ok(format!(
                "ploinky.target is active, {} listen{}",
                count(number, "socket", "sockets"),
                if number == 1 { "s" } else { "" }
            )),
        },
        Some(state) if !state.is_empty() => fail(format!("ploinky.target is {state}"), fix),
        Some(_) | None => fail("systemd does not answer", "boot this host with systemd"),
    }
}

/// Nobody else has the port.
pub(super) fn port(machine: &dyn Machine) -> Said {
    let settings = machine
        .read(&machine.paths().state.config(), CONFIG_MAX_BYTES)
        .ok()
        .and_then(|text| Config::parse(&text).ok())
        .map_or_else(Settings::default, |config| config.settings);
    let port = settings.port;
    let is_taken = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| text(machine, path).ok())
        .any(|table| listens(&table, port));
    match (is_taken, sockets(machine, "ploinky@")) {
        (true, 0) => fail(
            format!("another program listens on port {port}"),
            format!("`sudo ss -ltnp 'sport = :{port}'` names it; end it, or change settings.port"),
        ),
        (true, _) => ok(format!("port {port} is ours")),
        (false, 0) => ok(format!("port {port} is free")),
        (false, _) => fail(
            format!("the sockets of Ploinky listen on another port than {port}"),
            "`sudo systemctl daemon-reload && sudo systemctl restart ploinky.target` applies settings.port",
        ),
    }
}

/// Root of this host reaches each instance.
pub(super) fn admin(machine: &dyn Machine) -> Said {
    let fix = "`sudo systemctl daemon-reload && sudo systemctl restart ploinky.target`";
    let wanted = sockets(machine, "ploinky@");
    match sockets(machine, "ploinky-admin@") {
        0 => {
            fail("no ploinky-admin@N.socket listens, so that `ploinkyctl task` reaches nobody", fix)
        }
        number if number < wanted => {
            warn(format!("{number} of {wanted} instances listen to root"), fix)
        }
        number => ok(format!("{} to root", count(number, "instance listens", "instances listen"))),
    }
}

/// The supervisor asks Podman about containers and images.
pub(super) fn podman_socket(machine: &dyn Machine) -> Said {
    match property(machine, "podman.socket", "ActiveState").as_deref() {
        Some("active") => ok("podman.socket listens"),
        Some(_) | None => fail(
            "podman.socket does not listen, so that images and containers cannot be looked at",
            "`sudo systemctl enable --now podman.socket`",
        ),
    }
}

/// One property of a unit; `None` if systemd cannot be asked.
fn property(machine: &dyn Machine, unit: &str, name: &str) -> Option<String> {
    let name = format!("--property={name}");
    let finished = machine.run(&["systemctl", "show", "--value", &name, unit], &[]).ok()?;
    (finished.code == Some(0)).then(|| finished.stdout.trim().to_owned())
}

/// How many sockets listen whose names begin so.
fn sockets(machine: &dyn Machine, prefix: &str) -> usize {
    let pattern = format!("{prefix}*.socket");
    let words =
        ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", pattern.as_str()];
    machine.run(&words, &[]).map_or(0, |finished| {
        finished.stdout.lines().filter(|line| line.starts_with(prefix)).count()
    })
}

/// Whether a table of the kernel has a listening socket with this local port.
fn listens(table: &str, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&wanted) && fields.nth(1) == Some(LISTENING)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::bare;
    use crate::machine::fake::{Fake, Mood};

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue\n";
    const ADMIN: &str =
        "systemctl list-units --plain --no-legend --state=active ploinky-admin@*.socket";
    const LIST: &str = "systemctl list-units --plain --no-legend --state=active ploinky@*.socket";

    fn show(machine: &mut Fake, unit: &str, name: &str, value: &str) {
        machine.program(&format!("systemctl show --value --property={name} {unit}"), 0, value, "");
    }

    #[test]
    fn a_port_of_somebody_else_fails() {
        let mut machine = bare();
        assert_eq!(port(&machine), ok("port 8000 is free"));
        let connected = "   0: 0100007F:1F40 0100007F:D431 01 00000000:00000000\n";
        machine.files.insert("/proc/net/tcp".into(), format!("{HEAD}{connected}"));
        assert_eq!(port(&machine), ok("port 8000 is free"));
        let listening = "   0: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 0\n";
        machine.files.insert("/proc/net/tcp6".into(), format!("{HEAD}{listening}"));
        assert_eq!(port(&machine).message, "another program listens on port 8000");
        machine.program(LIST, 0, "ploinky@1.socket loaded active listening Ploinky\n", "");
        assert_eq!(port(&machine), ok("port 8000 is ours"));
        machine.files.clear();
        assert_eq!(port(&machine).verdict, Verdict::Fail);
    }

    #[test]
    fn an_instance_that_does_not_listen_to_root_is_told() {
        let mut machine = bare();
        assert_eq!(admin(&machine).verdict, Verdict::Fail);
        let two = "ploinky@1.socket loaded active\nploinky@2.socket loaded active\n";
        machine.program(LIST, 0, two, "");
        machine.program(ADMIN, 0, "ploinky-admin@1.socket loaded active\n", "");
        assert_eq!(admin(&machine).message, "1 of 2 instances listen to root");
        machine.program(ADMIN, 0, &two.replace("ploinky@", "ploinky-admin@"), "");
        assert_eq!(admin(&machine), ok("2 instances listen to root"));
    }

    #[test]
    fn a_target_without_a_socket_fails() {
        let mut machine = bare();
        assert_eq!(target(&machine).message, "systemd does not answer");
        show(&mut machine, "ploinky.target", "ActiveState", "inactive\n");
        assert_eq!(target(&machine).message, "ploinky.target is inactive");
        show(&mut machine, "ploinky.target", "ActiveState", "active\n");
        assert_eq!(target(&machine).verdict, Verdict::Fail);
        let two = "ploinky@1.socket loaded active\nploinky@2.socket loaded active\n";
        machine.program(LIST, 0, two, "");
        assert_eq!(target(&machine), ok("ploinky.target is active, 2 sockets listen"));
    }

    #[test]
    fn a_supervisor_that_refuses_the_caller_is_no_failure_of_the_host() {
        let mut machine = bare();
        machine.mood = Mood::Absent;
        let Said { verdict, message, .. } = supervisor(&machine);
        assert_eq!(
            (verdict, message.as_str()),
            (Verdict::Fail, "the supervisor cannot be reached on the system bus")
        );
        machine.mood = Mood::Well;
        machine.host.version = "0.1.0".into();
        assert_eq!(supervisor(&machine), ok("the supervisor 0.1.0 answers"));
        machine.host.config_error = Some("`x`: unknown".into());
        assert_eq!(supervisor(&machine).verdict, Verdict::Warn);
    }

    #[test]
    fn polkit_must_know_the_actions() {
        let mut machine = bare();
        assert_eq!(polkit(&machine).verdict, Verdict::Fail);
        show(&mut machine, "polkit.service", "LoadState", "loaded\n");
        assert!(polkit(&machine).message.contains("does not know the actions"));
        machine.files.insert("/usr/share/polkit-1/actions/io.ploinky.policy".into(), String::new());
        assert_eq!(polkit(&machine).verdict, Verdict::Ok);
    }
}
