//! What a supervisor that dies, or a host that refuses, leaves to the next look.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::world::{IMAGE, UNIT, WHOLE, World, change, killed, killed_at, manifest, release};
use crate::lifecycle::{Change, Point};
use crate::state_file;

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
