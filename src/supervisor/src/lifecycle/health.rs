//! How an agent is, from what systemd knows of its unit. Pure: nobody enters the container for it.

use std::time::Duration;

use ploinky_contract::Condition;
use ploinky_contract::limits::AGENT_HEARTBEATS;

use crate::systemd::UnitState;

/// How an agent is that runs, or is about to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Health {
    /// It is not ready yet.
    Starting,
    /// It gives signs of life and says nothing else.
    Healthy,
    /// It does not, or says that it is not well, or ended so; and why, as far as that is known.
    Unhealthy(Option<String>),
}

impl Health {
    /// `None` if it does not run, or nothing watches it.
    pub(super) fn of(state: &UnitState) -> Option<Self> {
        let UnitState { active_state, sub_state, watchdog, .. } = state;
        let is_watched = watchdog.is_some();
        match active_state.as_str() {
            "active" | "reloading" => match said(state).or_else(|| silent(state)) {
                Some(reason) => Some(Self::Unhealthy(Some(reason))),
                None => is_watched.then_some(Self::Healthy),
            },
            "activating" if sub_state.starts_with("auto-restart") && state.result != "success" => {
                Some(Self::Unhealthy(ended(state)))
            }
            "activating" => Some(Self::Starting),
            "deactivating" => ended(state).map(|reason| Self::Unhealthy(Some(reason))),
            "failed" => Some(Self::Unhealthy(ended(state))),
            _ => None,
        }
    }

    /// The word for people and programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy(_) => "unhealthy",
        }
    }

    /// Why it is not well.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Unhealthy(reason) => reason.as_deref(),
            Self::Starting | Self::Healthy => None,
        }
    }
}

/// What the agent says against itself.
fn said(state: &UnitState) -> Option<String> {
    match Condition::read(&state.status_text) {
        Condition::Unhealthy(reason) => Some(reason),
        Condition::Healthy(_) => None,
    }
}

/// That it owes more than one sign of life.
fn silent(state: &UnitState) -> Option<String> {
    let (limit, silence) = (state.watchdog?, state.silence?);
    (limit / AGENT_HEARTBEATS * 2 < silence).then(|| {
        let [silence, limit] = [silence, limit].map(seconds);
        format!("it gave no sign of life for {silence}; systemd ends it after {limit}")
    })
}

/// Why it was ended, or ended itself.
fn ended(state: &UnitState) -> Option<String> {
    said(state).or_else(|| {
        let limit = state.watchdog.filter(|_| state.result == "watchdog")?;
        Some(format!("it gave no sign of life for {} and was ended", seconds(limit)))
    })
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: &str, sub: &str, result: &str, text: &str) -> UnitState {
        UnitState {
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            result: result.to_owned(),
            status_text: text.to_owned(),
            watchdog: Some(Duration::from_secs(90)),
            silence: Some(Duration::from_secs(60)),
            ..UnitState::default()
        }
    }

    #[test]
    fn an_agent_is_unhealthy_if_it_says_so_or_says_nothing() {
        let unhealthy = |reason: &str| Some(Health::Unhealthy(Some(reason.to_owned())));
        let late = UnitState {
            silence: Some(Duration::from_millis(60_001)),
            ..state("active", "running", "success", "serving 1 command")
        };
        let bare = UnitState { watchdog: None, ..state("active", "running", "success", "") };
        let (killed, sick) = ("it gave no sign of life for 90 s and was ended", "unhealthy: sick");
        for (state, expected) in [
            (late, unhealthy("it gave no sign of life for 60 s; systemd ends it after 90 s")),
            (bare, None),
            (state("active", "running", "success", sick), unhealthy("sick")),
            (state("active", "running", "success", "serving"), Some(Health::Healthy)),
            (state("activating", "start", "success", ""), Some(Health::Starting)),
            (state("activating", "auto-restart", "success", ""), Some(Health::Starting)),
            (state("activating", "auto-restart", "exit-code", sick), unhealthy("sick")),
            (state("activating", "auto-restart", "exit-code", "x"), Some(Health::Unhealthy(None))),
            (state("activating", "auto-restart-queued", "watchdog", ""), unhealthy(killed)),
            (state("deactivating", "stop-post", "watchdog", ""), unhealthy(killed)),
            (state("deactivating", "stop-sigterm", "success", "serving"), None),
            (state("failed", "failed", "exit-code", ""), Some(Health::Unhealthy(None))),
            (state("inactive", "dead", "success", ""), None),
        ] {
            assert_eq!(Health::of(&state), expected, "{state:?}");
        }
    }
}
