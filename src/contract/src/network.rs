//! A network of IP addresses, or one address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `10.0.0.0/8`, `2001:db8::/32` or a single address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    first: IpAddr,
    /// Leading bits that all its addresses share.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{}` is not an address such as `192.0.2.7` or `2001:db8::7`, or a network such as `10.0.0.0/8` without bits behind its prefix",
    .0.escape_debug()
)]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether `address` is one of its addresses. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn covers(&self, address: IpAddr) -> bool {
        let Self { first, prefix } = *self;
        let address = address.to_canonical();
        first.is_ipv4() == address.is_ipv4() && first_of(address, prefix) == first
    }
}

/// The network of `prefix` leading bits that `address` lies in, by its first address. A prefix that is longer
/// than the address is the address itself.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::BITS.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u128::BITS.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let refused = || InvalidNetwork(text.chars().take(100).collect());
        let (first, prefix) = match text.split_once('/') {
            Some((first, prefix)) => (first, Some(prefix)),
            None => (text, None),
        };
        let first = first.parse::<IpAddr>().map_err(|_shape| refused())?;
        if first.to_canonical() != first {
            return Err(refused());
        }
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix: &u8| *prefix <= bits && prefix.to_string() == text)
                .ok_or_else(refused)?,
        };
        if first_of(first, prefix) == first { Ok(Self { first, prefix }) } else { Err(refused()) }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, prefix } = self;
        match (first, prefix) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{first}"),
            _ => write!(f, "{first}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_network_is_refused() {
        for text in [
            "",
            "x",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.1/8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0:80",
            "::1/64",
            "::/129",
            "[::1]",
            "fe80::1%eth0",
            "::ffff:10.0.0.1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_network_covers_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "::a00:0"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::"]),
            ("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::", "1.2.3.4"]),
            ("::/0", &["::1", "ffff::"], &["1.2.3.4"]),
            ("::1", &["::1"], &["::", "127.0.0.1"]),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            for address in inside {
                assert!(parsed.covers(address.parse().unwrap()), "{network} {address}");
            }
            for address in outside {
                assert!(!parsed.covers(address.parse().unwrap()), "{network} {address}");
            }
        }
    }
}
