//! The settings of a configuration, and where each came from. Pure.

use ploinky_contract::{ClientLimits, Config, Settings, WorkersCount};
use serde::Serialize;
use serde_json::Value;

/// Where a setting came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The file names it.
    File,
    /// The file does not.
    Default,
}

/// One setting.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Setting {
    value: Value,
    from: Origin,
}

/// All settings.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Effective {
    port: Setting,
    workers_count: Setting,
    metrics_retention: Setting,
    task_retention: Setting,
    dead_task_retention: Setting,
    admin_session_idle: Setting,
    admin_session_max: Setting,
    callback_origins: Setting,
    trusted_proxies: Setting,
    external_tls: Setting,
    limits: EffectiveLimits,
}

/// What one client may take.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct EffectiveLimits {
    connections_per_address: Setting,
    requests_per_second: Setting,
    burst: Setting,
}

impl Effective {
    /// Of a configuration and the text it was parsed from.
    pub(crate) fn new(config: &Config, text: &[u8]) -> Self {
        let Settings {
            port,
            workers_count,
            metrics_retention,
            task_retention,
            dead_task_retention,
            admin_session_idle,
            admin_session_max,
            callback_origins,
            trusted_proxies,
            external_tls,
            limits: ClientLimits { connections_per_address, requests_per_second, burst },
        } = &config.settings;
        let written: Value = serde_json::from_slice(text).unwrap_or_default();
        let setting = |key: &str, value: Value| {
            let place = format!("/settings/{}", key.replace('.', "/"));
            let is_written = written.pointer(&place).is_some();
            Setting { value, from: if is_written { Origin::File } else { Origin::Default } }
        };
        let limit = |key: &str, value: u32| setting(&format!("limits.{key}"), Value::from(value));
        let count = match workers_count {
            WorkersCount::Auto => Value::from("auto"),
            WorkersCount::Fixed(count) => Value::from(*count),
        };
        let origins: Vec<String> = callback_origins.iter().map(ToString::to_string).collect();
        let proxies: Vec<String> = trusted_proxies.iter().map(ToString::to_string).collect();
        Self {
            port: setting("port", Value::from(*port)),
            workers_count: setting("workersCount", count),
            metrics_retention: setting("metricsRetention", Value::from(*metrics_retention)),
            task_retention: setting("taskRetention", Value::from(*task_retention)),
            dead_task_retention: setting("deadTaskRetention", Value::from(*dead_task_retention)),
            admin_session_idle: setting("adminSessionIdle", Value::from(*admin_session_idle)),
            admin_session_max: setting("adminSessionMax", Value::from(*admin_session_max)),
            callback_origins: setting("callbackOrigins", Value::from(origins)),
            trusted_proxies: setting("trustedProxies", Value::from(proxies)),
            external_tls: setting("externalTls", Value::from(*external_tls)),
            limits: EffectiveLimits {
                connections_per_address: limit("connectionsPerAddress", *connections_per_address),
                requests_per_second: limit("requestsPerSecond", *requests_per_second),
                burst: limit("burst", *burst),
            },
        }
    }

    /// Key, value and origin of each.
    pub(crate) fn rows(&self) -> [(&'static str, String, Origin); 13] {
        let Self {
            port,
            workers_count,
            metrics_retention,
            task_retention,
            dead_task_retention,
            admin_session_idle,
            admin_session_max,
            callback_origins,
            trusted_proxies,
            external_tls,
            limits: EffectiveLimits { connections_per_address, requests_per_second, burst },
        } = self;
        [
            ("settings.port", port),
            ("settings.workersCount", workers_count),
            ("settings.metricsRetention", metrics_retention),
            ("settings.taskRetention", task_retention),
            ("settings.deadTaskRetention", dead_task_retention),
            ("settings.adminSessionIdle", admin_session_idle),
            ("settings.adminSessionMax", admin_session_max),
            ("settings.callbackOrigins", callback_origins),
            ("settings.trustedProxies", trusted_proxies),
            ("settings.externalTls", external_tls),
            ("settings.limits.connectionsPerAddress", connections_per_address),
            ("settings.limits.requestsPerSecond", requests_per_second),
            ("settings.limits.burst", burst),
        ]
        .map(|(key, Setting { value, from })| (key, shown(value), *from))
    }
}

/// A value as a person reads it: words without quotes, a list with commas.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_equals_the_default_still_comes_from_the_file() {
        let text =
            br#"{"domains":[],"deployments":[],"settings":{"port":8000,"taskRetention":60,"limits":{"burst":1000}}}"#;
        let effective = Effective::new(&Config::parse(text).unwrap(), text);
        assert_eq!(
            effective.rows(),
            [
                ("settings.port", "8000".to_owned(), Origin::File),
                ("settings.workersCount", "auto".to_owned(), Origin::Default),
                ("settings.metricsRetention", "7".to_owned(), Origin::Default),
                ("settings.taskRetention", "60".to_owned(), Origin::File),
                ("settings.deadTaskRetention", "604800".to_owned(), Origin::Default),
                ("settings.adminSessionIdle", "1800".to_owned(), Origin::Default),
                ("settings.adminSessionMax", "86400".to_owned(), Origin::Default),
                ("settings.callbackOrigins", "none".to_owned(), Origin::Default),
                ("settings.trustedProxies", "none".to_owned(), Origin::Default),
                ("settings.externalTls", "false".to_owned(), Origin::Default),
                ("settings.limits.connectionsPerAddress", "100".to_owned(), Origin::Default),
                ("settings.limits.requestsPerSecond", "500".to_owned(), Origin::Default),
                ("settings.limits.burst", "1000".to_owned(), Origin::File),
            ]
        );
    }

    #[test]
    fn the_manual_page_shows_every_setting() {
        let page = include_str!("../man/tail.roff");
        let shape = page.split(".SS \"config check\"\n.nf\n").nth(1).unwrap();
        let shown: Value = serde_json::from_str(shape.split("\n.fi").next().unwrap()).unwrap();
        let text = br#"{"domains":[],"deployments":[],"settings":{"metricsRetention":7}}"#;
        let settings = Effective::new(&Config::parse(text).unwrap(), text);
        assert_eq!(shown["settings"], serde_json::to_value(settings).unwrap());
    }

    #[test]
    fn a_list_is_shown_with_commas() {
        let text = br#"{"domains":[],"deployments":[],"settings":{"callbackOrigins":["https://a.org","http://b.org:81"]}}"#;
        let effective = Effective::new(&Config::parse(text).unwrap(), text);
        let [_, _, _, _, _, _, _, (_key, value, origin), ..] = effective.rows();
        assert_eq!((value.as_str(), origin), ("https://a.org, http://b.org:81", Origin::File));
    }
}
