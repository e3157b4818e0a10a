//! What a deployment does through its verbs, and what is refused.

use ploinky_contract::AgentName;
use ploinky_contract::limits::UID_RANGE_FIRST;
use ploinky_control::CommandTerms;

use super::world::{IMAGE, UNIT, WHOLE, World, archive, at, change, release};
use crate::agent_tree::Source;
use crate::config_store::ConfigStore;
use crate::lifecycle::{Change, Lifecycle, LifecycleError, Order, Place, Reporter};

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
    world.sim.say("unhealthy: the probe\nfails");
    let status = reporter.agent(&at("/a")).await.unwrap();
    assert_eq!(status.health.as_deref(), Some("unhealthy"));
    assert_eq!(status.status_text.as_deref(), Some("unhealthy: the probe fails"));
    assert_eq!(
        status.problem.as_deref(),
        Some(
            "it is not well: the probe fails; its log may tell more: `ploinkyctl agent logs localhost-a`"
        )
    );
    world.sim.say("");
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
