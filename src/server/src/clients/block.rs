//! What counts as one address.

use std::net::IpAddr;

/// An IPv4 address, or the /64 of an IPv6 address: the least that one subscriber has (RFC 6177), who may take
/// another address of it for each connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Block {
    V4(u32),
    V6(u64),
}

impl Block {
    /// The block that `address` belongs to.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                let word = |(high, low): (u16, u16)| u64::from(high) << 16 | u64::from(low);
                Self::V6(word((a, b)) << 32 | word((c, d)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let of = |text: &str| Block::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), Block::V6(0x2001_0db8_0001_0002));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
        assert_ne!(of("1.2.3.4"), of("1.2.3.5"));
        assert_ne!(of("0.0.0.0"), of("::"));
    }
}
