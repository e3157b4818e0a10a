//! What Podman is told, as Podman's own generator and systemd's own rules make it from our text.
//!
//! The oracle is the argument list, not the text: a value that looks harmless in a unit file may still become
//! two words, an option or an expanded specifier on the way. Needs the generator of Podman 5.0 or later at its
//! usual place or named by `PLOINKY_QUADLET_GENERATOR`; `tests/check system` runs it inside the testbed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ploinky_contract::paths::AgentDir;
use ploinky_contract::{AgentId, Deployment, Manifest, Service};
use ploinky_supervisor::quadlet::AgentUnit;

/// The one word in which Quadlet itself uses specifiers.
const CID_FILE: &str = "--cidfile=%t/%N.cid";

/// What a stranger tries in any field.
const HOSTILE: [&str; 33] = [
    "\n[Service]\nExecStartPre=/bin/sh",
    "\nPodmanArgs=--privileged",
    "\r\nPodmanArgs=--privileged",
    " --privileged",
    "--privileged",
    "-v",
    "%h",
    "%n %N %t %%",
    "%",
    "$HOME",
    "${X}",
    "$$ $",
    "$",
    "a\\",
    "\\",
    "a;b",
    ";",
    " ; /bin/sh",
    "#",
    "# x",
    "\"",
    "'",
    "a \"b\" 'c'",
    "\\x0a",
    "\\n\\t\\s",
    "@",
    "a\u{b}\u{1}\u{7f}b",
    "a\u{2028}b\u{2029}c",
    "ünïcode 😀",
    "\u{202e}rtl",
    "",
    " ",
    "\t leading and trailing \n",
];

fn generator() -> PathBuf {
    let standard = Path::new("/usr/lib/systemd/system-generators/podman-system-generator");
    let path = std::env::var_os("PLOINKY_QUADLET_GENERATOR")
        .map_or_else(|| standard.to_owned(), PathBuf::from);
    assert!(path.exists(), "there is no {}: install Podman 5.0 or later", path.display());
    path
}

/// The text of the agent's unit with this manifest.
fn unit(manifest: &serde_json::Value) -> String {
    let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    let Service::Container(container) = &manifest.service else { panic!("a container") };
    let deployment = Deployment {
        domain: "[::1]".parse().unwrap(),
        path: "/a_b/c-d".parse().unwrap(),
        agent: manifest.name.clone(),
        repository: None,
        release: None,
        enabled: true,
        stopped: false,
    };
    let id = AgentId::new(&deployment.domain, &deployment.path).unwrap();
    AgentUnit {
        id: &id,
        deployment: &deployment,
        container,
        dir: &AgentDir::new("/var/lib/ploinky/agents/ip6_/a_b-c--d"),
        uid_first: 1_073_807_360,
        runs: true,
    }
    .text()
    .unwrap()
}

/// The service that the generator makes from `text`.
fn service(generator: &Path, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let name = "ploinky-agent-x.container";
    std::io::Write::write_all(
        &mut std::fs::File::create(dir.path().join(name)).unwrap(),
        text.as_bytes(),
    )
    .unwrap();
    #[expect(clippy::disallowed_methods, reason = "the generator is what is asked")]
    let mut command = std::process::Command::new(generator);
    let output = command.arg("--dryrun").env("QUADLET_UNIT_DIRS", dir.path()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}\n{text}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("---ploinky-agent-x.service---").count(), 1, "{text}");
    text
}

/// The values of a key of the section `[Service]`.
fn values<'t>(service: &'t str, key: &str) -> Vec<&'t str> {
    let section = service.split("\n[Service]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let prefix = format!("{key}=");
    section.split('\n').filter_map(|line| line.strip_prefix(&prefix)).collect()
}

/// The words that systemd makes of a command line (systemd.service(5), "Command lines").
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        if chars.peek().is_none() {
            return words;
        }
        let mut word = Vec::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '"' | '\'') => quote = Some(c),
                (None, c) if c.is_ascii_whitespace() => break,
                (_, '\\') => unescape(&mut chars, &mut word),
                (_, c) => word.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        assert_eq!(quote, None, "a quote does not end: {line}");
        let word = String::from_utf8(word).unwrap();
        assert_ne!(word, ";", "a second command: {line}");
        words.push(expand(&word));
    }
}

/// One C escape, after its backslash (`cunescape_one` of systemd).
fn unescape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut Vec<u8>) {
    let plain = match chars.next().unwrap() {
        'a' => 7,
        'b' => 8,
        't' => 9,
        'n' => 10,
        'v' => 11,
        'f' => 12,
        'r' => 13,
        's' => b' ',
        c @ ('\\' | '"' | '\'') => u8::try_from(c).unwrap(),
        'x' => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).unwrap()
        }
        other => panic!("the escape {other:?} is not known to this test"),
    };
    word.push(plain);
}

/// Specifiers and variables: both have to be doubled, everything else would be replaced.
fn expand(word: &str) -> String {
    if word == CID_FILE {
        return word.to_owned();
    }
    let mut expanded = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        if c == '%' || c == '$' {
            assert_eq!(chars.next(), Some(c), "an expansion in {word}");
        }
        expanded.push(c);
    }
    expanded
}

/// A command line as Podman parses it: Quadlet writes the options in an order that changes from run to run.
#[derive(Debug, Eq, PartialEq)]
struct Argv {
    options: BTreeMap<String, Vec<String>>,
    positional: Vec<String>,
}

/// Options without a value of their own.
const FLAGS: [&str; 6] = ["--replace", "--rm", "--init", "--read-only", "--read-only-tmpfs", "-d"];

impl Argv {
    fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut argv = Self { options: BTreeMap::new(), positional: Vec::new() };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') || 2 < argv.positional.len() {
                argv.positional.push(word);
            } else if word.contains('=') || FLAGS.contains(&word.as_str()) {
                argv.options.entry(word).or_default();
            } else {
                argv.options.entry(word).or_default().push(words.next().unwrap());
            }
        }
        argv
    }

    /// What the generator makes of `text`.
    fn generated(generator: &Path, text: &str) -> Self {
        let service = service(generator, text);
        let lines = values(&service, "ExecStart");
        assert_eq!(lines.len(), 1, "{service}");
        let argv = Self::new(words(lines[0]));
        // Who serves no queue in memory gets none.
        let has_lane =
            argv.options["-v"].iter().any(|volume| volume.contains("/run/ploinky/sync:"));
        let before: &[&str] = if has_lane { &[MAKE_LANE] } else { &[] };
        assert_eq!(values(&service, "ExecStartPre"), before);
        argv
    }

    /// The unit of a manifest with nothing but a name and an image.
    fn plain() -> Self {
        Self::new(DEFAULT.split_ascii_whitespace().map(str::to_owned))
    }

    /// Takes the environment out.
    fn split_env(mut self) -> (Self, BTreeMap<String, String>) {
        let pairs = self.options.remove("--env").unwrap_or_default();
        let env = pairs.iter().map(|pair| pair.split_once('=').unwrap());
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = env.collect::<BTreeMap<_, _>>();
        assert_eq!(env.len(), pairs.len(), "a variable is there twice");
        (self, env)
    }
}

fn with_env(env: &BTreeMap<String, String>) -> serde_json::Value {
    serde_json::json!({"name": "x", "container": "localhost/x:1", "env": env})
}

const MAKE_LANE: &str =
    "+/usr/lib/ploinky/ploinky-supervisor make-lane ip6___1-a_b-c--d 1073807360";
const LANE: &str = "/run/ploinky/lane/ip6___1-a_b-c--d:/run/ploinky/sync:nosuid,nodev,noexec";

const DATA: &str = "/var/lib/ploinky/agents/ip6_/a_b-c--d/data:/agent/data:nosuid,nodev,noexec";

const DEFAULT: &str = "/usr/bin/podman run --name ploinky-ip6___1-a_b-c--d --cidfile=%t/%N.cid --replace --rm \
    --log-driver journald --cgroups=split --pull never --pids-limit 256 --entrypoint [\"/agentCore/agent-core\"] \
    --workdir /agent --stop-timeout 10 --tmpfs /root:size=256m,mode=0700 --ulimit nofile=4096:8192 \
    --ulimit core=0 --init --read-only-tmpfs --network none --sdnotify=container -d \
    --security-opt=no-new-privileges --cap-drop all --cap-add cap_chown --cap-add cap_dac_override \
    --cap-add cap_fowner --cap-add cap_setuid --cap-add cap_setgid --cap-add cap_kill --read-only --user 0:0 \
    --uidmap 0:1073807360:65536 --gidmap 0:1073807360:65536 \
    -v /var/lib/ploinky/agents/ip6_/a_b-c--d/code:/agent:nosuid,nodev \
    -v /var/lib/ploinky/agents/ip6_/a_b-c--d/.tasks:/agent/.tasks:nosuid,nodev,noexec \
    -v /run/ploinky/lane/ip6___1-a_b-c--d:/run/ploinky/sync:nosuid,nodev,noexec \
    -v /usr/lib/ploinky/agentcore:/agentCore:ro,nosuid,nodev \
    -v /var/lib/ploinky/agents/ip6_/a_b-c--d/manifest.json:/run/ploinky/manifest.json:ro,nosuid,nodev,noexec \
    --label io.ploinky.agent=x --label io.ploinky.domain=[::1] --label io.ploinky.path=/a_b/c-d \
    --health-cmd none --health-interval disable localhost/x:1";

#[test]
fn the_default_unit_gives_exactly_these_arguments() {
    let generator = generator();
    let text = unit(&with_env(&BTreeMap::new()));
    assert_eq!(Argv::generated(&generator, &text), Argv::plain());
    let service = service(&generator, &text);
    for (key, expected) in [
        ("Slice", "ploinky-agents.slice"),
        ("Restart", "always"),
        ("MemoryMax", "536870912"),
        ("MemorySwapMax", "0"),
        ("CPUQuota", "100%"),
        ("TasksMax", "300"),
        ("Type", "notify"),
        ("NotifyAccess", "all"),
        ("WatchdogSec", "90"),
        ("WatchdogSignal", "SIGKILL"),
        ("KillMode", "control-group"),
        ("ExecStop", "/usr/bin/podman rm -v -f -i --cidfile=%t/%N.cid"),
    ] {
        assert_eq!(values(&service, key), [expected], "{key}");
    }
    assert!(service.contains("\n[Install]\nWantedBy=ploinky.target\n"), "{service}");
    assert!(!service.contains("network-online"), "{service}");
}

#[test]
fn a_data_directory_is_mounted_where_the_manifest_asks_for_it_and_nothing_else_changes() {
    let generator = generator();
    let text = unit(&serde_json::json!({"name": "x", "container": "localhost/x:1", "data": true}));
    let mut expected = Argv::plain();
    expected.options.get_mut("-v").unwrap().insert(2, DATA.to_owned());
    assert_eq!(Argv::generated(&generator, &text), expected);
    let text = unit(&serde_json::json!({"name": "x", "container": "localhost/x:1", "data": false}));
    assert_eq!(Argv::generated(&generator, &text), Argv::plain());
}

#[test]
fn hostile_values_of_variables_arrive_as_they_are() {
    let generator = generator();
    let mut env: BTreeMap<String, String> =
        HOSTILE.iter().enumerate().map(|(i, v)| (format!("V{i}"), (*v).to_owned())).collect();
    env.insert("LONG".to_owned(), "\"%$\\".repeat(1024));
    for (name, range) in [("ASCII", 1..0x80), ("LATIN", 0xa0..0x300), ("BREAKS", 0x2000..0x2100)] {
        env.insert(name.to_owned(), range.filter_map(char::from_u32).collect());
    }
    let (rest, found) = Argv::generated(&generator, &unit(&with_env(&env))).split_env();
    assert_eq!(found, env);
    assert_eq!(rest, Argv::plain());
}

#[test]
fn every_character_alone_arrives_as_it_is() {
    let generator = generator();
    for chunk in (1..0x80).collect::<Vec<u32>>().chunks(64) {
        let around = |code: &u32| {
            let c = char::from_u32(*code).unwrap();
            [(format!("A{code}"), c.to_string()), (format!("B{code}"), format!("{c}x{c}{c}"))]
        };
        let env: BTreeMap<String, String> = chunk.iter().flat_map(around).collect();
        let (rest, found) = Argv::generated(&generator, &unit(&with_env(&env))).split_env();
        assert_eq!(found, env);
        assert_eq!(rest, Argv::plain());
    }
}

#[test]
fn hostile_words_of_a_program_arrive_as_they_are() {
    let generator = generator();
    let program =
        ["/bin/x", "-c", "$HOME %h", ";", "", "a 'b' \"c\"", "\\", "é\u{2028}", "#", "@x"];
    let run = program.map(|word| format!("'{}'", word.replace('\'', "'\\''"))).join(" ");
    let text = unit(&serde_json::json!({
        "name": "x", "container": "localhost/x:1", "run": run, "health": {"liveness": run}
    }));
    let mut found = Argv::generated(&generator, &text);
    let mut expected = Argv::plain();
    let words = found.options.remove("--entrypoint").unwrap();
    assert_eq!(words.len(), 1);
    let words = serde_json::from_str::<Vec<String>>(&words[0]).unwrap();
    assert_eq!(words, [&["/agentCore/agent-core", "host", "--"], &program[..]].concat());
    expected.options.remove("--entrypoint");
    expected.options.get_mut("-v").unwrap().retain(|volume| volume != LANE);
    assert_eq!(found, expected);
}

#[test]
fn agent_core_by_its_own_name_has_nothing_in_front_of_it() {
    let generator = generator();
    let text = unit(&serde_json::json!({
        "name": "x", "container": "localhost/x:1", "run": "/agentCore/agent-core"
    }));
    assert_eq!(Argv::generated(&generator, &text), Argv::plain());
}
