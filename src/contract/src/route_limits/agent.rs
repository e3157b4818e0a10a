//! What bounds a call of an agent, and its task.

use std::time::Duration;

use super::{Amount, Limit, Origin, fixed};
use crate::limits::{
    ACCEPTED_PER_AGENT, ACCEPTED_PER_USER, AGENT_DOWN_GRACE, BODY_FLOOR_BYTES, BODY_IDLE,
    BODY_TIMEOUT, CONCURRENCY_DEFAULT, IN_FLIGHT_PER_AGENT, JSON_DEPTH_MAX, PARAMS_MAX,
    PREFER_WAIT_MAX, REQUEST_MAX_BYTES, RESULT_MAX_BYTES, STREAM_LINE_MAX_BYTES, STREAMS_AT_ONCE,
    STREAMS_PER_AGENT, SYNC_TIMEOUT_MAX, TASK_DEADLINE_DEFAULT, TASK_TIMEOUT_DEFAULT,
    UPLOAD_DEFAULT_BYTES, UPLOAD_FIELD_MAX_BYTES, UPLOAD_FILES_MAX, UPLOAD_PARTS_MAX,
    UPLOADS_AT_ONCE,
};
use crate::{Command, CommandName, Container, Settings};

/// The bounds of a call, in the order in which it meets them.
pub(super) fn of_agent(
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
    run: (Duration, Origin),
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
