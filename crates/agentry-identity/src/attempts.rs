//! How often an address was refused lately. The table is bounded; who does not fit in shares a place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::Timestamp;

const WINDOW: Duration = Duration::from_secs(60);
const ADDRESSES_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Attempts {
    per_minute: u32,
    table: Mutex<HashMap<IpAddr, Refused>>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    since: Timestamp,
    times: u32,
}

impl Refused {
    /// A clock that was set back ends it too.
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || now.since(self.since) >= WINDOW
    }
}

impl Attempts {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, table: Mutex::default() }
    }

    /// Counts a refusal; tells how long the address has to wait when there were too many.
    pub(crate) fn refuse(&self, peer: IpAddr, now: Timestamp) -> Option<Duration> {
        let mut table = self.table();
        let mut place = place(peer);
        if table.len() >= ADDRESSES_MAX && !table.contains_key(&place) {
            table.retain(|_, refused| !refused.is_over(now));
            if table.len() >= ADDRESSES_MAX {
                place = OTHERS;
            }
        }
        let refused = table.entry(place).or_insert(Refused { since: now, times: 0 });
        if refused.is_over(now) {
            *refused = Refused { since: now, times: 0 };
        }
        refused.times = refused.times.saturating_add(1);
        wait(*refused, self.per_minute, now)
    }

    /// How long the address has to wait, if it has to.
    pub(crate) fn blocked(&self, peer: IpAddr, now: Timestamp) -> Option<Duration> {
        let refused = self.table().get(&place(peer)).copied()?;
        if refused.is_over(now) { None } else { wait(refused, self.per_minute, now) }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Refused>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn wait(refused: Refused, per_minute: u32, now: Timestamp) -> Option<Duration> {
    (refused.times > per_minute).then(|| WINDOW.saturating_sub(now.since(refused.since)))
}

/// Whoever has one IPv6 address has 2^64 of them.
fn place(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i32) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn an_address_that_is_refused_too_often_has_to_wait() {
        let attempts = Attempts::new(2);
        let peer = |text: &str| text.parse().unwrap();
        let (alice, bob) = (peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(attempts.refuse(alice, at(0)), None);
        assert_eq!(attempts.refuse(peer("2001:db8::2"), at(10)), None, "the same network");
        assert_eq!(attempts.refuse(alice, at(20)), Some(Duration::from_secs(40)));
        assert_eq!(attempts.blocked(alice, at(30)), Some(Duration::from_secs(30)));
        assert_eq!(attempts.refuse(bob, at(30)), None);
        assert_eq!(attempts.blocked(alice, at(60)), None);
        assert_eq!(attempts.refuse(alice, at(60)), None);
        assert_eq!(attempts.blocked(peer("::ffff:192.0.2.1"), at(60)), None);
    }

    #[test]
    fn the_table_does_not_grow_for_ever() {
        let attempts = Attempts::new(1);
        for number in 0..2 * ADDRESSES_MAX as u32 {
            attempts.refuse(IpAddr::V4(number.into()), at(0));
        }
        assert!(attempts.table().len() <= ADDRESSES_MAX + 1);
        let fresh = IpAddr::V4(u32::MAX.into());
        assert!(attempts.refuse(fresh, at(1)).is_some(), "those who do not fit in share a place");
        attempts.refuse(fresh, at(61));
        assert!(attempts.table().len() < 9, "what is over is forgotten");
    }
}
