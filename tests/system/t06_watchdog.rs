//! An agent that is not well is started anew, and says why.

use serde_json::{Value, json};

use crate::host::{json as json_of, ok, property, sh, wait_for};
use crate::http::call;

/// An agent of this test, watched more closely than usual, which goes with its test.
struct Watched {
    name: &'static str,
    unit: String,
}

impl Watched {
    fn deploy(name: &'static str, members: &str) -> Self {
        sh("systemctl start ploinky-supervisor ploinky@1");
        let manifest = format!(
            r#"{{"name":"{name}","container":"localhost/ploinky-busybox:1","commands":{{"say":"echo yes"}}{members}}}"#
        );
        let unit = format!("ploinky-agent-localhost-{name}.service");
        let watched = Self { name, unit };
        let dropin = watched.dropin();
        sh(&format!(
            "rm -rf /tmp/{name}; mkdir -p /tmp/{name} {dropin}
            cat >/tmp/{name}/manifest.json <<'END'\n{manifest}\nEND
            printf '[Container]\\nEnvironment=WATCHDOG_USEC=6000000\\n[Service]\\nWatchdogSec=6\\n' >{dropin}/test.conf"
        ));
        ok(&["ploinkyctl", "deploy", "localhost", &format!("/{name}"), &format!("/tmp/{name}")]);
        assert_eq!(property(&watched.unit, "WatchdogUSec"), "6s");
        watched.wait_until_it_answers();
        watched
    }

    fn dropin(&self) -> String {
        format!("/etc/containers/systemd/ploinky-agent-localhost-{}.container.d", self.name)
    }

    fn wait_until_it_answers(&self) {
        let path = format!("/{}", self.name);
        wait_for("an answer", || {
            (call(&path, "say", &json!([])).ok()?.status == 200).then_some(())
        });
    }

    fn status(&self) -> Value {
        json_of(&["ploinkyctl", "--json", "agent", "status", &format!("/{}", self.name)])
    }

    fn restarts(&self) -> u32 {
        property(&self.unit, "NRestarts").parse().unwrap()
    }

    /// Host pid of its agent-core, which is the only child of the container's init.
    fn agent_core(&self) -> String {
        let pid = sh(&format!(
            "pgrep -P $(podman inspect --format '{{{{.State.Pid}}}}' ploinky-localhost-{}) agent-core",
            self.name
        ));
        pid.trim().to_owned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let (name, dropin) = (self.name, self.dropin());
        sh(&format!(
            "ploinkyctl undeploy localhost /{name}; rm -r {dropin}; systemctl daemon-reload"
        ));
    }
}

#[test]
fn an_agent_that_hangs_is_killed_by_systemd_and_serves_again() {
    let watched = Watched::deploy("hangs", "");
    let sign = || property(&watched.unit, "WatchdogTimestampMonotonic");
    // Longer than it could live without signs.
    for _ in 0..4 {
        let last = sign();
        wait_for("the next sign of life", || (sign() != last).then_some(()));
    }
    assert_eq!(watched.restarts(), 0);
    let status = watched.status();
    assert_eq!(status["health"], "healthy", "{status}");
    assert_eq!(status["statusText"], "serving 1 command", "{status}");
    let pid = watched.agent_core();
    sh(&format!("kill -STOP {pid}"));
    let ((), after) = wait_for("a start anew", || (0 < watched.restarts()).then_some(()));
    watched.wait_until_it_answers();
    println!("an agent that hangs was started anew {:.1} s later", after.as_secs_f64());
    assert_ne!(watched.agent_core(), pid);
    assert_eq!(sh(&format!("kill -0 {pid} 2>/dev/null && echo alive || true")), "");
    let journal = sh(&format!("journalctl --no-pager -o cat -u {}", watched.unit));
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
fn an_agent_whose_liveness_command_fails_is_started_anew_and_its_status_says_why() {
    let watched = Watched::deploy("ails", r#","health":{"liveness":"test ! -e /agent/sick"}"#);
    assert_eq!(watched.status()["health"], "healthy");
    let sick = "/var/lib/ploinky/agents/localhost/ails/code/sick";
    sh(&format!("touch {sick}"));
    let ((), _) = wait_for("an unhealthy agent", || {
        let status = watched.status();
        let problem = status["problem"].as_str().unwrap_or_default();
        (status["health"] == "unhealthy" && problem.contains("`test ! -e /agent/sick` ended with"))
            .then_some(())
    });
    let ((), after) = wait_for("a start anew", || (0 < watched.restarts()).then_some(()));
    println!("an agent whose liveness fails was started anew {:.1} s later", after.as_secs_f64());
    sh(&format!("rm {sick}"));
    let why = "started anew because the liveness command failed 3 times in a row: the probe";
    let (status, _) = wait_for("its reason", || {
        let status = watched.status();
        (status["statusText"].as_str()?.contains(why) && status["health"] == "healthy")
            .then_some(status)
    });
    assert_eq!(status["problem"], Value::Null, "{status}");
    let block = ok(&["ploinkyctl", "agent", "status", "/ails"]);
    assert!(block.contains(why), "{block}");
    watched.wait_until_it_answers();
}

#[test]
fn podman_checks_nobodys_health_not_even_where_the_image_wants_it() {
    sh("podman image exists localhost/ploinky-checked:1 && exit
        id=$(podman create localhost/ploinky-busybox:1 true)
        podman commit -q --format docker --change 'HEALTHCHECK --interval=1s CMD true' $id localhost/ploinky-checked:1
        podman rm $id");
    sh(r#"rm -rf /tmp/checked && mkdir -p /tmp/checked && cd /tmp/checked
        printf '{"name":"checked","container":"localhost/ploinky-checked:1","commands":{"say":"echo yes"}}' >manifest.json"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/checked", "/tmp/checked"]);
    let timers = || {
        sh(
            "systemctl list-units --all --plain --no-legend --type=timer | grep -E '^[0-9a-f]{64}' || true",
        )
    };
    let found = timers();
    ok(&["ploinkyctl", "undeploy", "localhost", "/checked"]);
    assert_eq!(found, "");
}
