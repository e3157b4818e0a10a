//! Programs of others: systemd, Podman and its generator.

use std::io;

use ploinky_contract::paths::QUADLET;

use super::{Said, fail, ok, warn};
use crate::machine::Machine;

const SYSTEMD_LEAST: u32 = 254;
const PODMAN_LEAST: u32 = 5;
const GENERATOR: &str = "/usr/lib/systemd/system-generators/podman-system-generator";

/// `RestartSteps=` and drop-ins of generators need systemd 254.
pub(super) fn systemd(machine: &dyn Machine) -> Said {
    let fix = "use a distribution with systemd 254 or later, such as Debian 13";
    version(machine, "systemctl", "systemd ", "systemd", SYSTEMD_LEAST, fix)
}

/// Drop-ins by name prefix and `Notify=` as Ploinky writes them need Podman 5.
pub(super) fn podman(machine: &dyn Machine) -> Said {
    let fix = "install Podman 5.0 or later, such as the one of Debian 13";
    version(machine, "podman", "podman version ", "Podman", PODMAN_LEAST, fix)
}

fn version(
    machine: &dyn Machine,
    program: &str,
    prefix: &str,
    name: &str,
    least: u32,
    fix: &str,
) -> Said {
    let finished = match machine.run(&[program, "--version"], &[]) {
        Ok(finished) => finished,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return fail(format!("{name} is not installed"), fix);
        }
        Err(e) => return fail(format!("`{program} --version` cannot be run: {e}"), fix),
    };
    if finished.code != Some(0) {
        let said = finished.stderr.lines().next().unwrap_or("nothing");
        return fail(format!("`{program} --version` failed and said: {said}"), fix);
    }
    let found = finished
        .stdout
        .strip_prefix(prefix)
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .unwrap_or_default();
    let digits = found.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if least <= major => ok(format!("{name} {found}")),
        Ok(_) => fail(format!("{name} {found} is too old; {least} or later is needed"), fix),
        Err(_) => fail(format!("`{program} --version` does not say a version"), fix),
    }
}

/// Podman's generator makes services of our units; it says which it does not accept.
pub(super) fn quadlet(machine: &dyn Machine) -> Said {
    if !machine.exists(GENERATOR.as_ref()) {
        return fail(
            format!("{GENERATOR} is missing, so that no agent becomes a service"),
            "install Podman with its systemd generator",
        );
    }
    match machine.list(QUADLET.as_ref()) {
        Ok(names) if names.is_empty() => return ok("there are no units of agents yet"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return warn(
                format!("{QUADLET} is missing"),
                "`systemd-tmpfiles --create` makes it as the package describes it",
            );
        }
        Ok(_) | Err(_) => {}
    }
    let finished = match machine.run(&[GENERATOR, "--dryrun"], &[("QUADLET_UNIT_DIRS", QUADLET)]) {
        Ok(finished) => finished,
        Err(e) => {
            return fail(format!("the generator of Podman cannot be run: {e}"), "reinstall Podman");
        }
    };
    let lines: Vec<&str> = finished.stderr.lines().map(without_name).collect();
    let line_with = |word: &str| lines.iter().find(|line| line.starts_with(word));
    if let Some(line) = line_with("converting") {
        return fail(
            format!("Podman does not accept the unit of an agent: {line}"),
            "deploy that agent again; a drop-in of yours may be the cause",
        );
    }
    if finished.code != Some(0) {
        return fail(
            "the generator of Podman does not accept the units of agents",
            format!("run `QUADLET_UNIT_DIRS={QUADLET} {GENERATOR} --dryrun`"),
        );
    }
    match line_with("Warning") {
        None => ok("Podman accepts the units of all agents"),
        Some(line) => warn(
            format!("Podman accepts the units of all agents, but says: {line}"),
            "change what it names in the agent's manifest, and deploy the agent again",
        ),
    }
}

/// A line of the generator without its own name before it.
fn without_name(line: &str) -> &str {
    line.split_once("]: ").map_or(line, |(_generator, text)| text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::bare;

    #[test]
    fn programs_that_are_too_old_or_absent_fail() {
        let mut machine = bare();
        assert_eq!(podman(&machine).message, "Podman is not installed");
        machine.program("podman --version", 0, "podman version 4.9.3\n", "");
        assert_eq!(podman(&machine).message, "Podman 4.9.3 is too old; 5 or later is needed");
        machine.program("podman --version", 0, "hello\n", "");
        assert_eq!(podman(&machine).verdict, Verdict::Fail);
        machine.program("podman --version", 125, "", "Error: no home\nx\n");
        assert_eq!(podman(&machine).message, "`podman --version` failed and said: Error: no home");
        machine.program("podman --version", 0, "podman version 5.4.2\n", "");
        assert_eq!(podman(&machine), ok("Podman 5.4.2"));
        machine.program("systemctl --version", 0, "systemd 252 (252.1-1)\n+PAM", "");
        assert_eq!(systemd(&machine).verdict, Verdict::Fail);
        machine.program("systemctl --version", 0, "systemd 257.7 (257.7-1)\n+PAM", "");
        assert_eq!(systemd(&machine), ok("systemd 257.7"));
    }

    #[test]
    fn the_line_that_the_generator_complains_of_is_shown() {
        let mut machine = bare();
        machine.files.insert(GENERATOR.into(), String::new());
        assert_eq!(quadlet(&machine).message, format!("{QUADLET} is missing"));
        machine.directories.insert(QUADLET.into(), vec!["x.container".into()]);
        machine.program(
            &format!("{GENERATOR} --dryrun"),
            1,
            "",
            "quadlet-generator[9]: Loading source unit file /etc/x.container\n\
             quadlet-generator[9]: Warning: x.container specifies the image \"x\"\n\
             quadlet-generator[9]: converting \"x.container\": unsupported key 'Foo' in group 'Container'\n",
        );
        assert_eq!(
            quadlet(&machine).message,
            "Podman does not accept the unit of an agent: converting \"x.container\": unsupported key 'Foo' in group 'Container'"
        );
        machine.program(&format!("{GENERATOR} --dryrun"), 1, "", "quadlet-generator[9]: panic\n");
        assert_eq!(quadlet(&machine).verdict, Verdict::Fail);
        let warning = "quadlet-generator[9]: Warning: x.container specifies the image \"x\"\n";
        machine.program(&format!("{GENERATOR} --dryrun"), 0, "", warning);
        assert_eq!(quadlet(&machine).verdict, Verdict::Warn);
        machine.program(&format!("{GENERATOR} --dryrun"), 0, "---x.service---\n", "");
        assert_eq!(quadlet(&machine), ok("Podman accepts the units of all agents"));
    }
}
