//! Everything that bounds a request at one place: how long it may take and how large it may be, and who says so.
//!
//! The one list of these bounds. It holds no numbers of its own: they come from [`crate::limits`], the
//! configuration and the manifest, as those who enforce them have them.

mod amount;

use serde::Serialize;

pub use self::amount::Amount;
use crate::limits::{
    ACCEPTED_PER_AGENT, ACCEPTED_PER_USER, AGENT_DOWN_GRACE, BODY_FLOOR_BYTES, BODY_IDLE,
    BODY_TIMEOUT, CONCURRENCY_DEFAULT, CONNECTIONS_MAX, DRAIN_MAX, HEAD_MAX_BYTES, HEADER_TIMEOUT,
    HEADERS_MAX, IN_FLIGHT_PER_AGENT, JSON_DEPTH_MAX, KEEP_ALIVE, PARAMS_MAX, PREFER_WAIT_MAX,
    REQUEST_MAX_BYTES, REQUESTS_PER_CONNECTION, RESULT_MAX_BYTES, STATIC_PATH_MAX_BYTES,
    STREAM_LINE_MAX_BYTES, STREAMS_AT_ONCE, STREAMS_PER_AGENT, SYNC_TIMEOUT_MAX,
    TASK_DEADLINE_DEFAULT, TASK_TIMEOUT_DEFAULT, UPLOAD_DEFAULT_BYTES, UPLOAD_FIELD_MAX_BYTES,
    UPLOAD_FILES_MAX, UPLOAD_PARTS_MAX, UPLOADS_AT_ONCE, URI_MAX_BYTES, WRITE_STALL,
};
use crate::{ClientLimits, Command, CommandName, Container, Service, Settings};

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

/// The bounds of a request for what `service` answers, in the order in which a request meets them; with `command`
/// those of this command.
///
/// # Errors
/// When there is no such command.
pub fn route_limits(
    settings: &Settings,
    service: &Service,
    command: Option<&CommandName>,
) -> Result<Vec<Limit>, RouteLimitsError> {
    let mut limits = of_clients(&settings.limits);
    limits.extend(of_connection());
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

fn of_agent(
    container: &Container,
    command: Option<(&CommandName, &Command)>,
    settings: &Settings,
) -> Vec<Limit> {
    let time = Amount::time;
    let Terms { run, concurrency } = Terms::of(container, command);
    let wait = Limit {
        name: "callTime",
        amount: time(run.0.min(SYNC_TIMEOUT_MAX)),
        origin: if SYNC_TIMEOUT_MAX < run.0 { Origin::Fixed } else { run.1.clone() },
        about: "of a call that is waited for; 504",
    };
    let mut limits = vec![
        fixed("body", Amount::bytes(REQUEST_MAX_BYTES), "of a call; 413"),
        fixed("bodyIdle", time(BODY_IDLE), "in which nothing of a body comes; 408"),
        fixed("bodyTime", time(BODY_TIMEOUT), "for the body of a call; 408"),
        fixed("nesting", Amount::count(JSON_DEPTH_MAX), "levels of JSON; 400"),
        fixed("params", Amount::count(PARAMS_MAX), "of a call; 400"),
        fixed("calls", Amount::count(IN_FLIGHT_PER_AGENT), "of this agent at one instance; 429"),
        Limit {
            name: "concurrency",
            amount: Amount::Count(u64::from(concurrency.0)),
            origin: concurrency.1,
            about: "handlers at once; the rest waits",
        },
        wait,
        fixed("agentDown", time(AGENT_DOWN_GRACE), "for an agent that starts anew; 503"),
        fixed("result", Amount::bytes(RESULT_MAX_BYTES), "of a call; 502"),
        Limit {
            name: "runTime",
            amount: time(run.0),
            origin: run.1,
            about: "of one run of an accepted task; DEADLINE",
        },
        fixed("taskTime", time(TASK_DEADLINE_DEFAULT), "of all runs; Task-Deadline says another"),
    ];
    limits.extend(of_tasks(container, command, settings));
    limits.extend(of_files_and_streams(container));
    limits
}

fn of_tasks(
    container: &Container,
    command: Option<(&CommandName, &Command)>,
    settings: &Settings,
) -> Vec<Limit> {
    let own = command.and_then(|(name, command)| {
        command.retry.map(|retry| (retry, format!("commands.{name}.retry.attempts")))
    });
    let retry = own.or_else(|| container.retry.map(|r| (r, "retry.attempts".to_owned())));
    let (runs, origin) = match retry {
        Some((retry, key)) => (retry.attempts, Origin::Manifest(key)),
        None => (1, Origin::Default("retry.attempts".to_owned())),
    };
    let kept = |name, key: &str, seconds, usual, about| Limit {
        name,
        amount: Amount::Seconds(seconds),
        origin: Origin::of_config(format!("settings.{key}"), seconds == usual),
        about,
    };
    let default = Settings::default();
    vec![
        Limit {
            name: "runs",
            amount: Amount::Count(u64::from(runs)),
            origin,
            about: "of an accepted task that fails",
        },
        fixed("accepted", Amount::count(ACCEPTED_PER_AGENT), "tasks of this agent; 429"),
        fixed("acceptedPerUser", Amount::count(ACCEPTED_PER_USER), "that wait or run; 429"),
        fixed("preferWait", Amount::time(PREFER_WAIT_MAX), "of Prefer: wait=N; 400"),
        kept(
            "taskRetention",
            "taskRetention",
            settings.task_retention,
            default.task_retention,
            "outcomes are kept",
        ),
        kept(
            "deadTaskRetention",
            "deadTaskRetention",
            settings.dead_task_retention,
            default.dead_task_retention,
            "dead tasks are kept",
        ),
    ]
}

fn of_files_and_streams(container: &Container) -> Vec<Limit> {
    let max = container.upload_max_bytes;
    vec![
        Limit {
            name: "upload",
            amount: Amount::Bytes(max),
            origin: Origin::of_manifest("uploads.max".to_owned(), max == UPLOAD_DEFAULT_BYTES),
            about: "of all files of a form; 413",
        },
        fixed("uploadFiles", Amount::count(UPLOAD_FILES_MAX), "of a form; 400"),
        fixed("uploadParts", Amount::count(UPLOAD_PARTS_MAX), "of a form; 400"),
        fixed("uploadField", Amount::bytes(UPLOAD_FIELD_MAX_BYTES), "that is no file; 413"),
        fixed("uploadPace", Amount::BytesPerSecond(BODY_FLOOR_BYTES), "at least; 408"),
        fixed("uploads", Amount::count(UPLOADS_AT_ONCE), "at once at one instance; 503"),
        fixed("streams", Amount::count(STREAMS_AT_ONCE), "at once at one instance; 503"),
        fixed("streamsOfAgent", Amount::count(STREAMS_PER_AGENT), "of these; 429"),
        fixed("streamLine", Amount::bytes(STREAM_LINE_MAX_BYTES), "of a stream; ended"),
    ]
}

/// What the manifest says of a command, or of all that do not say otherwise.
struct Terms {
    run: (std::time::Duration, Origin),
    concurrency: (u16, Origin),
}

impl Terms {
    fn of(container: &Container, command: Option<(&CommandName, &Command)>) -> Self {
        let own = command.filter(|(_, command)| command.timeout.is_some());
        let run = if let Some((name, command)) = own {
            let origin = Origin::Manifest(format!("commands.{name}.timeout"));
            (container.timeout_of(command), origin)
        } else {
            let is_usual = container.timeout == TASK_TIMEOUT_DEFAULT;
            (container.timeout, Origin::of_manifest("timeout".to_owned(), is_usual))
        };
        let own = command.and_then(|(name, command)| Some((name, command.concurrency?)));
        let concurrency = if let Some((name, own)) = own {
            let origin = Origin::Manifest(format!("commands.{name}.concurrency"));
            (own.min(container.concurrency), origin)
        } else {
            let is_usual = container.concurrency == CONCURRENCY_DEFAULT;
            let origin = Origin::of_manifest("concurrency".to_owned(), is_usual);
            (container.concurrency, origin)
        };
        Self { run, concurrency }
    }
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
    use crate::{Config, Manifest};

    fn limits(settings: &str, manifest: &str, command: Option<&str>) -> Vec<Limit> {
        let text = format!(r#"{{"domains":[],"deployments":[],"settings":{settings}}}"#);
        let settings = Config::parse(text.as_bytes()).unwrap().settings;
        let service = Manifest::parse(manifest.as_bytes()).unwrap().service;
        let command = command.map(|command| command.parse().unwrap());
        route_limits(&settings, &service, command.as_ref()).unwrap()
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
        let settings = Settings::default();
        let of = |manifest: &str| {
            let service = Manifest::parse(manifest.as_bytes()).unwrap().service;
            route_limits(&settings, &service, Some(&"x".parse().unwrap())).unwrap_err()
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
