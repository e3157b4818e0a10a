//! What answers where: host × longest path prefix. Never changed, only replaced as a whole.

mod load;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::{AgentId, AuthRules, DeployPath, Domain, InvalidDeployPath, Settings};

pub(crate) use self::load::{Complaint, LoadError, Loaded, Making, WantedLane, load};
use crate::orchestrator::{Agent, FileQueue};
use crate::static_files::Site;

/// The table of one configuration. The default is the table before the first one: nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// `None` before a configuration was accepted.
    domains: Option<HashMap<Domain, Paths>>,
    /// What the admin set for the whole host.
    settings: Settings,
    /// What the agents at `/auth` may do.
    auth: HashMap<Domain, AuthRules>,
    /// Queues in memory of its agents.
    lanes: Vec<WantedLane>,
}

/// What one domain answers. A disabled domain answers nothing.
#[derive(Debug, Default)]
struct Paths {
    agents: HashMap<String, Target>,
    root: Option<Target>,
}

/// What answers at a place.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An agent in a container.
    Agent(Arc<Agent>),
    /// Files.
    Files(Arc<Site>),
    /// An agent that the admin stopped, unless it is broken besides.
    Stopped(Option<Arc<Agent>>),
    /// A deployment that cannot be used; the journal says why.
    Broken,
}

impl Routes {
    /// A table without places.
    fn empty() -> Self {
        Self { domains: Some(HashMap::new()), ..Self::default() }
    }

    /// A table without places that has these settings.
    #[cfg(test)]
    pub(crate) fn with_settings(settings: Settings) -> Self {
        Self { settings, ..Self::empty() }
    }

    /// What answers `path`, as it stands in the URL, of `domain`. `None`: nothing is deployed there.
    pub(crate) fn find(&self, domain: &Domain, path: &str) -> Option<&Target> {
        if self.domains.is_none() {
            return Some(&Target::Broken);
        }
        let paths = self.paths(domain)?;
        paths.agent(path).or_else(|| if is_reserved(path) { None } else { paths.root.as_ref() })
    }

    /// The agents of a domain, or of all.
    pub(crate) fn agents_of(&self, domain: Option<&Domain>) -> impl Iterator<Item = &Arc<Agent>> {
        let one = domain.and_then(|domain| self.paths(domain));
        let all = self.domains.iter().flat_map(HashMap::values).filter(move |_| domain.is_none());
        one.into_iter().chain(all).flat_map(Paths::targets).filter_map(Target::agent)
    }

    /// Whether a task that is in no queue of [`Routes::agents_of`] may be in one that cannot be looked at now.
    pub(crate) fn has_hidden(&self, domain: Option<&Domain>) -> bool {
        let is_hidden = |target| matches!(target, &Target::Broken | &Target::Stopped(None));
        match (domain, &self.domains) {
            (_, None) => true,
            (None, Some(_)) => self.targets().any(is_hidden),
            (Some(domain), Some(_)) => {
                self.paths(domain).is_some_and(|paths| paths.targets().any(is_hidden))
            }
        }
    }

    /// What the admin set for the whole host.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The domain that answers for `domain`: itself, or `localhost` for the addresses of loopback.
    pub(crate) fn resolve<'a>(&'a self, domain: &'a Domain) -> &'a Domain {
        match &self.domains {
            Some(domains) if !domains.contains_key(domain) && domain.is_loopback_literal() => {
                let known = domains.keys().find(|known| **known == Domain::localhost());
                known.unwrap_or(domain)
            }
            Some(_) | None => domain,
        }
    }

    /// What the agent at `/auth` of `domain` may do.
    pub(crate) fn auth_rules(&self, domain: &Domain) -> AuthRules {
        self.auth.get(self.resolve(domain)).cloned().unwrap_or_default()
    }

    /// Whether a server in front ends TLS for all that comes by the port.
    pub(crate) fn has_external_tls(&self) -> bool {
        self.settings.external_tls
    }

    /// Whether the admin allows that outcomes are posted to `url`.
    pub(crate) fn allows_callback(&self, url: &str) -> bool {
        self.settings.callback_origins.iter().any(|origin| origin.covers(url))
    }

    /// How long accepted tasks are kept after their end: those that are dead, last.
    pub(crate) fn retention(&self) -> (Duration, Duration) {
        let Settings { task_retention, dead_task_retention, .. } = &self.settings;
        (Duration::from_secs(*task_retention), Duration::from_secs(*dead_task_retention))
    }

    /// The queues in use.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &FileQueue> {
        self.agents().map(|agent| agent.queue())
    }

    /// Whether some deployment cannot be used, but may be soon.
    pub(crate) fn has_broken(&self) -> bool {
        self.domains.is_none() || self.targets().any(|target| matches!(target, Target::Broken))
    }

    /// Whether some agent has another queue in memory than is in use, or has one by now.
    pub(crate) fn has_other_lanes(&self) -> bool {
        self.lanes.iter().any(WantedLane::has_changed)
    }

    fn want_lane(&mut self, lane: WantedLane) {
        self.lanes.push(lane);
    }

    fn queue_of(&self, id: &AgentId) -> Option<&FileQueue> {
        self.agents().find(|agent| agent.id() == id).map(|agent| agent.queue())
    }

    fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.targets().filter_map(Target::agent)
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.domains.iter().flat_map(HashMap::values).flat_map(Paths::targets)
    }

    fn paths(&self, domain: &Domain) -> Option<&Paths> {
        let domains = self.domains.as_ref()?;
        match domains.get(domain) {
            None if domain.is_loopback_literal() => domains.get(&Domain::localhost()),
            known => known,
        }
    }

    fn add_domain(&mut self, domain: Domain) {
        self.paths_mut(domain);
    }

    fn add(&mut self, domain: &Domain, path: &DeployPath, target: Target) {
        let paths = self.paths_mut(domain.clone());
        if path.is_root() {
            paths.root = Some(target);
        } else {
            paths.agents.insert(path.as_str().to_owned(), target);
        }
    }

    fn paths_mut(&mut self, domain: Domain) -> &mut Paths {
        self.domains.get_or_insert_default().entry(domain).or_default()
    }
}

impl Target {
    /// The agent, also one that is stopped: the tasks it accepted are still there.
    fn agent(&self) -> Option<&Arc<Agent>> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Stopped(agent) => agent.as_ref(),
            Self::Files(_) | Self::Broken => None,
        }
    }
}

impl Paths {
    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.agents.values().chain(&self.root)
    }

    /// The agent with the longest path that covers `path` on whole segments.
    fn agent(&self, path: &str) -> Option<&Target> {
        if self.agents.is_empty() {
            return None;
        }
        let mut prefix = path;
        loop {
            if let Some(target) = self.agents.get(prefix) {
                return Some(target);
            }
            (prefix, _) = prefix.rsplit_once('/')?;
        }
    }
}

/// Whether `path` belongs to Ploinky itself; no file is served there, whatever the site holds.
fn is_reserved(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    // `/auth` itself may be deployed, and what is below it may not.
    matches!(format!("/{first}/x").parse::<DeployPath>(), Err(InvalidDeployPath::Reserved(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(places: &[(&str, &str)]) -> Routes {
        let mut routes = Routes::empty();
        for (domain, path) in places {
            // A target that tells its place.
            let site = Site::new(format!("{domain}{path}").into(), ".");
            let domain = domain.parse().unwrap();
            routes.add(&domain, &path.parse().unwrap(), Target::Files(Arc::new(site)));
        }
        routes
    }

    fn place(routes: &Routes, domain: &str, path: &str) -> Option<String> {
        let target = routes.find(&domain.parse().unwrap(), path)?;
        let Target::Files(site) = target else { panic!("{target:?}") };
        Some(site.code().to_str().unwrap().to_owned())
    }

    #[test]
    fn only_whole_segments_of_the_same_host_match() {
        let routes = routes(&[("a", "/x"), ("a", "/x/y"), ("b", "/x")]);
        for (domain, path) in [
            ("a", "/"),
            ("a", "/xy"),
            ("a", "/X"),
            ("a", "//x"),
            ("a", "/%78"),
            ("a", "x"),
            ("a", "*"),
            ("a", ""),
            ("a", "/z/../x"),
            ("c", "/x"),
            ("a.b", "/x"),
            ("127.0.0.1", "/x"),
        ] {
            assert_eq!(place(&routes, domain, path), None, "{domain}{path}");
        }
    }

    #[test]
    fn the_longest_path_wins() {
        let routes = routes(&[("a", "/x"), ("a", "/x/y"), ("a", "/"), ("b", "/x")]);
        for (domain, path, expected) in [
            ("a", "/x", "a/x"),
            ("a", "/x/", "a/x"),
            ("a", "/x/z", "a/x"),
            ("a", "/x/yz", "a/x"),
            ("a", "/x/y", "a/x/y"),
            ("a", "/x/y/z/w", "a/x/y"),
            ("b", "/x/y", "b/x"),
            ("a", "/xy", "a/"),
            ("a", "/", "a/"),
            ("a", "/z/../x", "a/"),
        ] {
            assert_eq!(place(&routes, domain, path).as_deref(), Some(expected), "{domain}{path}");
        }
    }

    #[test]
    fn reserved_paths_show_no_files() {
        let routes = routes(&[("a", "/")]);
        for path in
            ["/management", "/management/x", "/auth", "/client/x.js", "/tasks/1", "/metrics"]
        {
            assert_eq!(place(&routes, "a", path), None, "{path}");
        }
        assert_eq!(place(&routes, "a", "/managements").as_deref(), Some("a/"));
    }

    #[test]
    fn localhost_answers_for_loopback_unless_that_is_configured() {
        let mut routes = routes(&[("localhost", "/x"), ("127.0.0.2", "/y")]);
        routes.add_domain("[::1]".parse().unwrap());
        assert_eq!(place(&routes, "127.0.0.1", "/x").as_deref(), Some("localhost/x"));
        assert_eq!(place(&routes, "127.1.2.3", "/x").as_deref(), Some("localhost/x"));
        assert_eq!(place(&routes, "127.0.0.2", "/x"), None);
        assert_eq!(place(&routes, "[::1]", "/x"), None);
        assert_eq!(place(&routes, "10.0.0.1", "/x"), None);
    }
}
