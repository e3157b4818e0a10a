//! A host that outlives its supervisors, and what is done to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::paths::{RuntimeDir, StateDir};
use ploinky_contract::{AgentName, Config};
use tokio::sync::Notify;

use crate::accounts::Accounts;
use crate::agent_tree::{self, Source};
use crate::config_store::ConfigStore;
use crate::lane::Lanes;
use crate::lifecycle::{Change, Host, Lifecycle, Order, Place, Point};
use crate::podman::fake::Fake;
use crate::state_file;
use crate::systemd::sim::Sim;
use crate::uid_map::UidMap;
use crate::unit_store::UnitStore;

/// Longest wait for something that happens at once.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
pub(super) const IMAGE: &str = "localhost/x:1";
pub(super) const UNIT: &str = "ploinky-agent-localhost-a.service";

/// A host that outlives its supervisors.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) sim: Sim,
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state", "run", "run/sync", "quadlet", "installed"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let sim = Sim::new(&dir.path().join("quadlet"));
        Self { dir, sim }
    }

    pub(super) fn host(&self) -> Host {
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
    pub(super) fn supervisor(&self) -> Lifecycle {
        let host = self.host();
        let agents = agent_tree::list(&host.state, host.accounts).unwrap().agents;
        let store = ConfigStore::open(host.state.config(), !agents.is_empty()).unwrap();
        Lifecycle::new(host, store).0
    }

    /// A new supervisor that has looked around.
    pub(super) async fn started(&self) -> Lifecycle {
        let mut supervisor = self.supervisor();
        supervisor.reconcile().await;
        supervisor
    }

    pub(super) fn config(&self) -> Config {
        let text = state_file::read(&self.path("state/config.json"), 1 << 20).unwrap().unwrap();
        Config::parse(&text).unwrap()
    }

    pub(super) fn edit(&self, edit: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        edit(&mut config);
        state_file::write(&self.path("state/config.json"), config.to_json().as_bytes(), 0o644)
            .unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn install(&self, agent: &str, manifest: &str) {
        let dir = self.path("installed").join(agent);
        std::fs::create_dir_all(&dir).unwrap();
        state_file::write(&dir.join("manifest.json"), manifest.as_bytes(), 0o644).unwrap();
    }

    /// Everything that could be left of an agent: its files below the state, units, ranges.
    pub(super) fn leftovers(&self) -> Vec<String> {
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
    pub(super) fn agent(&self) -> (String, String, Vec<String>) {
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

pub(super) fn at(path: &str) -> Place {
    Place { domain: "localhost".parse().unwrap(), path: path.parse().unwrap() }
}

pub(super) fn manifest(image: &str) -> String {
    let own = r#"{"run":"cat","timeout":7,"retry":{"attempts":3,"backoff":0.5,"maxBackoff":9}}"#;
    format!(
        r#"{{"name":"a","container":"{image}","commands":{{"v":"cat version","w":{own}}},"timeout":90}}"#
    )
}

pub(super) fn archive(files: &[(&str, &str)]) -> Change {
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

pub(super) fn release(version: &str, image: &str) -> Change {
    archive(&[("manifest.json", &manifest(image)), ("version", version)])
}

pub(super) async fn change(
    supervisor: &mut Lifecycle,
    path: &str,
    change: Change,
) -> Result<(), String> {
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
pub(super) async fn killed(mut supervisor: Lifecycle, died: Arc<Notify>, path: &str, what: Change) {
    tokio::select! {
        biased;
        () = died.notified() => {}
        done = change(&mut supervisor, path, what) => panic!("it was not stopped: {done:?}"),
        () = tokio::time::sleep(LIMIT) => panic!("it did not get there"),
    }
}

/// The same, at `point`.
pub(super) async fn killed_at(point: Point, mut supervisor: Lifecycle, path: &str, what: Change) {
    let died = Arc::new(Notify::new());
    supervisor.dies_at = Some((point, Arc::clone(&died)));
    killed(supervisor, died, path, what).await;
}

pub(super) const WHOLE: [&str; 3] = [".tasks", "code", "manifest.json"];
