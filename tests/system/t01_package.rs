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
    for path in [
        "/var/lib/ploinky",
        "/var/lib/ploinky/agents",
        "/run/ploinky",
        "/run/ploinky/inst",
        "/run/ploinky/sync",
    ] {
        refused(&["runuser", "-u", "stranger", "--", "ls", path]);
    }
    refused(&["runuser", "-u", "stranger", "--", "cat", "/var/lib/ploinky/task.key"]);
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
fn the_socket_of_root_comes_and_goes_with_its_instance_and_is_roots_alone() {
    ok(&["/bin/bash", "-c", "systemctl start ploinky@{1..4}"]);
    sh("id stranger >/dev/null 2>&1 || useradd --system stranger");
    for instance in 1..=4 {
        let socket = format!("/run/ploinky/admin-{instance}.sock");
        assert_eq!(sh(&format!("stat -c '%U:%G %a %F' {socket}")), "root:root 600 socket\n");
        for user in ["stranger", "ploinky"] {
            let connect = format!("UNIX-CONNECT:{socket}");
            refused(&["runuser", "-u", user, "--", "socat", "-u", "/dev/null", &connect]);
        }
    }
    sh("systemctl stop ploinky@4.socket");
    assert_eq!(property("ploinky-admin@4.socket", "ActiveState"), "inactive");
    refused(&["test", "-e", "/run/ploinky/admin-4.sock"]);
    sh("systemctl restart ploinky@3.socket && systemctl start ploinky@4");
    for unit in ["ploinky@3.service", "ploinky-admin@3.socket", "ploinky-admin@4.socket"] {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
    }
}

#[test]
fn the_key_of_tasks_is_made_once_and_kept_to_the_workers() {
    let path = "/var/lib/ploinky/task.key";
    sh("systemctl start ploinky-supervisor");
    assert_eq!(sh(&format!("stat -c '%U:%G %a %s' {path}")), "root:ploinky 640 65\n");
    let key = sh(&format!("cat {path}"));
    assert!(key.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    sh(&format!("chmod 666 {path} && systemctl restart ploinky-supervisor"));
    assert_eq!(sh(&format!("stat -c %a {path} && cat {path}")), format!("640\n{key}"));
    sh(&format!("cp -p {path} /root/task.key && echo broken >{path}"));
    sh("systemctl restart ploinky-supervisor");
    assert_eq!(sh(&format!("cat {path}")), "broken\n");
    let said = sh("journalctl -u ploinky-supervisor -n 50 -o cat --no-pager");
    assert!(said.contains("does not hold 64 hexadecimal digits"), "{said}");
    sh(&format!("mv /root/task.key {path} && systemctl restart ploinky-supervisor"));
    assert_eq!(sh(&format!("cat {path}")), key);
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
