//! What one client may take of one instance.

use serde::{Deserialize, Serialize};

use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS, REQUESTS_BURST, REQUESTS_BURST_MAX,
    REQUESTS_PER_SECOND, REQUESTS_PER_SECOND_MAX,
};

/// `settings.limits`: of one address, and of one token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ClientLimits {
    /// Connections of one address that one instance holds open.
    pub connections_per_address: u32,
    /// Requests a second that one instance answers one address, or one token, in the long run; 0: any number.
    pub requests_per_second: u32,
    /// Requests that may come at once after a quiet time.
    pub burst: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            requests_per_second: REQUESTS_PER_SECOND,
            burst: REQUESTS_BURST,
        }
    }
}

impl ClientLimits {
    /// Whether nothing was set, so that a later version may bring other defaults.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The first key whose value is out of its range, and what is wrong with it.
    pub(crate) fn first_fault(&self) -> Option<(&'static str, String)> {
        let Self { connections_per_address, requests_per_second, burst } = *self;
        let connections_most = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        [
            ("connectionsPerAddress", connections_per_address, 1, connections_most),
            ("requestsPerSecond", requests_per_second, 0, REQUESTS_PER_SECOND_MAX),
            ("burst", burst, 1, REQUESTS_BURST_MAX),
        ]
        .into_iter()
        .find(|(_, value, least, most)| !(least..=most).contains(&value))
        .map(|(key, value, least, most)| {
            (key, format!("{value} is not in the range {least} to {most}"))
        })
    }
}
