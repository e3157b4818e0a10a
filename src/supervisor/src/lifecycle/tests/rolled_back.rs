//! Releases that do not start, and what is put back.

use std::collections::BTreeMap;

use super::world::{IMAGE, UNIT, WHOLE, World, change, release};
use crate::state_file;

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
