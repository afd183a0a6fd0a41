//! Recent failures of peers. They decide which requests come first when not all can be served at
//! once. Pure data: the caller passes the time.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credential;
use crate::access::origin::Origin;
use crate::status::Status;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// Time after which one failure is forgotten. 60 s: a person who mistypes twice is not slowed
/// down for long, while a program that guesses passwords always has failures on record.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Maximum number of failures that count at a time. 16, forgotten within 16 minutes: waiting 16
/// turns longer is expensive enough for an attacker, and no user is locked out for long.
const MAX_COUNTED: u32 = 16;

/// Time for which an admitted key is remembered. One hour: longer than the outages after which
/// all peers reconnect at the same time.
const KNOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// A peer with a request, as far as it competes with others.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) origin: Origin,
    credential: Credential,
}

/// The place of a request among those that compete for permits and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority {
    /// The peer's address.
    pub(crate) origin: Origin,
    /// How many recent failures count against the peer.
    pub(crate) failures: usize,
}

impl Asker {
    pub(crate) fn new(address: &PeerAddress, credential: Credential) -> Self {
        Self {
            origin: Origin::of(address),
            credential,
        }
    }

    /// Whether this is a PLAIN user. A successful login of a user clears the user's failures.
    pub(crate) const fn is_user(&self) -> bool {
        matches!(self.credential, Credential::UserName(_))
    }
}

/// The recent failures of peers. PLAIN failures are recorded by address and user, those of other
/// mechanisms by address. No failures count against local peers, nor against a CURVE key that was
/// admitted recently.
#[derive(Debug)]
pub(crate) struct Failures {
    /// A keyed hash, so that no peer can choose credentials whose records collide.
    hasher: RandomState,
    failed: Records,
    known: Records,
}

impl Failures {
    /// Remembers at most `capacity` peers with failures, and as many admitted keys.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            failed: Records::new(capacity),
            known: Records::new(capacity),
        }
    }

    /// The priority of a request now.
    pub(crate) fn priority(&self, asker: &Asker, now: Instant) -> Priority {
        Priority {
            origin: asker.origin,
            failures: self.count(asker, now),
        }
    }

    fn count(&self, asker: &Asker, now: Instant) -> usize {
        if asker.origin == Origin::Local || self.is_known(&asker.credential, now) {
            return 0;
        }
        let end = self.failed.ends.get(&self.record(asker));
        let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        let unforgiven = left.as_millis().div_ceil(FORGIVEN_AFTER.as_millis());
        usize::try_from(unforgiven).unwrap_or(usize::MAX)
    }

    /// Records the outcome of a request. Only status 400 counts as a failure: 300 and 500 are
    /// failures of our side.
    pub(crate) fn note(&mut self, asker: &Asker, status: Status, now: Instant) {
        let is_key = matches!(asker.credential, Credential::Key(_));
        match status {
            Status::Success if is_key => {
                let end = now.checked_add(KNOWN_FOR).unwrap_or(now);
                self.known.set(self.hash_key(&asker.credential), end);
            }
            // The password was right, so the earlier failures were the same user's mistakes.
            Status::Success => self.failed.remove(self.record(asker)),
            Status::AuthenticationFailure if asker.origin != Origin::Local => {
                let record = self.record(asker);
                let before = self.failed.ends.get(&record).copied().unwrap_or(now);
                let latest = now.checked_add(FORGIVEN_AFTER * MAX_COUNTED);
                let end = before.max(now).checked_add(FORGIVEN_AFTER);
                self.failed.set(record, end.min(latest).unwrap_or(now));
            }
            _ => {}
        }
    }

    fn is_known(&self, credential: &Credential, now: Instant) -> bool {
        matches!(credential, Credential::Key(_)) && {
            let end = self.known.ends.get(&self.hash_key(credential));
            end.is_some_and(|end| *end > now)
        }
    }

    fn hash_key(&self, credential: &Credential) -> u64 {
        self.hasher.hash_one(credential)
    }

    fn record(&self, asker: &Asker) -> u64 {
        let mechanism = asker.credential.mechanism();
        let user = match &asker.credential {
            Credential::UserName(name) => Some(name),
            _ => None,
        };
        self.hasher.hash_one((asker.origin, mechanism, user))
    }
}

/// Records that expire, up to a capacity. When the capacity is reached, the record that expires
/// first is dropped, which may be the new one. An attacker who wants to push out a record must
/// therefore create `capacity` records that expire later, and so has to fail at least as often
/// under each of them: a flood of cheap failures does not clear a heavier record.
#[derive(Debug)]
struct Records {
    ends: HashMap<u64, Instant>,
    order: BTreeSet<(Instant, u64)>,
    capacity: usize,
}

impl Records {
    fn new(capacity: usize) -> Self {
        Self {
            ends: HashMap::new(),
            order: BTreeSet::new(),
            capacity,
        }
    }

    fn set(&mut self, record: u64, end: Instant) {
        self.remove(record);
        if self.ends.len() >= self.capacity {
            match self.order.first() {
                Some(&(first, oldest)) if first < end => self.remove(oldest),
                _ => return,
            }
        }
        self.ends.insert(record, end);
        self.order.insert((end, record));
    }

    fn remove(&mut self, record: u64) {
        if let Some(end) = self.ends.remove(&record) {
            self.order.remove(&(end, record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::PublicKey;

    fn user(address: &str, name: &str) -> Asker {
        let name = bytes::Bytes::copy_from_slice(name.as_bytes());
        asker(address, Credential::UserName(name))
    }

    fn key(address: &str, number: u8) -> Asker {
        asker(
            address,
            Credential::Key(PublicKey::from_bytes([number; 32]).unwrap()),
        )
    }

    fn asker(address: &str, credential: Credential) -> Asker {
        Asker::new(&PeerAddress::from_zap(address.as_bytes()), credential)
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn plain_counts_by_address_and_user_and_curve_by_address() {
        let (mut failures, now) = (Failures::new(100), Instant::now());
        failures.note(
            &user("192.0.2.1", "alice"),
            Status::AuthenticationFailure,
            now,
        );
        failures.note(&key("192.0.2.2", 1), Status::AuthenticationFailure, now);
        for (asker, count) in [
            (user("192.0.2.1", "alice"), 1),
            (user("::ffff:192.0.2.1", "alice"), 1),
            (user("192.0.2.1", "bob"), 0),
            (user("192.0.2.3", "alice"), 0),
            (key("192.0.2.1", 1), 0),
            (key("192.0.2.2", 1), 1),
            (key("192.0.2.2", 2), 1),
            (user("192.0.2.2", "alice"), 0),
        ] {
            assert_eq!(failures.priority(&asker, now).failures, count, "{asker:?}");
        }
    }

    #[test]
    fn only_definite_denials_count_and_a_success_of_the_user_forgives() {
        let (mut failures, now) = (Failures::new(100), Instant::now());
        let alice = user("192.0.2.1", "alice");
        for status in [
            Status::TemporaryError,
            Status::InternalError,
            Status::Success,
        ] {
            failures.note(&alice, status, now);
            assert_eq!(failures.count(&alice, now), 0);
        }
        failures.note(&alice, Status::AuthenticationFailure, now);
        failures.note(&alice, Status::AuthenticationFailure, now);
        assert_eq!(failures.count(&alice, now), 2);
        failures.note(&alice, Status::Success, now);
        assert_eq!(failures.count(&alice, now), 0);
    }

    #[test]
    fn one_failure_is_forgotten_each_minute_and_at_most_16_count() {
        let (mut failures, now) = (Failures::new(100), Instant::now());
        let alice = user("192.0.2.1", "alice");
        for _ in 0..3 {
            failures.note(&alice, Status::AuthenticationFailure, now);
        }
        let counts = [0, 1, 2, 3, 4].map(|after| failures.count(&alice, now + minutes(after)));
        assert_eq!(counts, [3, 2, 1, 0, 0]);
        for _ in 0..1000 {
            failures.note(&alice, Status::AuthenticationFailure, now);
        }
        assert_eq!(failures.count(&alice, now), 16);
        assert_eq!(failures.count(&alice, now + minutes(16)), 0);
    }

    #[test]
    fn an_admitted_key_is_known_and_its_address_does_not_count_against_it() {
        let (mut failures, now) = (Failures::new(100), Instant::now());
        failures.note(&key("192.0.2.1", 1), Status::Success, now);
        for number in 2..20 {
            failures.note(
                &key("192.0.2.1", number),
                Status::AuthenticationFailure,
                now,
            );
        }
        assert_eq!(failures.count(&key("192.0.2.1", 1), now), 0);
        assert_eq!(failures.count(&key("198.51.100.1", 1), now), 0);
        assert_eq!(failures.count(&key("192.0.2.1", 2), now), 16);
    }

    #[test]
    fn loopback_and_ipc_are_exempt() {
        let (mut failures, now) = (Failures::new(100), Instant::now());
        for address in ["127.0.0.1", "::1", "localhost:1:1:1"] {
            failures.note(&user(address, "alice"), Status::AuthenticationFailure, now);
            assert_eq!(failures.count(&user(address, "alice"), now), 0);
        }
        assert!(failures.failed.ends.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_no_flood_of_records_clears_a_heavier_one() {
        let (mut failures, now) = (Failures::new(64), Instant::now());
        let alice = user("192.0.2.1", "alice");
        for _ in 0..3 {
            failures.note(&alice, Status::AuthenticationFailure, now);
        }
        for number in 0..10_000 {
            let at = now + Duration::from_millis(number);
            failures.note(
                &user("192.0.2.1", &number.to_string()),
                Status::AuthenticationFailure,
                at,
            );
            assert!(failures.failed.ends.len() <= 64);
            assert_eq!(failures.failed.ends.len(), failures.failed.order.len());
        }
        assert_eq!(failures.count(&alice, now + Duration::from_secs(10)), 3);
        // Expired records make room for new ones.
        let later = now + minutes(5);
        failures.note(
            &user("192.0.2.9", "bob"),
            Status::AuthenticationFailure,
            later,
        );
        assert_eq!(failures.count(&user("192.0.2.9", "bob"), later), 1);
    }

    #[test]
    fn a_capacity_of_zero_is_legal() {
        let (mut failures, now) = (Failures::new(0), Instant::now());
        failures.note(
            &user("192.0.2.1", "alice"),
            Status::AuthenticationFailure,
            now,
        );
        assert_eq!(failures.count(&user("192.0.2.1", "alice"), now), 0);
    }
}
