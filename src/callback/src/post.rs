//! One try to post one outcome.

use std::fs::File;
use std::io::{self, Read as _};

use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::paths::StateDir;
use ploinky_contract::{AgentId, Config, chain};
use ploinky_queue::{BadResult, CallbackSecret, Producer};
use rustix::time::{ClockId, clock_gettime};

use crate::curl::{self, Message};
use crate::desk::Errand;
use crate::payload::payload;
use crate::retry::Verdict;

/// Bytes of `task.key`, and some that it must not have.
const KEY_BYTES: u64 = 80;

/// One try, on the thread of a messenger.
pub(crate) fn post(state: &StateDir, errand: &Errand) -> Verdict {
    let Errand { callback, agent, tries: _ } = errand;
    let later = |why: String| Verdict::Later { why, asked: None };
    match is_allowed(state, &callback.url) {
        Ok(true) => {}
        Ok(false) => {
            return Verdict::Refused("settings.callbackOrigins does not cover the URL".to_owned());
        }
        Err(e) => return later(format!("cannot read the configuration: {e}")),
    }
    let secret = match secret(state, agent) {
        Ok(secret) => secret,
        Err(e) => return later(format!("cannot read the key: {e}")),
    };
    let tasks = state.agent(&callback.domain, &callback.path).tasks();
    let read = Producer::open(&tasks).map_err(io::Error::other).and_then(|producer| {
        let or_trouble = |e: BadResult| io::Error::other(chain(&e));
        let inspected = producer.inspect(callback.id).map_err(or_trouble)?;
        Ok((inspected, producer.collect_durable(callback.id).map_err(or_trouble)?))
    });
    match read {
        Ok((Some(inspected), Some(outcome))) => {
            let body = payload(callback, inspected, outcome);
            let now = clock_gettime(ClockId::Realtime).tv_sec;
            let id = callback.id.as_str();
            let headers = vec![
                ("Content-Type", "application/json".to_owned()),
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", now.to_string()),
                ("webhook-signature", secret.sign(id, now, &body)),
            ];
            curl::post(&Message { url: callback.url.clone(), headers, body })
        }
        Ok((Some(_), None)) => later("the task goes on".to_owned()),
        Ok((None, _)) => Verdict::Refused("the task is gone".to_owned()),
        Err(e) => later(format!("cannot read the outcome: {e}")),
    }
}

fn is_allowed(state: &StateDir, url: &str) -> io::Result<bool> {
    let mut text = Vec::new();
    File::open(state.config())?.take(CONFIG_MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    let config = Config::parse(&text).map_err(io::Error::other)?;
    Ok(config.settings.callback_origins.iter().any(|origin| origin.covers(url)))
}

fn secret(state: &StateDir, agent: &AgentId) -> io::Result<CallbackSecret> {
    let mut text = String::new();
    File::open(state.task_key())?.take(KEY_BYTES).read_to_string(&mut text)?;
    CallbackSecret::of(text.trim_end(), agent).map_err(io::Error::other)
}
