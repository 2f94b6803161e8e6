//! Address rates: how many connections one address may open in a second.
//!
//! Duty: a bucket of tokens per address, forgotten as soon as it is full again; never more of them than a bound. Must not:
//! close anything. Neighbours: `accepting` asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::id::Millis;

/// Addresses remembered at once. Those beyond it are not limited: it would hit who has done nothing.
const ADDRESSES_MAX: usize = 16_384;

/// A bucket is full again after so long, whatever the rate: it holds the tokens of one second.
const FULL_MILLIS: u64 = 1_000;

/// One connection, in the unit in which tokens are counted: a rate per second then fills by its own number in a millisecond.
const CONNECTION: u64 = 1_000;

/// The rates of all addresses.
#[derive(Debug)]
pub(super) struct AddressRates {
    per_sec_max: u32,
    by_address: HashMap<IpAddr, Bucket, ahash::RandomState>,
    swept_at: Millis,
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    at: Millis,
}

impl AddressRates {
    /// No address has come yet. `per_sec_max`: connections per second of one address; 0 takes any number. `seed`: a secret, so
    /// that nobody can choose addresses that collide.
    pub(super) fn new(per_sec_max: u32, seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, 0x5851_f42d, 7);
        Self { per_sec_max, by_address: HashMap::with_hasher(hasher), swept_at: Millis(0) }
    }

    /// From now on so many connections per second of one address; 0 takes any number.
    pub(super) fn change(&mut self, per_sec_max: u32) {
        self.per_sec_max = per_sec_max;
    }

    /// Whether an address may open another connection now; if so, it has.
    pub(super) fn take(&mut self, now: Millis, address: IpAddr) -> bool {
        if self.per_sec_max == 0 {
            return true;
        }
        self.forget_full(now);
        let full = u64::from(self.per_sec_max) * CONNECTION;
        let address = network_of(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            return true;
        }
        let bucket = self.by_address.entry(address).or_insert(Bucket { tokens: full, at: now });
        let gained = now.0.saturating_sub(bucket.at.0).saturating_mul(u64::from(self.per_sec_max));
        bucket.tokens = bucket.tokens.saturating_add(gained).min(full);
        bucket.at = now;
        let has_token = bucket.tokens >= CONNECTION;
        if has_token {
            bucket.tokens -= CONNECTION;
        }
        has_token
    }

    /// Once per second, whatever the number of connections: so each costs the same in the long run.
    fn forget_full(&mut self, now: Millis) {
        if now >= self.swept_at.after_millis(FULL_MILLIS) {
            self.swept_at = now;
            self.by_address.retain(|_, bucket| now < bucket.at.after_millis(FULL_MILLIS));
        }
    }
}

/// What counts as one address: of IPv6 the network, as every host has 2^64 addresses in it.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn taken(rates: &mut AddressRates, now: u64, address: IpAddr, times: usize) -> usize {
        (0..times).filter(|_| rates.take(Millis(now), address)).count()
    }

    #[test]
    fn an_address_gets_its_rate_and_no_other_pays_for_it() {
        let mut rates = AddressRates::new(10, 1);
        assert_eq!(taken(&mut rates, 5_000, ONE, 100), 10);
        assert_eq!(taken(&mut rates, 5_000, OTHER, 3), 3);
        assert_eq!(taken(&mut rates, 5_099, ONE, 100), 0);
        assert_eq!(taken(&mut rates, 5_100, ONE, 100), 1);
        assert_eq!(taken(&mut rates, 5_600, ONE, 100), 5);
        assert_eq!(taken(&mut rates, 60_000, ONE, 100), 10);
    }

    #[test]
    fn who_tries_all_the_time_gets_the_rate_and_not_more() {
        let mut rates = AddressRates::new(7, 1);
        let got: usize = (0..10_000).map(|now| taken(&mut rates, now, ONE, 3)).sum();
        assert!((7 * 10..=7 * 11).contains(&got), "{got} in ten seconds");
    }

    #[test]
    fn a_rate_of_0_limits_nobody_and_remembers_nobody() {
        let mut rates = AddressRates::new(0, 1);
        assert_eq!(taken(&mut rates, 1, ONE, 1000), 1000);
        assert!(rates.by_address.is_empty());
    }

    #[test]
    fn full_buckets_are_forgotten_and_there_are_never_more_than_the_bound() {
        let mut rates = AddressRates::new(1, 1);
        for number in 0..ADDRESSES_MAX as u32 + 100 {
            assert!(rates.take(Millis(10), Ipv4Addr::from_bits(number).into()));
        }
        assert_eq!(rates.by_address.len(), ADDRESSES_MAX);
        assert!(rates.take(Millis(1_009), ONE), "who is not remembered is not limited");
        assert!(rates.take(Millis(2_010), ONE));
        assert_eq!(rates.by_address.len(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let mut rates = AddressRates::new(1, 1);
        assert!(rates.take(Millis(1), "2001:db8:1:2::1".parse().unwrap()));
        assert!(!rates.take(Millis(1), "2001:db8:1:2:3::9".parse().unwrap()));
        assert!(rates.take(Millis(1), "2001:db8:1:3::1".parse().unwrap()));
    }
}
