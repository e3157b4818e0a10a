//! The owner of the desired state over a real directory, with a service manager and a Podman in memory.
//!
//! A crash is a supervisor that is dropped at a point where it would wait; its successor finds the same
//! directories and the same service manager.

use std::path::PathBuf;
use std::time::Duration;

use ploinky_contract::limits::UID_RANGE_FIRST;
use ploinky_contract::paths::RuntimeDir;
use ploinky_contract::{AgentName, Config};
use ploinky_control::CommandTerms;

use super::handle::Order;
use super::*;
use crate::agent_tree::Source;
use crate::podman::fake::Fake;
use crate::state_file;
use crate::systemd::sim::Sim;

/// Longest wait for something that happens at once.
const LIMIT: Duration = Duration::from_secs(10);
const IMAGE: &str = "localhost/x:1";
const UNIT: &str = "ploinky-agent-localhost-a.service";

/// A host that outlives its supervisors.
struct World {
    dir: tempfile::TempDir,
    sim: Sim,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state", "run", "run/sync", "quadlet", "installed"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let sim = Sim::new(&dir.path().join("quadlet"));
        Self { dir, sim }
    }

    fn host(&self) -> Host {
        let accounts = if rustix::process::geteuid().is_root() {
            Accounts::of(991, 991)
        } else {
            Accounts::kept()
        };
        Host {
            state: StateDir::new(self.dir.path().join("state")),
            lanes: Lanes::new(RuntimeDir::new(self.dir.path().join("run")), accounts),
            installed_agents: self.dir.path().join("installed"),
            accounts,
            units: UnitStore::new(self.dir.path().join("quadlet")),
            systemd: Arc::new(self.sim.clone()),
            podman: Arc::new(Fake::new(&[IMAGE, "localhost/broken:1"])),
        }
    }

    /// A new supervisor, before it has looked around.
    fn supervisor(&self) -> Lifecycle {
        let host = self.host();
        let agents = agent_tree::list(&host.state, host.accounts).unwrap().agents;
        let store = ConfigStore::open(host.state.config(), !agents.is_empty()).unwrap();
        Lifecycle::new(host, store).0
    }

    /// A new supervisor that has looked around.
    async fn started(&self) -> Lifecycle {
        let mut supervisor = self.supervisor();
        supervisor.reconcile().await;
        supervisor
    }

    fn config(&self) -> Config {
        let text = state_file::read(&self.path("state/config.json"), 1 << 20).unwrap().unwrap();
        Config::parse(&text).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        edit(&mut config);
        state_file::write(&self.path("state/config.json"), config.to_json().as_bytes(), 0o644)
            .unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn install(&self, agent: &str, manifest: &str) {
        let dir = self.path("installed").join(agent);
        std::fs::create_dir_all(&dir).unwrap();
        state_file::write(&dir.join("manifest.json"), manifest.as_bytes(), 0o644).unwrap();
    }

    /// Everything that could be left of an agent: its files below the state, units, ranges.
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.sim.units().into_iter().map(|(unit, _)| unit).collect();
        for dir in ["state/agents", "run/sync", "run/lane", "quadlet"] {
            for entry in std::fs::read_dir(self.path(dir)).into_iter().flatten() {
                left.push(entry.unwrap().path().display().to_string());
            }
        }
        let map = UidMap::load(&self.path("state/uidmap.json"), false).unwrap();
        left.extend(map.agents().map(ToString::to_string));
        left
    }

    /// What is true of the agent at `/a`: its code, whether it runs, what stands beside its code.
    fn agent(&self) -> (String, String, Vec<String>) {
        let root = self.path("state/agents/localhost/a");
        let code = std::fs::read_to_string(root.join("code/version")).unwrap();
        let state = self.sim.units().into_iter().find(|(unit, _)| unit == UNIT).unwrap().1;
        let mut names: Vec<String> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (code, state, names)
    }
}

fn at(path: &str) -> Place {
    Place { domain: "localhost".parse().unwrap(), path: path.parse().unwrap() }
}

fn manifest(image: &str) -> String {
    let own = r#"{"run":"cat","timeout":7,"retry":{"attempts":3,"backoff":0.5,"maxBackoff":9}}"#;
    format!(
        r#"{{"name":"a","container":"{image}","commands":{{"v":"cat version","w":{own}}},"timeout":90}}"#
    )
}

fn archive(files: &[(&str, &str)]) -> Change {
    let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap());
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut file = builder.into_inner().unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let name: AgentName = "plain".parse().unwrap();
    Change::Deploy(Order { source: Source::Archive(file), name })
}

fn release(version: &str, image: &str) -> Change {
    archive(&[("manifest.json", &manifest(image)), ("version", version)])
}

async fn change(supervisor: &mut Lifecycle, path: &str, change: Change) -> Result<(), String> {
    let place = at(path);
    let done = match change {
        Change::Deploy(order) => supervisor.deploy(&place, order).await,
        Change::Undeploy => supervisor.undeploy(&place).await,
        Change::Start => supervisor.set_stopped(&place, false).await,
        Change::Stop => supervisor.set_stopped(&place, true).await,
        Change::Restart => supervisor.restart(&place).await,
    };
    done.map_err(|error| error.chain())
}

/// Lets the supervisor work until `died` is told, then kills it.
async fn killed(mut supervisor: Lifecycle, died: Arc<Notify>, path: &str, what: Change) {
    tokio::select! {
        biased;
        () = died.notified() => {}
        done = change(&mut supervisor, path, what) => panic!("it was not stopped: {done:?}"),
        () = tokio::time::sleep(LIMIT) => panic!("it did not get there"),
    }
}

/// The same, at `point`.
async fn killed_at(point: Point, mut supervisor: Lifecycle, path: &str, what: Change) {
    let died = Arc::new(Notify::new());
    supervisor.dies_at = Some((point, Arc::clone(&died)));
    killed(supervisor, died, path, what).await;
}

const WHOLE: [&str; 3] = [".tasks", "code", "manifest.json"];

#[tokio::test]
async fn what_cannot_be_deployed_is_refused_and_leaves_nothing() {
    let world = World::new();
    let mut supervisor = world.started().await;
    let before = world.config();
    world.install("liar", r#"{"name":"other","container":"localhost/x:1"}"#);
    let installed = |name: &str| {
        let name: AgentName = name.parse().unwrap();
        let source = Source::Installed(world.path("installed").join(name.as_str()));
        Change::Deploy(Order { source, name })
    };
    for (path, order, expected) in [
        (
            "/a",
            release("1", "localhost/missing:1"),
            "build it with `podman build --tag localhost/missing:1 DIR`",
        ),
        ("/", release("1", IMAGE), "cannot be deployed at `/`"),
        ("/a", archive(&[("x", "y")]), "can be deployed at `/` only"),
        ("/a", archive(&[("manifest.json", "{")]), "manifest.json was refused: `.`: EOF"),
        ("/a", archive(&[("manifest.json", r#"{"name":"a"}"#)]), "`container`: is missing"),
        ("/a", archive(&[(".tasks/x", "y")]), "`.tasks/x` is a name that belongs to Ploinky"),
        ("/a", installed("nothing"), "there is no installed agent `nothing`"),
        ("/a", installed("liar"), "calls itself `other`"),
        ("/a", release("1", "localhost/broken:1"), "did not start"),
        (
            "/a",
            archive(&[(
                "manifest.json",
                &format!(r#"{{"name":"a","container":"{IMAGE}","env":{{"A":"\u0085"}}}}"#),
            )]),
            "`Environment=A=` cannot hold the character",
        ),
    ] {
        world.sim.fail("start image localhost/broken:1");
        let error = change(&mut supervisor, path, order).await.unwrap_err();
        assert!(error.contains(expected), "gave: {error}\nwant: {expected}");
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{error}");
        assert_eq!(world.config(), before);
    }
    for verb in [Change::Undeploy, Change::Start, Change::Stop, Change::Restart] {
        let error = change(&mut supervisor, "/a", verb).await.unwrap_err();
        assert_eq!(error, "there is no deployment at localhost/a");
    }
}

#[tokio::test]
async fn a_failed_start_tells_unit_result_status_and_where_to_look() {
    let world = World::new();
    let mut supervisor = world.started().await;
    world.sim.fail("start image localhost/broken:1");
    let error =
        change(&mut supervisor, "/a", release("1", "localhost/broken:1")).await.unwrap_err();
    assert_eq!(
        error,
        format!(
            "the unit {UNIT} did not start (the job ended with `failed`); nothing of the deployment is left: \
             result `exit-code`, exit status 127; see `journalctl -u {UNIT}`"
        )
    );
}

#[tokio::test]
async fn a_deployment_lives_through_its_verbs() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    assert_eq!(
        world.agent(),
        ("1".to_owned(), "active".to_owned(), WHOLE.map(str::to_owned).to_vec())
    );
    let deployment = world.config().deployments.remove(0);
    assert_eq!(deployment.repository.as_ref().map(AgentName::as_str), Some("local"));
    assert_eq!(deployment.release.as_ref().map(String::len), Some(16));

    change(&mut supervisor, "/a", Change::Stop).await.unwrap();
    assert_eq!(world.agent().1, "inactive");
    assert!(world.config().deployments[0].stopped);
    let unit = || {
        std::fs::read_to_string(world.path("quadlet/ploinky-agent-localhost-a.container")).unwrap()
    };
    assert!(!unit().contains("[Install]"));
    let refused = change(&mut supervisor, "/a", Change::Restart).await.unwrap_err();
    assert_eq!(refused, "localhost/a is stopped; start it instead");
    // A stopped agent can be replaced, and stays stopped.
    change(&mut supervisor, "/a", release("2", IMAGE)).await.unwrap();
    assert_eq!((world.agent().0.as_str(), world.agent().1.as_str()), ("2", "inactive"));

    change(&mut supervisor, "/a", Change::Start).await.unwrap();
    assert_eq!(world.agent().1, "active");
    assert!(unit().contains("[Install]\nWantedBy=ploinky.target\n"));
    change(&mut supervisor, "/a", Change::Restart).await.unwrap();
    world.sim.forget();
    change(&mut supervisor, "/a", Change::Start).await.unwrap();
    assert_eq!(world.sim.history(), Vec::<String>::new(), "an agent that runs was touched");

    change(&mut supervisor, "/a", Change::Undeploy).await.unwrap();
    assert_eq!(world.leftovers(), Vec::<String>::new());
    assert_eq!(world.config().deployments, []);
}

#[tokio::test]
async fn a_domain_that_is_new_is_listed_and_one_that_is_disabled_does_not_run() {
    let world = World::new();
    let mut supervisor = world.started().await;
    let place = Place { domain: "x.org".parse().unwrap(), path: "/a".parse().unwrap() };
    let Change::Deploy(order) = release("1", IMAGE) else { panic!() };
    supervisor.deploy(&place, order).await.unwrap();
    assert_eq!(world.config().domains.len(), 2);
    world.edit(|config| config.domains[1].enabled = false);
    supervisor.store.look();
    supervisor.reconcile().await;
    assert_eq!(
        world.sim.units(),
        [("ploinky-agent-x.org-a.service".to_owned(), "inactive".to_owned())]
    );
    let refused = supervisor.set_stopped(&place, false).await.unwrap_err();
    assert!(refused.to_string().contains("is disabled"), "{refused}");
}

#[tokio::test]
async fn a_release_that_does_not_start_is_rolled_back() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let before = (world.config(), world.agent());
    world.sim.fail("start image localhost/broken:1");
    let error =
        change(&mut supervisor, "/a", release("2", "localhost/broken:1")).await.unwrap_err();
    assert!(error.contains("did not restart"), "{error}");
    assert!(error.contains("; the release from before is in force again: result"), "{error}");
    assert!(error.ends_with(&format!("see `journalctl -u {UNIT}`")), "{error}");
    assert_eq!((world.config(), world.agent()), before);
    // What is refused before anything was changed does not even touch the unit.
    world.sim.forget();
    change(&mut supervisor, "/a", release("3", "localhost/missing:1")).await.unwrap_err();
    assert_eq!((world.config(), world.agent()), before);
    assert_eq!(world.sim.history(), Vec::<String>::new());
}

#[tokio::test]
async fn the_same_release_that_does_not_start_again_is_rolled_back_too() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let written = world.path("state/agents/localhost/a/code/written");
    state_file::write(&written, b"by the agent", 0o644).unwrap();
    world.sim.fail(&format!("restart {UNIT}"));
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap_err();
    assert!(written.exists(), "the code from before is lost");
    assert_eq!(world.agent().2, WHOLE);
}

#[tokio::test]
async fn what_cannot_be_undone_is_told_kept_and_undone_later() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    // A directory where manifest.json is staged: it cannot be written, as on a disk that is full.
    let blocker = world.path("state/agents/localhost/a/.manifest.json.tmp");
    let call = format!("restart {UNIT}");
    world.sim.fail(&call);
    world.sim.block(&call, &blocker);
    world.sim.forget();
    let error = change(&mut supervisor, "/a", release("2", IMAGE)).await.unwrap_err();
    assert!(error.contains("; the release from before cannot be put back yet: result"), "{error}");
    assert!(!supervisor.problems.is_empty(), "nobody is told");
    assert_eq!(world.sim.history(), std::slice::from_ref(&call), "a mixed release was started");
    world.sim.heal();
    let error = change(&mut supervisor, "/a", release("3", IMAGE)).await.unwrap_err();
    assert!(error.starts_with("cannot replace the code in "), "{error}");
    std::fs::remove_dir(&blocker).unwrap();
    supervisor.reconcile().await;
    assert_eq!(supervisor.problems, BTreeMap::new());
    let expected = ("1".to_owned(), "active".to_owned(), WHOLE.map(str::to_owned).to_vec());
    assert_eq!(world.agent(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_at_once_did_not_start() {
    let world = World::new();
    let mut supervisor = world.started().await;
    let running = format!(r#"{{"name":"a","container":"{IMAGE}","run":"/bin/server"}}"#);
    world.sim.dies_after_start(true);
    let order = archive(&[("manifest.json", &running), ("version", "1")]);
    let error = change(&mut supervisor, "/a", order).await.unwrap_err();
    assert!(error.contains("its program ended again within 2 s"), "{error}");
    assert!(error.contains("; nothing of the deployment is left: result"), "{error}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world.sim.dies_after_start(false);
    let order = archive(&[("manifest.json", &running), ("version", "1")]);
    change(&mut supervisor, "/a", order).await.unwrap();
    assert_eq!(world.agent().1, "active");
}

#[tokio::test]
async fn a_static_agent_needs_no_unit_and_no_range() {
    let world = World::new();
    let mut supervisor = world.started().await;
    world.sim.forget();
    change(&mut supervisor, "/", archive(&[("index.html", "hi")])).await.unwrap();
    let code = world.path("state/agents/localhost/_root/code/index.html");
    assert_eq!(std::fs::read_to_string(&code).unwrap(), "hi");
    change(&mut supervisor, "/", archive(&[("index.html", "again")])).await.unwrap();
    assert_eq!(std::fs::read_to_string(&code).unwrap(), "again");
    assert_eq!(world.config().deployments[0].agent.as_str(), "plain");
    change(&mut supervisor, "/", Change::Stop).await.unwrap();
    assert!(world.config().deployments[0].stopped);
    let refused = change(&mut supervisor, "/", Change::Restart).await.unwrap_err();
    assert!(refused.contains("is stopped"), "{refused}");
    assert_eq!(world.sim.history(), Vec::<String>::new());
    assert!(!world.path("state/uidmap.json").exists());
    change(&mut supervisor, "/", Change::Undeploy).await.unwrap();
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_deployment_that_is_cut_off_happened_whole_or_not_at_all() {
    for point in [Point::Staged, Point::Placed, Point::Started, Point::Committed] {
        let world = World::new();
        let supervisor = world.started().await;
        killed_at(point, supervisor, "/a", release("1", IMAGE)).await;
        let successor = world.started().await;
        assert_eq!(successor.problems, BTreeMap::new(), "{point:?}");
        if point == Point::Committed {
            assert_eq!(world.agent().1, "active", "{point:?}");
            assert_eq!(world.agent().2, WHOLE, "{point:?}");
        } else {
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{point:?}");
            assert_eq!(world.config().deployments, [], "{point:?}");
        }
    }
}

#[tokio::test]
async fn a_replacement_that_is_cut_off_happened_whole_or_not_at_all() {
    for point in [Point::Staged, Point::Placed, Point::Started, Point::Committed] {
        let world = World::new();
        let mut supervisor = world.started().await;
        change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
        killed_at(point, supervisor, "/a", release("2", IMAGE)).await;
        world.sim.forget();
        let successor = world.started().await;
        assert_eq!(successor.problems, BTreeMap::new(), "{point:?}");
        if matches!(point, Point::Placed | Point::Started) {
            // What ran has mounted code that is gone.
            let history = world.sim.history();
            assert!(history.contains(&format!("restart {UNIT}")), "{point:?}: {history:?}");
        }
        let (code, state, names) = world.agent();
        let expected = if point == Point::Committed { "2" } else { "1" };
        assert_eq!((code.as_str(), state.as_str()), (expected, "active"), "{point:?}");
        assert_eq!(names, WHOLE, "{point:?}");
        assert_eq!(world.config().deployments.len(), 1, "{point:?}");
    }
}

#[tokio::test]
async fn a_supervisor_that_dies_while_systemd_works_is_succeeded() {
    for call in ["reload", &format!("start {UNIT}")] {
        let world = World::new();
        let supervisor = world.started().await;
        world.sim.hang(call);
        killed(supervisor, Arc::clone(&world.sim.hung), "/a", release("1", IMAGE)).await;
        world.sim.heal();
        let successor = world.started().await;
        assert_eq!(successor.problems, BTreeMap::new(), "{call}");
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{call}");
    }
    for call in ["reload", &format!("stop {UNIT}")] {
        let world = World::new();
        let mut supervisor = world.started().await;
        change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
        world.sim.hang(call);
        killed(supervisor, Arc::clone(&world.sim.hung), "/a", Change::Undeploy).await;
        world.sim.heal();
        let successor = world.started().await;
        assert_eq!(successor.problems, BTreeMap::new(), "{call}");
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{call}");
    }
}

#[tokio::test]
async fn a_reload_that_failed_is_repeated() {
    let world = World::new();
    let mut supervisor = world.started().await;
    world.install("a", &manifest(IMAGE));
    world.edit(|config| {
        let text = r#"{"domain":"localhost","path":"/a","agent":"a"}"#;
        config.deployments.push(serde_json::from_str(text).unwrap());
    });
    supervisor.store.look();
    world.sim.fail("reload");
    supervisor.reconcile().await;
    assert_eq!(world.sim.units(), []);
    world.sim.heal();
    supervisor.reconcile().await;
    assert_eq!(world.sim.units(), [(UNIT.to_owned(), "active".to_owned())]);
    world.sim.forget();
    supervisor.reconcile().await;
    assert_eq!(world.sim.history(), Vec::<String>::new());
}

#[tokio::test]
async fn a_unit_that_runs_with_an_old_text_is_restarted_by_the_successor() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let unit = world.path("quadlet/ploinky-agent-localhost-a.container");
    state_file::write(&unit, b"[Install]\n", 0o644).unwrap();
    world.sim.boot();
    // Dies after the file, before systemd reads it.
    world.sim.fail("reload");
    world.sim.hang("reload");
    tokio::select! {
        biased;
        () = world.sim.hung.notified() => {}
        () = supervisor.reconcile() => panic!("it was not stopped"),
    }
    drop(supervisor);
    world.sim.heal();
    world.sim.forget();
    drop(world.started().await);
    assert_eq!(world.sim.history(), ["reload".to_owned(), format!("restart {UNIT}")]);
}

#[tokio::test]
async fn a_removal_that_is_cut_off_is_finished() {
    for point in [Point::Unlisted, Point::UnitGone, Point::TreeGone] {
        let world = World::new();
        let mut supervisor = world.started().await;
        change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
        killed_at(point, supervisor, "/a", Change::Undeploy).await;
        let successor = world.started().await;
        assert_eq!(successor.problems, BTreeMap::new(), "{point:?}");
        assert_eq!(world.leftovers(), Vec::<String>::new(), "{point:?}");
        assert_eq!(world.config().deployments, [], "{point:?}");
    }
}

#[tokio::test]
async fn a_removal_that_fails_is_told_and_tried_again() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    world.sim.fail(&format!("stop {UNIT}"));
    let error = change(&mut supervisor, "/a", Change::Undeploy).await.unwrap_err();
    assert!(error.contains("did not stop"), "{error}");
    assert_eq!(world.config().deployments, []);
    supervisor.reconcile().await;
    assert!(!supervisor.problems.is_empty());
    assert!(world.path("state/agents/localhost/a").exists(), "a tree in use was removed");
    world.sim.heal();
    supervisor.reconcile().await;
    assert_eq!(supervisor.problems, BTreeMap::new());
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn deployments_written_by_hand_are_carried_out() {
    let world = World::new();
    let mut supervisor = world.started().await;
    world.install("a", &manifest(IMAGE));
    world.install("site", r#"{"name":"site","static":"."}"#);
    let listed = |path: &str, agent: &str| Deployment {
        domain: "localhost".parse().unwrap(),
        path: path.parse().unwrap(),
        agent: agent.parse().unwrap(),
        repository: None,
        release: None,
        enabled: true,
        stopped: false,
    };
    world.edit(|config| {
        config.deployments = vec![
            listed("/a", "a"),
            listed("/", "site"),
            listed("/b", "nothing"),
            listed("/c", "site"),
            Deployment { repository: Some("local".parse().unwrap()), ..listed("/d", "mine") },
        ];
    });
    supervisor.store.look();
    supervisor.reconcile().await;
    let problems: Vec<(String, String)> =
        supervisor.problems.iter().map(|(id, text)| (id.to_string(), text.clone())).collect();
    let expected = [
        ("localhost-b", "there is no installed agent `nothing`"),
        ("localhost-c", "can be deployed at `/` only"),
        (
            "localhost-d",
            "the code of `mine` is not on this host; deploy it again with `ploinkyctl deploy localhost /d DIRECTORY`",
        ),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for ((id, text), (expected_id, expected)) in problems.iter().zip(expected) {
        assert_eq!(id, expected_id);
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(world.sim.units(), [(UNIT.to_owned(), "active".to_owned())]);
    assert!(world.path("state/agents/localhost/_root/code/manifest.json").exists());
    assert!(world.config().deployments[0].release.is_some());
    // The second look finds nothing to do.
    let config = world.config();
    world.sim.forget();
    supervisor.store.look();
    supervisor.reconcile().await;
    assert_eq!((world.sim.history(), world.config()), (vec![], config));

    world.edit(|config| config.deployments[0].enabled = false);
    supervisor.store.look();
    supervisor.reconcile().await;
    assert_eq!(world.sim.units(), [(UNIT.to_owned(), "inactive".to_owned())]);
    world.edit(|config| config.deployments.clear());
    supervisor.store.look();
    supervisor.reconcile().await;
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn systemd_hears_of_settings_once() {
    let world = World::new();
    let mut supervisor = world.started().await;
    world.sim.forget();
    world.edit(|config| config.settings.port = 81);
    for _ in 0..2 {
        supervisor.store.look();
        supervisor.reconcile().await;
        assert_eq!(world.sim.history(), ["reload"]);
    }
}

#[tokio::test]
async fn another_agent_at_the_same_path_takes_its_place() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    world.install("b", &manifest(IMAGE).replace("\"a\"", "\"b\""));
    world.edit(|config| {
        config.deployments[0].agent = "b".parse().unwrap();
        config.deployments[0].repository = None;
    });
    supervisor.store.look();
    supervisor.reconcile().await;
    assert_eq!(supervisor.problems, BTreeMap::new());
    let manifest =
        std::fs::read_to_string(world.path("state/agents/localhost/a/manifest.json")).unwrap();
    assert!(manifest.contains("\"name\": \"b\""), "{manifest}");
    assert!(world.sim.history().contains(&format!("restart {UNIT}")));
    assert!(!world.path("state/agents/localhost/a/code.new").exists());
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_refuses_changes() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let (good, before) = (world.config().to_json(), world.agent());
    world.sim.forget();
    let file = world.path("state/config.json");
    for text in [
        "",
        "{",
        r#"{"domains":[],"deployments":[],"colour":"blue"}"#,
        r#"{"domains":[],"deployments":[{"domain":"x"}]}"#,
    ] {
        state_file::write(&file, text.as_bytes(), 0o644).unwrap();
        supervisor.store.look();
        supervisor.reconcile().await;
        for verb in [Change::Stop, Change::Undeploy, release("2", IMAGE)] {
            let error = change(&mut supervisor, "/a", verb).await.unwrap_err();
            assert!(
                error.contains("until the configuration is repaired")
                    && error.contains("config.json"),
                "{error}"
            );
        }
        // A supervisor that knows no good configuration removes nothing either.
        let successor = world.started().await;
        assert_eq!(successor.store.config(), None);
        assert_eq!(state_file::read(&file, 9999).unwrap().unwrap(), text.as_bytes());
    }
    std::fs::remove_file(&file).unwrap();
    let successor = world.started().await;
    assert_eq!(successor.store.config(), None, "agents would have been removed");
    assert_eq!(world.agent(), before);
    assert_eq!(world.sim.history(), Vec::<String>::new());
    state_file::write(&file, good.as_bytes(), 0o644).unwrap();
    supervisor.store.look();
    change(&mut supervisor, "/a", Change::Stop).await.unwrap();
}

#[tokio::test]
async fn a_broken_uid_map_is_named_and_harms_nobody() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let map = world.path("state/uidmap.json");
    let good = state_file::read(&map, 9999).unwrap().unwrap();
    let before = world.agent();
    for broken in [Some("{"), Some(""), None] {
        match broken {
            Some(text) => state_file::write(&map, text.as_bytes(), 0o644).unwrap(),
            None => std::fs::remove_file(&map).unwrap(),
        }
        let error = change(&mut supervisor, "/b", release("1", IMAGE)).await.unwrap_err();
        assert!(
            error.contains("uidmap.json") && error.contains("restore it from a backup"),
            "{error}"
        );
        supervisor.reconcile().await;
        assert!(supervisor.problems.values().any(|text| text.contains("uidmap.json")));
        assert_eq!(world.agent(), before);
        assert_eq!(state_file::read(&map, 9999).unwrap().is_some(), broken.is_some());
    }
    state_file::write(&map, &good, 0o644).unwrap();
    supervisor.reconcile().await;
    assert_eq!(supervisor.problems, BTreeMap::new());
    assert_eq!(world.agent(), before);
}

#[tokio::test]
async fn an_agent_that_should_not_run_is_stopped_whatever_else_is_broken() {
    for (file, text) in
        [("state/uidmap.json", "{"), ("state/agents/localhost/a/manifest.json", "{")]
    {
        for by_hand in [false, true] {
            let world = World::new();
            let mut supervisor = world.started().await;
            change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
            state_file::write(&world.path(file), text.as_bytes(), 0o644).unwrap();
            if by_hand {
                world.edit(|config| config.deployments[0].stopped = true);
                supervisor.store.look();
                supervisor.reconcile().await;
            } else {
                change(&mut supervisor, "/a", Change::Stop).await.unwrap();
            }
            assert_eq!(world.agent().1, "inactive", "{file} {by_hand}");
            assert!(!supervisor.problems.is_empty(), "{file} {by_hand}");
        }
    }
}

#[test]
fn what_was_edited_during_a_deployment_stays() {
    let entry = |agent: &str, release: &str, enabled, stopped| Deployment {
        domain: "localhost".parse().unwrap(),
        path: "/a".parse().unwrap(),
        agent: agent.parse().unwrap(),
        repository: Some("local".parse().unwrap()),
        release: Some(release.to_owned()),
        enabled,
        stopped,
    };
    let deployments = vec![entry("old", "1", false, true)];
    let mut config = Config { deployments, ..Config::default() };
    deploy::list(&mut config, entry("new", "2", true, false));
    assert_eq!(config.deployments, [entry("new", "2", false, true)]);
}

#[tokio::test]
async fn a_failure_of_another_agent_outlives_a_removal() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    supervisor.unfinished = true;
    change(&mut supervisor, "/a", Change::Undeploy).await.unwrap();
    assert!(supervisor.unfinished);
    supervisor.reconcile().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    change(&mut supervisor, "/a", Change::Undeploy).await.unwrap();
    assert!(!supervisor.unfinished);
}

#[tokio::test]
async fn a_host_that_boots_needs_no_hand() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    drop(supervisor);
    world.sim.boot();
    world.sim.forget();
    let successor = world.started().await;
    assert_eq!(successor.problems, BTreeMap::new());
    assert_eq!(world.sim.history(), ["reload"], "what runs was touched");
    // Units that were removed, with the state kept, are made again.
    std::fs::remove_file(world.path("quadlet/ploinky-agent-localhost-a.container")).unwrap();
    world.sim.boot();
    assert_eq!(world.sim.units(), []);
    drop(world.started().await);
    assert_eq!(world.sim.units(), [(UNIT.to_owned(), "active".to_owned())]);
}

#[tokio::test]
async fn units_and_directories_of_nobody_are_removed() {
    let world = World::new();
    drop(world.started().await);
    let other = world.path("quadlet/mine.container");
    state_file::write(&other, b"[Container]\n", 0o644).unwrap();
    state_file::write(&world.path("quadlet/ploinky-agent-x-y.container"), b"[Install]", 0o644)
        .unwrap();
    std::fs::create_dir_all(world.path("state/agents/localhost/old/code")).unwrap();
    world.sim.boot();
    drop(world.started().await);
    assert_eq!(world.sim.units(), [("mine.service".to_owned(), "inactive".to_owned())]);
    assert!(other.exists());
    assert!(!world.path("state/agents/localhost").exists());
}

#[tokio::test]
async fn what_others_put_among_the_agents_is_left_alone() {
    let world = World::new();
    let mut supervisor = world.started().await;
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    let agents = world.path("state/agents");
    std::fs::create_dir_all(agents.join("localhost/backup/notes")).unwrap();
    std::fs::create_dir_all(agents.join("localhost/begun")).unwrap();
    for name in ["note", "localhost/note"] {
        state_file::write(&agents.join(name), b"x", 0o644).unwrap();
        std::os::unix::fs::symlink("/", agents.join(format!("{name}.link"))).unwrap();
    }
    let mut supervisor = world.started().await;
    assert_eq!(supervisor.problems, BTreeMap::new());
    let strangers =
        ["localhost/backup", "localhost/note", "localhost/note.link", "note", "note.link"]
            .map(|name| agents.join(name));
    assert_eq!(supervisor.strangers, BTreeSet::from(strangers.clone()));
    for stranger in strangers {
        assert!(stranger.symlink_metadata().is_ok(), "{} is gone", stranger.display());
    }
    assert!(
        !agents.join("localhost/begun").exists(),
        "an agent that was only begun is no stranger"
    );
    change(&mut supervisor, "/b", release("1", IMAGE)).await.unwrap();
    change(&mut supervisor, "/b", Change::Undeploy).await.unwrap();
    assert_eq!(world.agent().1, "active");
}

#[tokio::test]
async fn ranges_of_agents_never_meet() {
    let world = World::new();
    let mut supervisor = world.started().await;
    for path in ["/a", "/b", "/c"] {
        change(&mut supervisor, path, release("1", IMAGE)).await.unwrap();
    }
    change(&mut supervisor, "/b", Change::Undeploy).await.unwrap();
    change(&mut supervisor, "/d", release("1", IMAGE)).await.unwrap();
    let map = supervisor.uid_map().unwrap();
    let mut ranges: Vec<_> =
        map.agents().map(|id| map.range(id).unwrap() - UID_RANGE_FIRST).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [0, 65_536, 131_072]);
}

#[tokio::test]
async fn status_tells_what_is_wanted_and_what_is_so() {
    let world = World::new();
    let host = world.host();
    let store = ConfigStore::open(host.state.config(), false).unwrap();
    let (mut supervisor, snapshots) = Lifecycle::new(host.clone(), store);
    let reporter = Reporter::new(host, snapshots);
    supervisor.reconcile().await;
    assert!(matches!(reporter.agent(&at("/a")).await, Err(LifecycleError::NotFound(_))));
    change(&mut supervisor, "/a", release("1", IMAGE)).await.unwrap();
    change(&mut supervisor, "/", archive(&[("index.html", "hi")])).await.unwrap();
    supervisor.publish();
    let status = reporter.agent(&at("/a")).await.unwrap();
    assert_eq!(status.unit.as_deref(), Some(UNIT));
    assert_eq!(status.active_state.as_deref(), Some("active"));
    assert_eq!(status.health.as_deref(), Some("healthy"));
    assert_eq!(status.uid_first, Some(UID_RANGE_FIRST));
    assert_eq!(status.commands, Some(vec!["v".to_owned(), "w".to_owned()]));
    let of_agent =
        CommandTerms { name: "v".to_owned(), timeout_ms: 90_000, ..CommandTerms::default() };
    let own = CommandTerms {
        name: "w".to_owned(),
        timeout_ms: 7_000,
        attempts: Some(3),
        backoff_ms: Some(500),
        max_backoff_ms: Some(9_000),
    };
    assert_eq!(status.command_terms, Some(vec![of_agent, own]));
    assert_eq!(status.problem, None);
    world.sim.fail(&format!("restart {UNIT}"));
    change(&mut supervisor, "/a", Change::Restart).await.unwrap_err();
    let status = reporter.host().await;
    assert_eq!(status.port, 8000);
    let kinds: Vec<&str> = status.agents.iter().map(|agent| agent.kind.as_str()).collect();
    assert_eq!(kinds, ["container", "static"]);
    assert_eq!(
        status.agents[0].problem.as_deref(),
        Some("should run, but its unit is failed (dead): result `exit-code`, exit status 127")
    );
    assert_eq!(status.agents[1].unit, None);
    assert!(reporter.config().unwrap().contains("\"deployments\""));
}

#[tokio::test]
async fn an_edit_is_applied_by_the_running_owner() {
    let world = World::new();
    world.install("a", &manifest(IMAGE));
    let (handle, changes) = Handle::new();
    let (touched, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let owner =
        tokio::spawn(world.supervisor().run(changes, Arc::clone(&touched), Arc::clone(&stop)));
    let place = at("/a");
    let refused = handle.ask(place.clone(), Change::Stop).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::NotFound(_)));
    world.edit(|config| {
        let text = r#"{"domain":"localhost","path":"/a","agent":"a"}"#;
        config.deployments.push(serde_json::from_str(text).unwrap());
    });
    touched.notify_one();
    let watch = async {
        while world.sim.units() != [(UNIT.to_owned(), "active".to_owned())] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, watch).await.expect("the edit is applied");
    handle.ask(place.clone(), Change::Undeploy).await.unwrap();
    assert_eq!(world.leftovers(), Vec::<String>::new());
    stop.notify_one();
    tokio::time::timeout(LIMIT, owner).await.expect("it stops when told").unwrap();
    let refused = handle.ask(place, Change::Stop).await.unwrap_err();
    assert!(matches!(refused, LifecycleError::Stopping));
}
