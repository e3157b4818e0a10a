//! What is there when a supervisor begins: after a boot, and from nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{IMAGE, UNIT, World, change, release};
use crate::lifecycle::Change;
use crate::state_file;

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
