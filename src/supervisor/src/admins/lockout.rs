//! For how long wrong passwords close the place that they come from. Pure.
//!
//! What they cost an account is written down with it. This is in memory: a restart of the supervisor forgives
//! addresses, of which whoever attacks has many, and not accounts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ploinky_contract::limits::{
    ADDRESS_FORGET, ADDRESS_FREE_FAILURES, LOCK_FIRST, LOCK_MAX, LOCKED_ADDRESSES_MAX,
};

/// What is closed now. Times are milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    addresses: HashMap<IpAddr, Recent>,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    count: u32,
    last_ms: u64,
}

impl Lockout {
    /// Whether nothing that comes from there is right.
    pub(super) fn is_closed(&self, from: Option<IpAddr>, now_ms: u64) -> bool {
        let recent = from.and_then(|from| self.addresses.get(&place(from)));
        recent.is_some_and(|recent| recent.age(now_ms) < delay(recent.count))
    }

    /// Notes a failure from there. A proxy on this host stands for everybody, and is not closed.
    pub(super) fn fail(&mut self, from: Option<IpAddr>, now_ms: u64) {
        let Some(from) = from.map(place).filter(|from| !from.is_loopback()) else { return };
        self.addresses.retain(|_from, recent| recent.age(now_ms) < ADDRESS_FORGET);
        if LOCKED_ADDRESSES_MAX <= self.addresses.len() && !self.addresses.contains_key(&from) {
            let oldest = self.addresses.iter().min_by_key(|(_from, recent)| recent.last_ms);
            if let Some(oldest) = oldest.map(|(from, _recent)| *from) {
                self.addresses.remove(&oldest);
            }
        }
        let recent = self.addresses.entry(from).or_insert(Recent { count: 0, last_ms: now_ms });
        recent.count = recent.count.saturating_add(1);
        recent.last_ms = now_ms;
    }
}

impl Recent {
    /// Time since the last failure; none if the clock went back.
    fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.last_ms))
    }
}

/// One second after the last free failure, then twice as long each time.
fn delay(failures: u32) -> Duration {
    match failures.checked_sub(ADDRESS_FREE_FAILURES) {
        None => Duration::ZERO,
        // Beyond 2^20 seconds the limit was reached long ago.
        Some(doublings) => (LOCK_FIRST * (1_u32 << doublings.min(20))).min(LOCK_MAX),
    }
}

/// Where an address belongs: whoever has one of IPv6 has a whole /64.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) if address.is_loopback() => IpAddr::V6(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn from(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn s9_an_address_is_closed_after_many_failures_and_twice_as_long_each_time() {
        let mut lockout = Lockout::default();
        for _ in 0..ADDRESS_FREE_FAILURES {
            assert!(!lockout.is_closed(from("2001:db8::1"), NOW));
            lockout.fail(from("2001:db8::2"), NOW);
            lockout.fail(from("127.0.0.1"), NOW);
            lockout.fail(from("::1"), NOW);
            lockout.fail(from("::ffff:127.0.0.1"), NOW);
            lockout.fail(None, NOW);
        }
        assert!(lockout.is_closed(from("2001:db8::ffff"), NOW + 999));
        assert!(!lockout.is_closed(from("2001:db8::ffff"), NOW + 1000));
        for open in ["2001:db8:0:1::1", "127.0.0.1", "::1"] {
            assert!(!lockout.is_closed(from(open), NOW), "{open}");
        }
        assert!(!lockout.is_closed(None, NOW));
        lockout.fail(from("2001:db8::3"), NOW);
        assert!(lockout.is_closed(from("2001:db8::1"), NOW + 1999));
        assert!(!lockout.is_closed(from("2001:db8::1"), NOW + 2000));
        assert_eq!(
            [0, 19, 20, 29, 30, u32::MAX].map(|n| delay(n).as_secs()),
            [0, 0, 1, 512, 900, 900]
        );
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut lockout = Lockout::default();
        let first: IpAddr = "10.0.0.0".parse().unwrap();
        for number in 0..=u32::try_from(LOCKED_ADDRESSES_MAX).unwrap() {
            let from = IpAddr::V4((0x0a00_0000 + number).into());
            lockout.fail(Some(from), NOW + u64::from(number));
        }
        assert_eq!(lockout.addresses.len(), LOCKED_ADDRESSES_MAX);
        assert!(!lockout.addresses.contains_key(&first));
        lockout.fail(Some(first), 2 * NOW + 3_600_000);
        assert_eq!(lockout.addresses.len(), 1);
    }
}
