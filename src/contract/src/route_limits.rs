//! Everything that bounds a request at one place: how long it may take and how large it may be, and who says so.
//!
//! The one list of these bounds. It holds no numbers of its own: they come from [`crate::limits`], the
//! configuration and the manifest, as those who enforce them have them.

mod agent;
mod amount;

use serde::Serialize;

use self::agent::of_agent;
pub use self::amount::Amount;
use crate::limits::{
    CONNECTIONS_MAX, DRAIN_MAX, HEAD_MAX_BYTES, HEADER_TIMEOUT, HEADERS_MAX, KEEP_ALIVE,
    REQUESTS_PER_CONNECTION, STATIC_PATH_MAX_BYTES, URI_MAX_BYTES, WRITE_STALL,
};
use crate::{AuthRules, ClientLimits, CommandName, Config, Domain, Service};

/// One bound.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Limit {
    /// What is bounded, in one word.
    pub name: &'static str,
    /// The bound.
    #[serde(flatten)]
    pub amount: Amount,
    /// Who says so.
    #[serde(flatten)]
    pub origin: Origin,
    /// What is bounded, and what happens beyond it.
    pub about: &'static str,
}

/// Who says how large a bound is. A key whose value is the default counts as not set.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "from", content = "key")]
pub enum Origin {
    /// Nobody can change it.
    Fixed,
    /// Nobody did; this key would.
    Default(String),
    /// This key of `config.json`.
    Config(String),
    /// This key of `manifest.json`.
    Manifest(String),
}

/// Why there is no list.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RouteLimitsError {
    /// The agent has none of this name.
    #[error("the agent has no command `{0}`")]
    UnknownCommand(CommandName),
    /// Files have no commands.
    #[error("the agent serves files and has no commands")]
    NoCommands,
}

/// The bounds of a request for what `service` answers on `domain`, in the order in which a request meets them; with
/// `command` those of this command.
///
/// # Errors
/// When there is no such command.
pub fn route_limits(
    config: &Config,
    domain: &Domain,
    service: &Service,
    command: Option<&CommandName>,
) -> Result<Vec<Limit>, RouteLimitsError> {
    let settings = &config.settings;
    let mut limits = of_clients(&settings.limits);
    limits.extend(of_connection());
    if let (Service::Container(_), true) = (service, config.has_auth(domain)) {
        let entry = config.domains.iter().find(|entry| entry.name == *domain);
        limits.extend(entry.into_iter().flat_map(|entry| of_sessions(&entry.auth)));
    }
    match (service, command) {
        (Service::Static { .. }, Some(_)) => return Err(RouteLimitsError::NoCommands),
        (Service::Static { .. }, None) => {
            limits.push(fixed(
                "path",
                Amount::bytes(STATIC_PATH_MAX_BYTES),
                "of a file's path; 404",
            ));
        }
        (Service::Container(container), None) => limits.extend(of_agent(container, None, settings)),
        (Service::Container(container), Some(name)) => {
            let command = container.commands.get(name);
            let command = command.ok_or_else(|| RouteLimitsError::UnknownCommand(name.clone()))?;
            limits.extend(of_agent(container, Some((name, command)), settings));
        }
    }
    Ok(limits)
}

fn of_clients(limits: &ClientLimits) -> Vec<Limit> {
    let ClientLimits { connections_per_address, requests_per_second, burst } = limits;
    let default = ClientLimits::default();
    let set = |name, key: &str, value: u32, usual: u32, amount, about| Limit {
        name,
        amount,
        origin: Origin::of_config(format!("settings.limits.{key}"), value == usual),
        about,
    };
    let rate = match *requests_per_second {
        0 => Amount::Unlimited,
        some => Amount::PerSecond(u64::from(some)),
    };
    vec![
        set(
            "connectionsPerAddress",
            "connectionsPerAddress",
            *connections_per_address,
            default.connections_per_address,
            Amount::Count(u64::from(*connections_per_address)),
            "connections of one address with one instance; closed with 429",
        ),
        set(
            "requestRate",
            "requestsPerSecond",
            *requests_per_second,
            default.requests_per_second,
            rate,
            "requests of one address, and of one token, at one instance; 429",
        ),
        set(
            "requestBurst",
            "burst",
            *burst,
            default.burst,
            Amount::Count(u64::from(*burst)),
            "requests at once after a quiet time; 429",
        ),
    ]
}

fn of_connection() -> Vec<Limit> {
    let time = Amount::time;
    vec![
        fixed("connections", Amount::count(CONNECTIONS_MAX), "of one instance; the rest waits"),
        fixed(
            "requestsPerConnection",
            Amount::Count(u64::from(REQUESTS_PER_CONNECTION)),
            "then Connection: close",
        ),
        fixed("keepAlive", time(KEEP_ALIVE), "without a request; closed"),
        fixed("headTime", time(HEADER_TIMEOUT), "for a head that has begun; 408"),
        fixed("head", Amount::bytes(HEAD_MAX_BYTES), "of a head; 431"),
        fixed("headerLines", Amount::count(HEADERS_MAX), "of a head; 431"),
        fixed("target", Amount::bytes(URI_MAX_BYTES), "of a path with its query; 414"),
        fixed("writeStall", time(WRITE_STALL), "in which nothing of an answer is taken; cut off"),
        fixed("drain", time(DRAIN_MAX), "for what goes on when the instance is stopped; cut off"),
    ]
}

fn of_sessions(rules: &AuthRules) -> [Limit; 2] {
    let AuthRules { grants: _, grants_admin: _, session_idle, session_max } = rules;
    let usual = AuthRules::default();
    let set = |name, value, usual, about| Limit {
        name,
        amount: Amount::Seconds(value),
        origin: Origin::of_config(format!("domains[].auth.{name}"), value == usual),
        about,
    };
    [
        set("sessionIdle", *session_idle, usual.session_idle, "without a request; logged out"),
        set("sessionMax", *session_max, usual.session_max, "of a session in any case; logged out"),
    ]
}

impl Origin {
    fn of_config(key: String, is_usual: bool) -> Self {
        if is_usual { Self::Default(key) } else { Self::Config(key) }
    }

    fn of_manifest(key: String, is_usual: bool) -> Self {
        if is_usual { Self::Default(key) } else { Self::Manifest(key) }
    }
}

fn fixed(name: &'static str, amount: Amount, about: &'static str) -> Limit {
    Limit { name, amount, origin: Origin::Fixed, about }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn limits(settings: &str, manifest: &str, command: Option<&str>) -> Vec<Limit> {
        let text = format!(
            r#"{{"domains":[{{"name":"localhost"}},{{"name":"a","auth":{{"sessionIdle":60}}}}],
                "deployments":[{{"domain":"a","path":"/auth","agent":"x"}}],"settings":{settings}}}"#
        );
        let config = Config::parse(text.as_bytes()).unwrap();
        let service = Manifest::parse(manifest.as_bytes()).unwrap().service;
        let command = command.map(|command| command.parse().unwrap());
        route_limits(&config, &"a".parse().unwrap(), &service, command.as_ref()).unwrap()
    }

    fn find(limits: &[Limit], name: &str) -> (String, Origin) {
        let limit = limits.iter().find(|limit| limit.name == name).unwrap();
        (limit.amount.to_string(), limit.origin.clone())
    }

    const MANIFEST: &str = r#"{"name":"a","container":"x","timeout":40,"concurrency":8,
        "uploads":{"max":"1M"},
        "commands":{"plain":"x","own":{"run":"x","timeout":400,"concurrency":2,
            "retry":{"attempts":3}}}}"#;

    #[test]
    fn a_command_that_is_not_there_has_no_limits() {
        let of = |manifest: &str| {
            let service = Manifest::parse(manifest.as_bytes()).unwrap().service;
            let (config, localhost) = (Config::default(), Domain::localhost());
            route_limits(&config, &localhost, &service, Some(&"x".parse().unwrap())).unwrap_err()
        };
        assert_eq!(of(MANIFEST), RouteLimitsError::UnknownCommand("x".parse().unwrap()));
        assert_eq!(of(r#"{"name":"a","static":"."}"#), RouteLimitsError::NoCommands);
    }

    #[test]
    fn every_limit_tells_who_says_so() {
        let settings = r#"{"taskRetention":60,"limits":{"requestsPerSecond":0}}"#;
        let of = |text: &str| text.to_owned();
        let (manifest, default) =
            (|key: &str| Origin::Manifest(of(key)), |key: &str| Origin::Default(of(key)));
        let config = |key: &str| Origin::Config(of(key));
        let all = limits(settings, MANIFEST, None);
        for (name, amount, origin) in [
            ("requestRate", "unlimited", config("settings.limits.requestsPerSecond")),
            ("requestBurst", "1000", default("settings.limits.burst")),
            ("keepAlive", "60 s", Origin::Fixed),
            ("head", "32 KiB", Origin::Fixed),
            ("sessionIdle", "60 s", config("domains[].auth.sessionIdle")),
            ("sessionMax", "86400 s", default("domains[].auth.sessionMax")),
            ("concurrency", "8", manifest("concurrency")),
            ("callTime", "40 s", manifest("timeout")),
            ("runTime", "40 s", manifest("timeout")),
            ("runs", "1", default("retry.attempts")),
            ("taskRetention", "60 s", config("settings.taskRetention")),
            ("deadTaskRetention", "604800 s", default("settings.deadTaskRetention")),
            ("upload", "1 MiB", manifest("uploads.max")),
            ("uploadPace", "1 KiB/s", Origin::Fixed),
        ] {
            assert_eq!(find(&all, name), (of(amount), origin), "{name}");
        }
        let own = limits("{}", MANIFEST, Some("own"));
        for (name, amount, origin) in [
            ("concurrency", "2", manifest("commands.own.concurrency")),
            ("callTime", "300 s", Origin::Fixed),
            ("runTime", "400 s", manifest("commands.own.timeout")),
            ("runs", "3", manifest("commands.own.retry.attempts")),
            ("requestRate", "500/s", default("settings.limits.requestsPerSecond")),
        ] {
            assert_eq!(find(&own, name), (of(amount), origin), "{name}");
        }
        assert_eq!(find(&limits("{}", MANIFEST, Some("plain")), "runTime").0, "40 s");
        let plain = limits("{}", r#"{"name":"a","container":"x"}"#, None);
        assert_eq!(find(&plain, "callTime"), (of("30 s"), default("timeout")));
        let site = limits("{}", r#"{"name":"a","static":"."}"#, None);
        assert_eq!(site.last().unwrap().name, "path");
        assert!(site.iter().all(|limit| limit.name != "callTime"));
    }

    #[test]
    fn no_word_stands_for_two_limits() {
        let mut names: Vec<_> = limits("{}", MANIFEST, None).iter().map(|l| l.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
