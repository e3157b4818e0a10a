//! The machines that transcripts name, and the directory that their commands name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ploinky_contract::paths::{RuntimeDir, StateDir};
use ploinky_control::{AgentStatus, CommandTerms, ControlError, HostStatus};

use crate::machine::Paths;
use crate::machine::fake::{Fake, Mood};

const MANIFEST: &str =
    r#"{"name":"echo","container":"localhost/echo:1","commands":{"say":"say.sh"}}"#;

/// Directories and files that the commands name.
pub(super) fn lay_out(root: &Path) {
    for (name, text) in [
        ("echo/manifest.json", MANIFEST),
        ("echo/say.sh", "echo \"$2\"\n"),
        ("echo/.git/config", "[core]\n"),
        ("My_Site/index.html", "<h1>hi</h1>\n"),
        ("gone/manifest.json", r#"{"name":"gone","static":"public"}"#),
        ("typo/manifest.json", r#"{"name":"typo","container":"x","comands":{}}"#),
        ("link/index.html", ""),
        ("installed/echo/manifest.json", MANIFEST),
        ("installed/hello-node/manifest.json", r#"{"name":"hello-node","container":"x"}"#),
        ("installed/README.md", ""),
        (
            "good.json",
            r#"{"domains":[{"name":"localhost"}],"deployments":[],"settings":{"port":80}}"#,
        ),
        (
            "bad.json",
            r#"{"domains":[],"deployments":[{"domain":"x.org","path":"/a","agent":"a"}]}"#,
        ),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }
    std::os::unix::fs::symlink("/etc/shadow", root.join("link/secret")).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
}

fn agent(domain: &str, path: &str, name: &str) -> AgentStatus {
    let id = format!(
        "{domain}-{}",
        path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or("_root")
    );
    AgentStatus {
        unit: Some(format!("ploinky-agent-{id}.service")),
        id,
        domain: domain.into(),
        path: path.into(),
        agent: name.into(),
        kind: "container".into(),
        enabled: true,
        active_state: Some("active".into()),
        sub_state: Some("running".into()),
        restarts: Some(0),
        active_since_usec: Some(1_767_323_045_000_000),
        ..AgentStatus::default()
    }
}

fn three_agents() -> HostStatus {
    let site = AgentStatus {
        kind: "static".into(),
        unit: None,
        active_state: None,
        sub_state: None,
        restarts: None,
        active_since_usec: None,
        release: Some("5f2b".into()),
        ..agent("localhost", "/", "site")
    };
    let echo = AgentStatus {
        health: Some("healthy".into()),
        status_text: Some("serving 2 commands".into()),
        last_alive_usec: Some(1_767_330_540_000_000),
        container: Some("ploinky-localhost-echo".into()),
        container_id: Some("0123456789abcdef0123456789abcdef".into()),
        container_state: Some("running".into()),
        pid: Some(4711),
        image: Some("localhost/echo:1".into()),
        image_id: Some("sha256:fedcba9876543210".into()),
        memory_bytes: Some(12_897_485),
        cpu_nsec: Some(1_204_000_000),
        pids: Some(3),
        uid_first: Some(1 << 30),
        commands: Some(vec!["say".into(), "file.cat".into()]),
        command_terms: Some(vec![
            CommandTerms { name: "say".into(), timeout_ms: 30_000, ..CommandTerms::default() },
            CommandTerms {
                name: "file.cat".into(),
                timeout_ms: 3_600_000,
                attempts: Some(3),
                backoff_ms: Some(1_500),
                max_backoff_ms: Some(300_000),
            },
        ]),
        release: Some("9a1c".into()),
        ..agent("localhost", "/echo", "echo")
    };
    let shop = AgentStatus {
        active_state: Some("failed".into()),
        sub_state: Some("failed".into()),
        result: Some("exit-code".into()),
        restarts: Some(5),
        problem: Some("the program \u{1b}[31mended\u{1b}[0m\nafter 5 restarts".into()),
        image: Some("localhost/shop:2".into()),
        ..agent("example.org", "/shop", "echo")
    };
    HostStatus {
        version: "0.1.0".into(),
        port: 8000,
        instances: vec![1, 2],
        sockets: vec![1, 2],
        agents: vec![site, echo, shop],
        ..HostStatus::default()
    }
}

/// The machines that transcripts name.
pub(super) fn machine(name: &str, root: &Path) -> Fake {
    let mut machine = Fake::new(Paths {
        state: StateDir::new(root.join("state")),
        runtime: RuntimeDir::new(root.join("run")),
        installed: root.join("installed"),
        temporary: root.join("tmp"),
    });
    machine.host = three_agents();
    machine.config = "{\n  \"domains\": []\n}\n".into();
    match name {
        "three agents" => {}
        "a route" => {
            let own = r#""own":{"run":"x.sh","timeout":400,"retry":{"attempts":3}}"#;
            let manifest = format!(
                r#"{{"name":"echo","container":"x","timeout":40,"commands":{{"say":"say.sh",{own}}}}}"#
            );
            let config = r#"{"domains":[{"name":"localhost"}],"deployments":[
                {"domain":"localhost","path":"/echo","agent":"echo"},
                {"domain":"localhost","path":"/gone","agent":"gone"},
                {"domain":"localhost","path":"/","agent":"site"}],
                "settings":{"limits":{"requestsPerSecond":50}}}"#;
            let site = r#"{"name":"site","static":"."}"#;
            let state = root.join("state");
            for (path, text) in [
                ("config.json", config),
                ("agents/localhost/echo/manifest.json", &manifest),
                ("agents/localhost/_root/manifest.json", site),
            ] {
                let path = state.join(path).to_str().unwrap().to_owned();
                machine.files.insert(path, text.to_owned());
            }
        }
        "nothing deployed" => {
            machine.host =
                HostStatus { version: "0.1.0".into(), port: 80, ..HostStatus::default() };
        }
        "no supervisor" => machine.mood = Mood::Absent,
        "refuses the caller" => {
            machine.mood =
                Mood::Refuses(ControlError::NotAuthorized, "io.ploinky.manage is not allowed");
        }
        "image missing" => {
            machine.mood = Mood::Refuses(
                ControlError::ImageMissing,
                "image `localhost/echo:1` is not on this host",
            );
        }
        "does not start" => {
            machine.mood = Mood::Refuses(
                ControlError::StartFailed,
                "unit ploinky-agent-localhost-echo.service failed with result `exit-code`",
            );
            machine.program(
                "journalctl --no-pager --quiet --output=cat --lines=10 \
                 --unit=ploinky-agent-localhost-echo.service --since=@1767330545",
                0,
                "agent-core: no handler\nMain process exited, code=exited, status=78\n",
                "",
            );
        }
        "broken configuration" => {
            machine.host.config_error =
                Some("`settings.port`: 0 is not in the range 1 to 65535".into());
            machine.host.instances = vec![1, 3];
            machine.mood = Mood::Refuses(
                ControlError::ConfigInvalid,
                "`settings.port`: 0 is not in the range 1 to 65535",
            );
        }
        "a task in the journal" => {
            let task = "0123456789abcdef0123456789abcdef";
            let other = "f".repeat(32);
            let time = r#""__REALTIME_TIMESTAMP":"1767323045000000""#;
            let lines = format!(
                "{{{time},\"SYSLOG_IDENTIFIER\":\"ploinkyd\",\"TASK_ID\":\"{task}\",\"MESSAGE\":\"accepted\"}}\n\
                 {{{time},\"SYSLOG_IDENTIFIER\":\"ploinky-localhost-echo\",\"MESSAGE\":\"[{other}] not this\"}}\n\
                 {{{time},\"SYSLOG_IDENTIFIER\":\"ploinky-localhost-echo\",\"MESSAGE\":\"says [{task}] inside\"}}\n\
                 no json\n\
                 {{{time},\"_SYSTEMD_UNIT\":\"u\",\"MESSAGE\":[91,48,49]}}\n\
                 {{{time},\"SYSLOG_IDENTIFIER\":\"ploinky-localhost-echo\",\"MESSAGE\":\"[{task}] \\u001b[2Jhi\"}}\n"
            );
            let query = format!(
                "journalctl --no-pager --quiet --all --output=json TASK_ID={task} + \
                 _SYSTEMD_UNIT=ploinky-agent-localhost-echo.service"
            );
            machine.program(&query, 0, &lines, "");
        }
        other => panic!("no machine is called `{other}`"),
    }
    machine
}
