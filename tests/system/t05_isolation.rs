//! An agent can hurt only itself: what root in a container tries against the queue and its neighbours.

use serde_json::json;

use crate::host::{json as json_of, ok, sh, wait_for};
use crate::http::call;
use crate::t02_agents::deploy_echo;

/// Runs a script as root in the container of `echo`; what it printed.
fn inside(script: &str) -> String {
    ok(&[
        "podman",
        "exec",
        "ploinky-localhost-echo",
        "/bin/sh",
        "-c",
        &format!("( {script} ) 2>&1; true"),
    ])
}

/// Owner, mode, size and change time of everything on the server's side of both queues.
fn server_side() -> String {
    sh("find /var/lib/ploinky/agents/localhost/echo /run/ploinky/sync/localhost-echo \
        -path '*/code' -prune -o -path '*/locks*' -prune -o -path '*/outputs/*' -prune \
        -o -path '*/.tasks/responses*' -prune -o -path '*/.tasks/errors*' -prune \
        -o -path '*/sync/*/responses/*' -prune -o -printf '%p %U %G %m %s %T@\n' | sort")
}

#[test]
fn directories_have_the_owners_and_modes_of_the_protocol() {
    deploy_echo();
    let map = json_of(&["cat", "/var/lib/ploinky/uidmap.json"]);
    let base = json_of(&["ploinkyctl", "--json", "agent", "status", "/echo"]);
    let base = base.get("agents").map_or(&base, |agents| &agents[0])["uidFirst"].as_u64().unwrap();
    assert!(map.to_string().contains(&base.to_string()), "{base} is not in {map}");
    let server = sh("id -u ploinky").trim().to_owned();
    let group = sh("id -g ploinky").trim().to_owned();
    let found = sh(
        "cd /var/lib/ploinky/agents/localhost/echo && stat -c '%n %u %g %a' . manifest.json code .tasks .tasks/*",
    );
    let expected = [
        format!(". 0 {group} 2711"),
        "manifest.json 0 0 644".to_owned(),
        format!("code {base} {base} 755"),
        format!(".tasks {server} {base} 2750"),
        format!(".tasks/errors {server} {base} 3770"),
        format!(".tasks/files {server} {base} 2750"),
        format!(".tasks/locks {server} {base} 3770"),
        format!(".tasks/outputs {server} {base} 3770"),
        format!(".tasks/requests {server} {base} 2750"),
        format!(".tasks/responses {server} {base} 3770"),
        format!(".tasks/urgent {server} {base} 2750"),
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// What root of the container tries against a queue that it sees at `queue`, with a request of this name.
fn attacks(queue: &str, request: &str) -> Vec<String> {
    let requests = format!("{queue}/requests");
    let own = format!("{queue}/locks");
    let file = format!("{requests}/{request}");
    let mut attempts = vec![
        format!("echo x >{requests}/00000000000000000000000000000000"),
        format!("echo x >{file}"),
        format!("echo x >>{file}"),
        format!("rm -f {file}"),
        format!("mv {file} {requests}/x"),
        format!("mv {file} {own}/x"),
        format!("mv /etc/hostname {requests}/x"),
        format!("ln {file} {own}/{request}"),
        format!("ln {file} /agent/own"),
        format!("ln -s /etc/passwd {requests}/x"),
        format!("mkdir {requests}/x"),
        format!("mkfifo {requests}/x"),
        format!("mknod {requests}/x c 1 3"),
        format!("chmod 777 {file}"),
        format!("chown 0:0 {file}"),
        format!("touch {queue}/urgent/{request}"),
        format!("rmdir {queue}/urgent"),
        format!("mv {requests} {queue}/old"),
        format!("rm -rf {requests}"),
        format!("mount -t tmpfs none {requests}"),
        format!("mount --bind /tmp {queue}"),
        format!("umount {queue}"),
        format!("mv {queue} {queue}.old"),
        format!("rmdir {queue}"),
        format!("mkdir {queue}/x"),
        format!("rmdir {own}"),
    ];
    for directory in ["", "/requests", "/urgent", "/responses", "/locks"] {
        attempts.push(format!("chmod 777 {queue}{directory}"));
        attempts.push(format!("chown 0:0 {queue}{directory}"));
    }
    attempts
}

#[test]
fn container_root_cannot_forge_change_or_delete_a_request() {
    deploy_echo();
    let on_disk = "/var/lib/ploinky/agents/localhost/echo/.tasks";
    let in_memory = "/run/ploinky/sync/localhost-echo";
    // No task, so that nobody serves or removes it.
    let probe = "probe";
    for queue in [on_disk, in_memory] {
        sh(&format!(
            "umask 0027; runuser -u ploinky -- tee {queue}/requests/{probe} </etc/hostname"
        ));
        let mode = sh(&format!("stat -c '%a %U' {queue}/requests/{probe}"));
        assert_eq!(mode.trim(), "640 ploinky", "{queue}");
    }
    sh(&format!("runuser -u ploinky -- mkfifo -m 0620 {in_memory}/streams/{probe}"));
    let mut attempts = attacks("/agent/.tasks", probe);
    attempts.extend(attacks("/run/ploinky/sync", probe));
    attempts.extend(
        [
            "echo x >/agent/.tasks/files/x",
            "mkdir /agent/.tasks/files/x",
            "chmod 777 /agent/.tasks/files",
            "chmod 777 /agent/.tasks/outputs",
            "rmdir /agent/.tasks/outputs",
            "echo x >/run/ploinky/sync/responses/x",
            "mkdir /run/ploinky/sync/responses/65",
            "mv /run/ploinky/sync/responses /run/ploinky/sync/locks/x",
            "mkfifo /run/ploinky/sync/streams/x",
            "rm -f /run/ploinky/sync/streams/probe",
            "mv /run/ploinky/sync/streams/probe /run/ploinky/sync/locks/x",
            "ln /run/ploinky/sync/streams/probe /run/ploinky/sync/locks/x",
            "chmod 777 /run/ploinky/sync/streams/probe",
            "head -c 1 /run/ploinky/sync/streams/probe",
            "echo x >/run/ploinky/manifest.json",
            "rm -f /run/ploinky/manifest.json",
            "echo x >/agentCore/agent-core",
            "rm -f /agentCore/agent-core",
        ]
        .map(str::to_owned),
    );
    let before = server_side();
    for queue in ["/agent/.tasks", "/run/ploinky/sync"] {
        let said = inside(&format!("cat {queue}/requests/{probe}"));
        assert!(said.contains("testbed"), "an agent may read its requests; it said: {said}");
    }
    for attempt in &attempts {
        let said = inside(attempt);
        assert_eq!(server_side(), before, "after `{attempt}`, which said: {said}");
        assert!(!said.trim().is_empty(), "`{attempt}` was not refused");
    }
    println!("{} attempts", attempts.len());
    sh(&format!("rm {on_disk}/requests/{probe} {in_memory}/*/{probe}"));
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
}

#[test]
fn results_that_are_no_files_are_bad_results_and_hang_nobody() {
    deploy_echo();
    sh(r#"rm -rf /tmp/liar && mkdir -p /tmp/liar && cd /tmp/liar
        printf '%s' '{"name":"liar","container":"localhost/ploinky-busybox:1","timeout":5,"commands":{
          "link":"sh lie.sh link","pipe":"sh lie.sh pipe","dir":"sh lie.sh dir","sparse":"sh lie.sh sparse","junk":"sh lie.sh junk","honest":"echo 1"}}' >manifest.json
        cat >lie.sh <<'END'
for directory in /agent/.tasks/responses /run/ploinky/sync/responses/*; do
cd $directory
case $1 in
link) ln -s /etc/passwd $TASK_ID ;;
pipe) mkfifo $TASK_ID ;;
dir) mkdir $TASK_ID ;;
sparse) dd if=/dev/zero of=tmp.$TASK_ID bs=1 count=1 seek=1099511627775 2>/dev/null; mv tmp.$TASK_ID $TASK_ID ;;
junk) printf 'not json' >tmp.$TASK_ID; mv tmp.$TASK_ID $TASK_ID ;;
esac
done
END"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/liar", "/tmp/liar"]);
    wait_for("a route", || (call("/liar", "honest", &json!([])).ok()?.status == 200).then_some(()));
    for command in ["link", "pipe", "dir", "sparse", "junk"] {
        let reply = call("/liar", command, &json!([])).unwrap();
        let code = if command == "sparse" { "RESULT_TOO_LARGE" } else { "AGENT_BAD_RESULT" };
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (502, &json!(code)),
            "{command}: {}",
            reply.text()
        );
        assert!(!reply.text().contains("root:"), "{}", reply.text());
        assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
    }
    assert_eq!(call("/liar", "honest", &json!([])).unwrap().status, 200);
    ok(&["ploinkyctl", "undeploy", "localhost", "/liar"]);
}

#[test]
fn an_agent_sees_neither_its_neighbours_nor_the_host() {
    deploy_echo();
    ok(&["ploinkyctl", "deploy", "localhost", "/other", "echo"]);
    let host_pids = inside("ls /proc | grep -c '^[0-9]'");
    assert!(host_pids.trim().parse::<u32>().unwrap() < 40, "{host_pids} processes are visible");
    for attempt in [
        "ls /var/lib/ploinky",
        "cat /proc/1/root/etc/shadow.host",
        "ls /run/podman",
        "ls /run/dbus",
        "ls /run/systemd",
        "cat /sys/fs/cgroup/../../etc/shadow",
        "wget -q -T 2 -O - http://127.0.0.1:8000/healthz",
        "kill -9 2147483",
    ] {
        let said = inside(attempt);
        assert!(
            [
                "o such file",
                "can't",
                "enied",
                "not permitted",
                "nreachable",
                "refused",
                "o such process",
                "not found"
            ]
            .iter()
            .any(|word| said.contains(word)),
            "`{attempt}` said: {said}"
        );
    }
    let maps = sh(
        "for c in ploinky-localhost-echo ploinky-localhost-other; do cat /proc/$(podman inspect --format '{{.State.Pid}}' $c)/uid_map; done",
    );
    let ranges: Vec<(u64, u64)> = maps
        .lines()
        .map(|line| {
            let numbers: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
            assert_eq!((numbers[0], numbers[2]), (0, 65_536), "{line}");
            (numbers[1], numbers[1] + numbers[2])
        })
        .collect();
    assert_eq!(ranges.len(), 2);
    assert!(ranges[0].1 <= ranges[1].0 || ranges[1].1 <= ranges[0].0, "{ranges:?} overlap");
    let status = inside("cat /proc/self/status");
    let capabilities = status
        .lines()
        .find(|line| line.starts_with("CapBnd:"))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let capabilities = u64::from_str_radix(capabilities, 16).unwrap();
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7: capabilities(7).
    assert_eq!(capabilities & !0b1110_1011, 0, "{capabilities:x}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // A setuid file of the agent belongs to nobody on the host and its file system takes no setuid.
    inside("cp /bin/busybox /agent/rootshell && chmod 4755 /agent/rootshell");
    let owner = sh("stat -c %u /var/lib/ploinky/agents/localhost/echo/code/rootshell");
    assert!((1 << 30) <= owner.trim().parse::<u64>().unwrap(), "{owner}");
    inside("rm /agent/rootshell");
    ok(&["ploinkyctl", "undeploy", "localhost", "/other"]);
}
