//! What is installed + what is wanted → steps. Pure, and total: there is a plan for every pair.

use std::collections::{BTreeMap, BTreeSet};

use ploinky_contract::AgentId;

/// What is there of one agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Installed {
    /// Text of its Quadlet file; `None` if a unit runs without one.
    pub(crate) text: Option<String>,
    /// What systemd does with it.
    pub(crate) activity: Activity,
}

impl Installed {
    /// The same, only that it does not run; `None` if there is no file to be kept.
    pub(crate) fn stopped(&self) -> Option<Wanted> {
        let text = self.text.clone()?;
        Some(Wanted { text, runs: false, replaced: false, tells_ready: true })
    }
}

/// `ActiveState` of a unit, as far as a plan depends on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Activity {
    /// It does not run, or there is no such unit.
    #[default]
    Inactive,
    /// It does not run because it failed, which systemd remembers.
    Failed,
    /// It runs, or is about to: systemd restarts it by itself.
    Active,
}

impl Activity {
    /// Reads `ActiveState`.
    pub(crate) fn of(active_state: &str) -> Self {
        match active_state {
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            _ => Self::Active,
        }
    }
}

/// What should be there of one agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// Text of its Quadlet file.
    pub(crate) text: String,
    /// Whether it should run.
    pub(crate) runs: bool,
    /// Whether its code or manifest was replaced, so that what runs is out of date.
    pub(crate) replaced: bool,
    /// Whether the agent tells systemd that it is ready; otherwise a start that succeeds says little.
    pub(crate) tells_ready: bool,
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Stop the unit.
    Stop(AgentId),
    /// Remove the Quadlet file.
    Remove(AgentId),
    /// Write the Quadlet file.
    Write(AgentId, String),
    /// Let systemd read all units anew.
    Reload,
    /// Start the unit.
    Start(AgentId),
    /// Stop the unit, then start it.
    Restart(AgentId),
}

/// The steps from `installed` to `wanted`: what has to stop, files, at most one reload, what has to start.
/// `reload_due`: systemd may not have read what the files say already.
pub(crate) fn plan(
    installed: &BTreeMap<AgentId, Installed>,
    wanted: &BTreeMap<AgentId, Wanted>,
    reload_due: bool,
) -> Vec<Step> {
    let (mut stops, mut files, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    let nothing = Installed::default();
    let ids: BTreeSet<&AgentId> = installed.keys().chain(wanted.keys()).collect();
    for id in ids {
        let Installed { text, activity } = installed.get(id).unwrap_or(&nothing);
        match wanted.get(id) {
            None => {
                if *activity != Activity::Inactive {
                    stops.push(Step::Stop(id.clone()));
                }
                if text.is_some() {
                    files.push(Step::Remove(id.clone()));
                }
            }
            Some(Wanted { text: new, runs, replaced, tells_ready: _ }) => {
                let differs = text.as_ref() != Some(new);
                if differs {
                    files.push(Step::Write(id.clone(), new.clone()));
                }
                match (runs, activity) {
                    (false, Activity::Active | Activity::Failed) => {
                        stops.push(Step::Stop(id.clone()));
                    }
                    (true, Activity::Inactive | Activity::Failed) => {
                        starts.push(Step::Start(id.clone()));
                    }
                    (true, Activity::Active) if differs || *replaced => {
                        starts.push(Step::Restart(id.clone()));
                    }
                    (true, Activity::Active) | (false, Activity::Inactive) => {}
                }
            }
        }
    }
    let reload = (reload_due || !files.is_empty()).then_some(Step::Reload);
    stops.into_iter().chain(files).chain(reload).chain(starts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentId {
        text.parse().unwrap()
    }

    fn installed(text: &str, active: bool) -> Installed {
        let activity = if active { Activity::Active } else { Activity::Inactive };
        Installed { text: Some(text.to_owned()), activity }
    }

    fn wanted(text: &str, runs: bool, replaced: bool) -> Wanted {
        Wanted { text: text.to_owned(), runs, replaced, tells_ready: true }
    }

    fn plan_one(installed: Option<Installed>, wanted: Option<Wanted>) -> Vec<Step> {
        let one = |id| move |value| (id, value);
        plan(
            &installed.map(one(id("a"))).into_iter().collect(),
            &wanted.map(|value| (id("a"), value)).into_iter().collect(),
            false,
        )
    }

    #[test]
    fn a_machine_that_is_as_wanted_is_left_alone() {
        for (active, runs) in [(true, true), (false, false)] {
            let steps = plan_one(Some(installed("x", active)), Some(wanted("x", runs, false)));
            assert_eq!(steps, []);
        }
        assert_eq!(plan_one(None, None), []);
        assert_eq!(plan_one(Some(Installed::default()), None), []);
    }

    #[test]
    fn every_other_pair_has_its_steps() {
        use Step::{Reload, Remove, Restart, Start, Stop, Write};
        let write = || Write(id("a"), "x".to_owned());
        let cases = [
            (None, Some(wanted("x", true, false)), vec![write(), Reload, Start(id("a"))]),
            (None, Some(wanted("x", false, false)), vec![write(), Reload]),
            (Some(installed("x", false)), Some(wanted("x", true, false)), vec![Start(id("a"))]),
            (Some(installed("x", true)), Some(wanted("x", true, true)), vec![Restart(id("a"))]),
            (Some(installed("x", true)), Some(wanted("x", false, true)), vec![Stop(id("a"))]),
            (
                Some(installed("y", true)),
                Some(wanted("x", true, false)),
                vec![write(), Reload, Restart(id("a"))],
            ),
            (
                Some(installed("y", true)),
                Some(wanted("x", false, false)),
                vec![Stop(id("a")), write(), Reload],
            ),
            (Some(installed("y", true)), None, vec![Stop(id("a")), Remove(id("a")), Reload]),
            (Some(installed("y", false)), None, vec![Remove(id("a")), Reload]),
            (Some(Installed { text: None, activity: Activity::Active }), None, vec![Stop(id("a"))]),
        ];
        for (installed, wanted, expected) in cases {
            assert_eq!(
                plan_one(installed.clone(), wanted.clone()),
                expected,
                "{installed:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn a_failure_is_forgotten_or_tried_again() {
        let failed = Installed { text: Some("x".to_owned()), activity: Activity::Failed };
        let steps = |wanted| plan_one(Some(failed.clone()), wanted);
        assert_eq!(steps(Some(wanted("x", true, false))), [Step::Start(id("a"))]);
        assert_eq!(steps(Some(wanted("x", false, false))), [Step::Stop(id("a"))]);
        assert_eq!(steps(None), [Step::Stop(id("a")), Step::Remove(id("a")), Step::Reload]);
    }

    #[test]
    fn a_reload_that_is_due_comes_before_what_starts() {
        let there = BTreeMap::from([(id("a"), installed("x", false))]);
        let want = BTreeMap::from([(id("a"), wanted("x", true, false))]);
        assert_eq!(plan(&there, &want, true), [Step::Reload, Step::Start(id("a"))]);
    }

    #[test]
    fn many_changes_need_one_reload_between_files_and_starts() {
        let there =
            BTreeMap::from([(id("a"), installed("1", true)), (id("b"), installed("1", true))]);
        let want = BTreeMap::from([
            (id("b"), wanted("2", true, false)),
            (id("c"), wanted("3", true, false)),
        ]);
        assert_eq!(
            plan(&there, &want, false),
            [
                Step::Stop(id("a")),
                Step::Remove(id("a")),
                Step::Write(id("b"), "2".to_owned()),
                Step::Write(id("c"), "3".to_owned()),
                Step::Reload,
                Step::Restart(id("b")),
                Step::Start(id("c")),
            ]
        );
    }
}
