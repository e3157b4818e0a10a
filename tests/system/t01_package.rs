//! What the package puts on a host.

use crate::host::{ok, property, refused, sh};

/// `systemd-analyze security` in tenths of a point: the overall exposure of a unit.
fn exposure(unit: &str) -> u32 {
    let text = sh(&format!("systemd-analyze security --no-pager {unit} | tail -n 1"));
    let level = text.split(':').nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let (whole, tenth) = level.split_once('.').unwrap();
    println!("exposure of {unit}: {level}");
    whole.parse::<u32>().unwrap() * 10 + tenth.parse::<u32>().unwrap()
}

#[test]
fn the_installed_package_verifies() {
    ok(&["/usr/lib/ploinky/verify-install"]);
}

#[test]
fn the_units_are_hardened() {
    assert!(exposure("ploinky@1.service") <= 5);
    assert!(exposure("ploinky-supervisor.service") <= 15);
}

#[test]
fn the_supervisor_runs_with_three_capabilities_and_the_worker_with_none() {
    sh("systemctl start ploinky@1 ploinky-supervisor");
    for (unit, expected) in [
        // CAP_CHOWN (0), CAP_DAC_OVERRIDE (1), CAP_FOWNER (3): capabilities(7).
        ("ploinky-supervisor.service", "000000000000000b"),
        ("ploinky@1.service", "0000000000000000"),
    ] {
        let pid = property(unit, "MainPID");
        let status = sh(&format!("cat /proc/{pid}/status"));
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(field("CapEff:"), expected, "{unit}");
        assert_eq!(field("CapBnd:"), expected, "{unit}");
        assert_eq!(
            (field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()),
            ("1", "2"),
            "{unit}"
        );
    }
}

#[test]
fn only_systemd_listens() {
    sh("systemctl start ploinky@1");
    let listeners = sh("ss -Hltnp");
    for line in listeners.lines() {
        assert!(line.contains("\"systemd\"") && line.contains(":8000"), "{line}");
    }
    assert!(listeners.contains(":8000"), "{listeners}");
}

#[test]
fn other_users_of_the_host_see_nothing_and_may_do_nothing() {
    sh("id stranger >/dev/null 2>&1 || useradd --system stranger");
    for path in ["/var/lib/ploinky", "/var/lib/ploinky/agents", "/run/ploinky", "/run/ploinky/inst"]
    {
        refused(&["runuser", "-u", "stranger", "--", "ls", path]);
    }
    for words in [
        ["ploinkyctl", "undeploy", "localhost", "/nothing"].as_slice(),
        &["ploinkyctl", "deploy", "localhost", "/stranger", "echo"],
        &["ploinkyctl", "agent", "stop", "/nothing"],
    ] {
        let (status, text) = refused(&[&["runuser", "-u", "stranger", "--"], words].concat());
        assert_eq!(status, 77, "{words:?}: {text}");
    }
}

#[test]
fn doctor_finds_a_host_that_can_run_agents() {
    let output = crate::host::run(&["ploinkyctl", "--json", "doctor"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "fail")
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    // A testbed may lack the cgroup controllers (see its README); then doctor has to say so.
    let lacks_controllers = sh("cat /sys/fs/cgroup/cgroup.controllers").trim().is_empty();
    let expected: &[&str] = if lacks_controllers { &["cgroups"] } else { &[] };
    assert_eq!(failed, expected, "{report}");
    assert_eq!(output.status.success(), expected.is_empty());
}
