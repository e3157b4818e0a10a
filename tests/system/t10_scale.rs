//! What grows with what is asked for, and what must not: long uploads, many agents that have nothing to do.
//!
//! `PLOINKY_UPLOAD_GB` (1) and `PLOINKY_AGENTS` (50) make the tests as large as the host allows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::{ok, run, setting, sh, start_four, wait_for};
use crate::http::call;
use crate::t02_agents::deploy_echo;

/// How long idle processes are watched.
const IDLE: Duration = Duration::from_secs(20);
/// Share of one core that all processes of ours may take while nobody asks for anything, in percent: 0.5 with 200
/// agents. This part of it is that of four instances and the supervisor, which look at the clock without agents, too.
const IDLE_PERCENT: f64 = 0.2;
/// This is that of each agent: its runner, and what the janitor does for it.
const IDLE_PERCENT_PER_AGENT: f64 = 0.0015;

/// Sends a form whose one file has `bytes` zeros, which are nowhere but in one block, and gives the answer.
fn upload_zeros(path: &str, bytes: u64) -> String {
    let before = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"zeros\"\r\n\r\n";
    let after = "\r\n--X--\r\n";
    let length = before.len() as u64 + bytes + after.len() as u64;
    let stream = TcpStream::connect("127.0.0.1:8000").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=X\r\nContent-Length: {length}\r\n\r\n{before}"
    );
    writer.write_all(head.as_bytes()).unwrap();
    let block = vec![0; 1 << 20];
    let mut left = bytes;
    while 0 < left {
        let part = left.min(block.len() as u64);
        writer.write_all(&block[..usize::try_from(part).unwrap()]).unwrap();
        left -= part;
    }
    writer.write_all(after.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}{rest}");
    rest.rsplit("\r\n\r\n").next().unwrap().to_owned()
}

#[test]
fn a_long_upload_does_not_grow_the_worker() {
    deploy_echo();
    let gigabytes = setting("PLOINKY_UPLOAD_GB", 1);
    sh(r#"rm -rf /tmp/size && mkdir -p /tmp/size && cd /tmp/size
        printf '%s' '{"name":"size","container":"localhost/ploinky-busybox:1","uploads":{"max":"64G"},
            "commands":{"size":"size.sh"}}' >manifest.json
        printf '%s' 'stat -c %s "$(printf "%s" "$2" | sed "s|.*\"path\":\"||; s|\".*||")"' >size.sh"#);
    ok(&["ploinkyctl", "deploy", "localhost", "/size", "/tmp/size"]);
    let answer = |bytes| upload_zeros("/size/upload?command=size", bytes);
    wait_for("a small upload", || {
        let found: serde_json::Value = serde_json::from_str(&answer(1000)).ok()?;
        (found == json!({"success": true, "data": 1000})).then_some(())
    });
    // The highest that a worker had from now on.
    let workers = "for pid in $(pgrep -x ploinkyd)";
    sh(&format!("{workers}; do echo 5 >/proc/$pid/clear_refs; done"));
    let peak = |name: &str| {
        let text =
            sh(&format!("{workers}; do awk '/^{name}:/ {{print $2}}' /proc/$pid/status; done"));
        text.lines().map(|line| line.parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let before = peak("VmRSS");
    let bytes = gigabytes << 30;
    let started = Instant::now();
    let found: serde_json::Value = serde_json::from_str(&answer(bytes)).unwrap();
    let took = started.elapsed();
    assert_eq!(found, json!({"success": true, "data": bytes}));
    let after = peak("VmHWM");
    assert_eq!(before.len(), after.len());
    let growth = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before));
    let growth = growth.max().unwrap();
    println!(
        "an upload of {gigabytes} GiB in {:.0} s: the worker grew by {growth} kB",
        took.as_secs_f64()
    );
    assert!(growth < 20 << 10, "{before:?} kB became {after:?} kB");
    wait_for("nothing is left of the upload", || {
        sh("ls /var/lib/ploinky/agents/localhost/size/.tasks/files").is_empty().then_some(())
    });
    ok(&["ploinkyctl", "undeploy", "localhost", "/size"]);
}

/// Nanoseconds on a CPU and switches of all threads of each process with this name, since its start.
fn used(name: &str) -> BTreeMap<u64, [u64; 2]> {
    let text = sh(&format!(
        "for pid in $(pgrep -x {name}); do
            ns=$(cat /proc/$pid/task/*/schedstat 2>/dev/null | awk '{{n += $1}} END {{printf \"%d\", n}}')
            switches=$(cat /proc/$pid/task/*/status 2>/dev/null | awk '/ctxt_switches/ {{n += $2}} END {{printf \"%d\", n}}')
            echo $pid $ns $switches
        done"
    ));
    let line = |line: &str| {
        let mut numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap());
        let mut next = || numbers.next().unwrap();
        (next(), [next(), next()])
    };
    text.lines().map(line).collect()
}

/// What the processes that were there all the time used in between.
fn difference(before: &BTreeMap<u64, [u64; 2]>, after: &BTreeMap<u64, [u64; 2]>) -> [u64; 2] {
    let mut sum = [0, 0];
    for (pid, before) in before {
        for (sum, (before, after)) in
            sum.iter_mut().zip(before.iter().zip(after.get(pid).unwrap_or(before)))
        {
            *sum += after - before;
        }
    }
    sum
}

#[test]
fn many_agents_that_have_nothing_to_do_cost_next_to_nothing() {
    // Tasks of other tests that ended are kept for an hour, and the janitor looks at them: that is not idle.
    sh(
        r#"ploinkyctl agent list --json | jq -r '.[] | "\(.domain) \(.path)"' | while read -r domain path; do
        ploinkyctl undeploy "$domain" "$path" </dev/null || exit
    done"#,
    );
    deploy_echo();
    start_four();
    let agents = u32::try_from(setting("PLOINKY_AGENTS", 50)).unwrap();
    // None: the host is too busy to tell.
    let running = || {
        let units = "ploinky-agent-*.service";
        let told =
            run(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", units]);
        let lines = String::from_utf8_lossy(&told.stdout).lines().count();
        told.status.success().then(|| u32::try_from(lines).unwrap())
    };
    let others = running().unwrap();
    let places: Vec<_> = (0..agents)
        .map(|n| json!({"domain": "localhost", "path": format!("/s{n}"), "agent": "echo"}))
        .collect();
    let all = json!(places).to_string();
    sh(&format!(
        "cd /var/lib/ploinky && cp -p config.json /tmp/config.before
        jq '.deployments += {all}' /tmp/config.before >/tmp/config.many
        install -m 644 /tmp/config.many config.json"
    ));
    let started = Instant::now();
    let limit = Duration::from_secs(60) + Duration::from_secs(3) * agents;
    while running().is_none_or(|running| running < others + agents) {
        assert!(started.elapsed() < limit, "{:?} of {others} + {agents} run", running());
        std::thread::park_timeout(Duration::from_secs(1));
    }
    println!("{agents} agents run after {:.0} s", started.elapsed().as_secs_f64());
    let last = format!("/s{}", agents - 1);
    wait_for("the last one answers", || {
        (call(&last, "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    let whole = || {
        let text = sh("awk '/^usage_usec/ {print $2}' /sys/fs/cgroup/cpu.stat");
        text.trim().parse::<f64>().unwrap() / 10_000.0
    };
    // The first sweeps, and what the start left to clean up.
    std::thread::park_timeout(Duration::from_secs(20));
    let names = ["ploinkyd", "ploinky-supervi", "agent-core"];
    let (before, whole_before) = (names.map(used), whole());
    std::thread::park_timeout(IDLE);
    let (after, whole_after) = (names.map(used), whole());
    let mut sum = 0.0;
    for (name, (before, after)) in names.iter().zip(before.iter().zip(&after)) {
        let [ns, switches] = difference(before, after);
        #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
        let percent = ns as f64 / IDLE.as_nanos() as f64 * 100.0;
        let switches = switches / IDLE.as_secs();
        println!(
            "idle with {agents} agents: {name} {percent:.3} % of a core, {switches} switches/s"
        );
        sum += percent;
    }
    println!(
        "idle with {agents} agents: {sum:.3} % of a core; the whole host {:.1} %",
        (whole_after - whole_before) / IDLE.as_secs_f64()
    );
    let pss = sh(r#"for name in ploinkyd ploinky-supervi agent-core; do
        for pid in $(pgrep -x $name); do awk '/^Pss:/ {print $2}' /proc/$pid/smaps_rollup; done |
            awk -v name=$name '{n += $1} END {printf "%s %d kB (%d); ", name, n, NR}'
    done"#);
    println!("PSS: {pss}");
    sh("install -m 644 /tmp/config.before /var/lib/ploinky/config.json");
    let started = Instant::now();
    while running() != Some(others) {
        assert!(started.elapsed() < limit, "{:?} agents run still", running());
        std::thread::park_timeout(Duration::from_secs(1));
    }
    let most = IDLE_PERCENT + IDLE_PERCENT_PER_AGENT * f64::from(agents);
    assert!(sum < most, "{sum:.3} % of a core, {most:.3} % are allowed");
}
