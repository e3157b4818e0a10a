//! `settings` of `config.json`: what holds for the whole host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{
    ADMIN_SESSION_IDLE_MAX, ADMIN_SESSION_IDLE_MIN, ADMIN_SESSION_MAX, DEAD_TASK_RETENTION_DEFAULT,
    TASK_RETENTION_DEFAULT, TASK_RETENTION_MAX, TRUSTED_PROXIES_MAX, WORKERS_MAX,
};
use crate::{CallbackOrigin, ClientLimits, Network};

/// Settings of the host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// TCP port of all instances.
    pub port: u16,
    /// Instances that `ploinky.target` starts.
    pub workers_count: WorkersCount,
    /// Days that metrics are kept.
    pub metrics_retention: u16,
    /// Seconds that the outcome of an accepted task is kept.
    pub task_retention: u64,
    /// Seconds that a task is kept that failed after its last retry.
    pub dead_task_retention: u64,
    /// Seconds without a request after which the session of an admin ends.
    pub admin_session_idle: u64,
    /// Seconds after which it ends however it is used.
    pub admin_session_max: u64,
    /// Where outcomes may be posted to: `https://host`, `http://host` or either with a port. Empty: a task that
    /// asks for a callback is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub callback_origins: Vec<CallbackOrigin>,
    /// Proxies whose word on the address of a client is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// Whether a server in front ends TLS for all that comes by the port, so that cookies are for TLS alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external_tls: bool,
    /// What one client may take of one instance.
    #[serde(skip_serializing_if = "ClientLimits::is_default")]
    pub limits: ClientLimits,
}

/// How many instances start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkersCount {
    /// One per core.
    Auto,
    /// So many.
    Fixed(u16),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 8000,
            workers_count: WorkersCount::Auto,
            metrics_retention: 7,
            task_retention: TASK_RETENTION_DEFAULT.as_secs(),
            dead_task_retention: DEAD_TASK_RETENTION_DEFAULT.as_secs(),
            admin_session_idle: ADMIN_SESSION_IDLE_MAX.as_secs(),
            admin_session_max: ADMIN_SESSION_MAX.as_secs(),
            callback_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            external_tls: false,
            limits: ClientLimits::default(),
        }
    }
}

impl Settings {
    /// The first key whose value is out of its range, and what is wrong with it.
    pub(super) fn first_fault(&self) -> Option<(String, String)> {
        if self.port == 0 {
            return Some(("port".to_owned(), "0 is not in the range 1 to 65535".to_owned()));
        }
        let second = Duration::from_secs(1);
        for (key, seconds, least, most) in [
            ("taskRetention", self.task_retention, second, TASK_RETENTION_MAX),
            ("deadTaskRetention", self.dead_task_retention, second, TASK_RETENTION_MAX),
            (
                "adminSessionIdle",
                self.admin_session_idle,
                ADMIN_SESSION_IDLE_MIN,
                ADMIN_SESSION_IDLE_MAX,
            ),
            ("adminSessionMax", self.admin_session_max, ADMIN_SESSION_IDLE_MIN, ADMIN_SESSION_MAX),
        ] {
            let (least, most) = (least.as_secs(), most.as_secs());
            if !(least..=most).contains(&seconds) {
                let reason = format!("{seconds} is not in the range {least} to {most} seconds");
                return Some((key.to_owned(), reason));
            }
        }
        if let Some((key, reason)) = self.limits.first_fault() {
            return Some((format!("limits.{key}"), reason));
        }
        let proxies = self.trusted_proxies.len();
        if TRUSTED_PROXIES_MAX < proxies {
            let reason = format!("has {proxies} entries; {TRUSTED_PROXIES_MAX} are allowed");
            return Some(("trustedProxies".to_owned(), reason));
        }
        match self.workers_count {
            WorkersCount::Fixed(count) if !(1..=WORKERS_MAX).contains(&count) => {
                let reason = format!("{count} is not `auto` or in the range 1 to {WORKERS_MAX}");
                Some(("workersCount".to_owned(), reason))
            }
            WorkersCount::Fixed(_) | WorkersCount::Auto => None,
        }
    }
}

impl Serialize for WorkersCount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for WorkersCount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`auto` or a number from 1 to 64")]
        enum Either {
            Word(String),
            Number(u16),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(count) => Ok(Self::Fixed(count)),
            Either::Word(word) if word == "auto" => Ok(Self::Auto),
            Either::Word(word) => Err(serde::de::Error::custom(format!(
                "`{}` is not `auto` or a number from 1 to 64",
                word.escape_debug()
            ))),
        }
    }
}
