//! Reinstall, remove and purge leave what they should, and no more.

use serde_json::json;

use crate::host::{ok, sh, wait_for};
use crate::http::call;
use crate::load::{Load, describe, failures};
use crate::t02_agents::deploy_echo;

/// The package file that the testbed was made with.
const PACKAGE: &str = "/var/tmp/ploinky.deb";

fn copy_package() {
    let package = std::env::var("PLOINKY_DEB").expect("PLOINKY_DEB is set by tests/check");
    crate::host::copy(&package, PACKAGE);
}

#[test]
fn a_reinstall_under_load_fails_no_request() {
    deploy_echo();
    copy_package();
    ok(&["/bin/bash", "-c", "systemctl start ploinky@{1..4}"]);
    let load = Load::start(4, true, "/echo", "echo.ping");
    sh(&format!(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall {PACKAGE} >/var/tmp/reinstall.log 2>&1"
    ));
    let samples = load.finish();
    println!("{} calls during the reinstall", samples.len());
    assert!(failures(&samples).is_empty(), "{}", describe(&samples));
    assert!(ok(&["ploinkyctl", "agent", "list"]).contains("/echo"));
}

#[test]
fn remove_keeps_the_state_and_purge_takes_it() {
    deploy_echo();
    copy_package();
    sh("DEBIAN_FRONTEND=noninteractive apt-get remove -y ploinky");
    let left =
        sh("systemctl list-units --all --plain --no-legend 'ploinky*' | grep -v not-found || true
        podman ps -aq
        ls /etc/containers/systemd/ploinky 2>/dev/null || true
        ss -Hltn | grep ':8000' || true
        ls /usr/bin/ploinkyctl /usr/lib/ploinky 2>/dev/null || true");
    assert_eq!(left, "");
    assert!(sh("cat /var/lib/ploinky/config.json").contains("/echo"));

    sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get install -y {PACKAGE}"));
    sh("systemctl start ploinky@1");
    wait_for("the agent, from config.json alone", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });

    sh("DEBIAN_FRONTEND=noninteractive apt-get purge -y ploinky");
    let left = sh("ls -d /var/lib/ploinky /etc/ploinky /run/ploinky /etc/containers/systemd/ploinky 2>/dev/null || true
        podman ps -aq
        systemctl list-units --all --plain --no-legend 'ploinky*' | grep -v not-found || true");
    assert_eq!(left, "");
    assert_eq!(sh("systemctl is-system-running").trim(), "running");
    sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get install -y {PACKAGE}"));
    ok(&["ploinkyctl", "--json", "status"]);
}
