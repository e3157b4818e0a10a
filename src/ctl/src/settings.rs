//! The settings of a configuration, and where each came from. Pure.

use ploinky_contract::{Config, Settings, WorkersCount};
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
}

impl Effective {
    /// Of a configuration and the text it was parsed from.
    pub(crate) fn new(config: &Config, text: &[u8]) -> Self {
        let Settings { port, workers_count, metrics_retention, .. } = config.settings;
        let written: Value = serde_json::from_slice(text).unwrap_or_default();
        let setting = |key: &str, value: Value| {
            let is_written = written.get("settings").is_some_and(|s| s.get(key).is_some());
            Setting { value, from: if is_written { Origin::File } else { Origin::Default } }
        };
        let count = match workers_count {
            WorkersCount::Auto => Value::from("auto"),
            WorkersCount::Fixed(count) => Value::from(count),
        };
        Self {
            port: setting("port", Value::from(port)),
            workers_count: setting("workersCount", count),
            metrics_retention: setting("metricsRetention", Value::from(metrics_retention)),
        }
    }

    /// Key, value and origin of each.
    pub(crate) fn rows(&self) -> [(&'static str, String, Origin); 3] {
        let Self { port, workers_count, metrics_retention } = self;
        [
            ("settings.port", port),
            ("settings.workersCount", workers_count),
            ("settings.metricsRetention", metrics_retention),
        ]
        .map(|(key, Setting { value, from })| {
            (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned), *from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_equals_the_default_still_comes_from_the_file() {
        let text = br#"{"domains":[],"deployments":[],"settings":{"port":8000}}"#;
        let effective = Effective::new(&Config::parse(text).unwrap(), text);
        assert_eq!(
            effective.rows(),
            [
                ("settings.port", "8000".to_owned(), Origin::File),
                ("settings.workersCount", "auto".to_owned(), Origin::Default),
                ("settings.metricsRetention", "7".to_owned(), Origin::Default),
            ]
        );
    }
}
