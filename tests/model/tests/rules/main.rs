//! The protocol holds in every order of steps, and without any of its rules it does not.

#![expect(clippy::print_stdout, reason = "how much was checked is part of the answer")]

mod durable;
mod sync_lane;

use stateright::{Checker, HasDiscoveries, Model};

/// Checks everything there is to check and prints how much that was.
fn holds<M>(name: &str, model: M)
where
    M: Model + Copy + Send + Sync + 'static,
    M::State: std::fmt::Debug + std::hash::Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: std::fmt::Debug + Clone + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(2).spawn_dfs().join();
    println!(
        "model: {name}: {} states, {} steps, longest history {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    if !broken(&checker).is_empty() {
        // A short history tells more.
        let first = HasDiscoveries::AnyFailures;
        model.checker().finish_when(first).spawn_bfs().join().assert_properties();
    }
    checker.assert_properties();
}

/// Checks that there is a history that breaks `property`, and prints it.
fn breaks<M>(rule: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: std::fmt::Debug + std::hash::Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: std::fmt::Debug + Clone + PartialEq + Send + Sync,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken = broken(&checker);
    let history = checker.discovery(property).map(stateright::Path::into_actions);
    println!("model: without the rule {rule}, {broken:?} do not hold: {history:?}");
    assert!(broken.contains(&property), "without {rule}: want `{property}`, found {broken:?}");
}

fn broken<M>(checker: &impl Checker<M>) -> Vec<&'static str>
where
    M: Model,
    M::State: std::fmt::Debug + std::hash::Hash + Clone + PartialEq,
    M::Action: std::fmt::Debug + Clone + PartialEq,
{
    let is_failure =
        |name: &&'static str| checker.model().property(name).expectation.discovery_is_failure();
    let mut broken: Vec<_> = checker.discoveries().into_keys().filter(is_failure).collect();
    broken.sort_unstable();
    broken
}
