//! A configuration that a person edits, and files that break.

use std::collections::BTreeMap;
use std::sync::Arc;

use ploinky_contract::{Config, Deployment};
use tokio::sync::Notify;

use super::world::{IMAGE, LIMIT, UNIT, World, at, change, manifest, release};
use crate::lifecycle::{Change, Handle, LifecycleError, deploy};
use crate::state_file;

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
