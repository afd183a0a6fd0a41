//! Bounds the established connections of one listener or tunnel: in total, for each user, and from
//! each address.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::access::origin::Origin;
use crate::limits::Limits;
use crate::lock::lock;
use crate::net::accept::descriptors::{Descriptors, process_limit};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

/// The user id of peers that policy admits without distinguishing them.
const ANONYMOUS: &[u8] = b"anonymous";

/// A user. A user id is unique only within its mechanism and domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(crate) mechanism: MechanismKind,
    pub(crate) domain: Domain,
    pub(crate) user_id: Bytes,
}

/// The bounds of one listener or tunnel, and the connections that it holds. Dropping it gives its
/// share of the descriptors to the others, even while some of its connections live on.
#[derive(Debug)]
pub(crate) struct ConnectionLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: Option<usize>,
    max_per_user: Option<usize>,
    max_per_address: Option<usize>,
    /// The descriptors that one connection costs.
    descriptors: usize,
    process: Arc<Descriptors>,
    held: Mutex<Held>,
}

/// Users and addresses are counted only where they are bounded. Each map has at most one entry per
/// connection.
#[derive(Debug, Default)]
struct Held {
    connections: usize,
    of_user: HashMap<User, usize>,
    from_address: HashMap<Origin, usize>,
}

/// The place of one connection, held until its socket is closed. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    /// What it is counted under, where there are such bounds.
    counted: Option<Box<(Option<User>, Option<Origin>)>>,
}

/// The bound that leaves no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// [`Limits::max_connections`].
    InAll(usize),
    /// The descriptors of the process.
    Descriptors,
    /// [`Limits::max_connections_per_user`].
    OfUser(usize),
    /// [`Limits::max_connections_per_address`].
    FromAddress(usize),
}

impl LimitReached {
    /// The name of the bound, for logs.
    pub(crate) const fn rule(self) -> &'static str {
        match self {
            Self::InAll(_) => "max_connections",
            Self::Descriptors => "the file descriptors of the process",
            Self::OfUser(_) => "max_connections_per_user",
            Self::FromAddress(_) => "max_connections_per_address",
        }
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InAll(max) => write!(f, "too many connections: all {max} are in use"),
            Self::Descriptors => f.write_str("too many connections for the file descriptors"),
            Self::OfUser(max) => write!(f, "too many connections of this user: {max} allowed"),
            Self::FromAddress(max) => {
                write!(f, "too many connections from this address: {max} allowed")
            }
        }
    }
}

impl ConnectionLimit {
    /// The bounds in `limits`, for connections that cost `descriptors` each.
    pub(crate) fn new(limits: &Limits, descriptors: usize) -> Self {
        let process = Descriptors::of_process();
        Self::within(process, process_limit(), limits, descriptors)
    }

    fn within(
        process: Arc<Descriptors>,
        process_limit: usize,
        limits: &Limits,
        descriptors: usize,
    ) -> Self {
        process.join(process_limit, descriptors, limits.max_connections.is_some());
        Self(Arc::new(Shared {
            max: limits.max_connections,
            max_per_user: limits.max_connections_per_user,
            max_per_address: limits.max_connections_per_address,
            descriptors,
            process,
            held: Mutex::default(),
        }))
    }

    /// Takes a place for a connection, of `user` if policy knows one.
    ///
    /// # Errors
    /// Returns the bound that was reached.
    pub(crate) fn acquire(
        &self,
        address: &PeerAddress,
        user: Option<User>,
    ) -> Result<Permit, LimitReached> {
        let shared = &*self.0;
        // A peer on loopback or ipc may be a proxy for many users, so neither bound applies to it.
        let is_remote = !address.is_local();
        let user = user.filter(|user| {
            let is_told_apart = !user.user_id.is_empty() && user.user_id != ANONYMOUS;
            is_remote && shared.max_per_user.is_some() && is_told_apart
        });
        let is_bounded = is_remote && shared.max_per_address.is_some();
        let address = is_bounded.then(|| Origin::of(address));

        let mut held = shared.held();
        if let Some(max) = shared.max.filter(|max| held.connections >= *max) {
            return Err(LimitReached::InAll(max));
        }
        if let Some(max) = reached(&held.of_user, user.as_ref(), shared.max_per_user) {
            return Err(LimitReached::OfUser(max));
        }
        if let Some(max) = reached(&held.from_address, address.as_ref(), shared.max_per_address) {
            return Err(LimitReached::FromAddress(max));
        }
        let before = held.connections * shared.descriptors;
        if !shared.process.take(shared.descriptors, before) {
            return Err(LimitReached::Descriptors);
        }
        held.connections += 1;
        if let Some(user) = &user {
            *held.of_user.entry(user.clone()).or_default() += 1;
        }
        if let Some(address) = &address {
            *held.from_address.entry(*address).or_default() += 1;
        }
        drop(held);
        let is_counted = user.is_some() || address.is_some();
        Ok(Permit {
            shared: Arc::clone(&self.0),
            counted: is_counted.then(|| Box::new((user, address))),
        })
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

impl Drop for ConnectionLimit {
    fn drop(&mut self) {
        self.0
            .process
            .leave(self.0.descriptors, self.0.max.is_some());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        held.connections -= 1;
        let (user, address) = self
            .counted
            .take()
            .map(|counted| *counted)
            .unwrap_or_default();
        if let Some(user) = user {
            one_less(&mut held.of_user, user);
        }
        if let Some(address) = address {
            one_less(&mut held.from_address, address);
        }
        self.shared.process.give_back(self.shared.descriptors);
    }
}

/// The bound, if `key` has reached it.
fn reached<K: Hash + Eq>(
    counts: &HashMap<K, usize>,
    key: Option<&K>,
    max: Option<usize>,
) -> Option<usize> {
    let count = counts.get(key?).copied().unwrap_or(0);
    max.filter(|max| count >= *max)
}

fn one_less<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PeerAddress {
        PeerAddress::from_zap(text.as_bytes())
    }

    fn user(name: &'static str) -> Option<User> {
        Some(User {
            mechanism: MechanismKind::Plain,
            domain: Domain::EMPTY,
            user_id: name.into(),
        })
    }

    fn limit(change: impl FnOnce(&mut Limits)) -> ConnectionLimit {
        let mut limits = Limits::default();
        change(&mut limits);
        ConnectionLimit::within(Arc::default(), 1024, &limits, 1)
    }

    #[test]
    fn without_a_bound_of_its_own_a_listener_stops_where_descriptors_run_short() {
        for (descriptors, room) in [(1, 640), (2, 320)] {
            let limits = Limits::default();
            let limit = ConnectionLimit::within(Arc::default(), 1024, &limits, descriptors);
            let acquire = || limit.acquire(&address("192.0.2.1"), user("alice"));
            let mut permits: Vec<_> = (0..room).map(|_| acquire().unwrap()).collect();
            assert_eq!(acquire().unwrap_err(), LimitReached::Descriptors);
            permits.pop();
            permits.push(acquire().unwrap());
            assert_eq!(acquire().unwrap_err(), LimitReached::Descriptors);
        }
    }

    #[test]
    fn a_listener_that_is_gone_has_no_share_though_a_connection_of_it_lives_on() {
        let process = Arc::<Descriptors>::default();
        let bind = || ConnectionLimit::within(process.clone(), 1024, &Limits::default(), 1);
        let (gone, _stays) = (bind(), bind());
        let _connection = gone.acquire(&address("192.0.2.1"), None).unwrap();
        assert_eq!(process.handshakes(), 128);
        drop(gone);
        // A listener that is alone has those of connections too, all but the one in use.
        assert_eq!(process.handshakes(), 256 + 639);
    }

    #[test]
    fn handshakes_that_all_succeed_leave_the_program_its_part() {
        for descriptors in [1, 2] {
            let process = Arc::<Descriptors>::default();
            let limits = Limits::default();
            let limit = ConnectionLimit::within(process.clone(), 1024, &limits, descriptors);
            let here = address("192.0.2.1");
            let handshakes = process.handshakes();
            let admitted: Vec<_> = (0..handshakes)
                .map_while(|_| limit.acquire(&here, None).ok())
                .collect();
            let used = handshakes + (descriptors - 1) * admitted.len();
            assert_eq!((used, admitted.len()), (1024 / 8 * 7, 640 / descriptors));
        }
    }

    #[test]
    fn a_huge_soft_limit_is_no_bound_unless_the_program_says_its_own() {
        let process = Arc::<Descriptors>::default();
        let bind = |max| {
            let limits = Limits {
                max_connections: max,
                ..Limits::default()
            };
            ConnectionLimit::within(process.clone(), 1_000_000_000, &limits, 1)
        };
        let _unbounded = bind(None);
        assert_eq!(process.handshakes(), 65_536 / 8 * 7);
        let bounded = bind(Some(500_000));
        let _late = bind(None);
        assert_eq!(process.handshakes(), 1_000_000_000 / 4 / 3);
        drop(bounded);
        assert_eq!(process.handshakes(), 65_536 / 4 / 2);
    }

    #[test]
    fn a_bound_in_all_holds_for_everybody() {
        let limit = limit(|limits| limits.max_connections = Some(2));
        let first = limit.acquire(&address("127.0.0.1"), None).unwrap();
        let _second = limit.acquire(&address("192.0.2.1"), user("alice")).unwrap();
        let third = limit.acquire(&address("192.0.2.2"), user("bob"));
        assert_eq!(third.unwrap_err(), LimitReached::InAll(2));
        drop(first);
        assert!(limit.acquire(&address("192.0.2.2"), user("bob")).is_ok());
    }

    #[test]
    fn a_user_is_mechanism_domain_and_user_id_and_never_the_anonymous_one() {
        let limit = limit(|limits| limits.max_connections_per_user = Some(1));
        let here = address("192.0.2.9");
        let alice = limit.acquire(&here, user("alice")).unwrap();
        // Loopback and ipc are not counted.
        for local in ["127.0.0.1", "::1", "localhost:1:2:3"] {
            assert!(limit.acquire(&address(local), user("alice")).is_ok());
        }
        assert_eq!(
            limit
                .acquire(&address("192.0.2.1"), user("alice"))
                .unwrap_err(),
            LimitReached::OfUser(1)
        );
        let in_domain = user("alice").map(|user| User {
            domain: Domain::ALL,
            ..user
        });
        let by_key = user("alice").map(|user| User {
            mechanism: MechanismKind::Curve,
            ..user
        });
        let others = [
            in_domain,
            by_key,
            user("bob"),
            None,
            None,
            user(""),
            user(""),
        ];
        let more = [user("anonymous"), user("anonymous")];
        let permits: Vec<_> = others
            .into_iter()
            .chain(more)
            .map(|user| limit.acquire(&here, user).unwrap())
            .collect();
        drop(alice);
        let alice = limit.acquire(&here, user("alice")).unwrap();
        drop((alice, permits));
        let held = limit.0.held();
        assert_eq!(held.connections, 0);
        assert!(held.of_user.is_empty() && held.from_address.is_empty());
    }

    #[test]
    fn an_address_is_a_64_and_never_this_machine() {
        let limit = limit(|limits| limits.max_connections_per_address = Some(1));
        let mut permits = Vec::new();
        for text in [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
        ] {
            permits.push(limit.acquire(&address(text), None).unwrap());
        }
        for text in ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8:0:1::2"] {
            let reached = limit.acquire(&address(text), user("alice")).unwrap_err();
            assert_eq!(reached, LimitReached::FromAddress(1));
        }
        for text in [
            "127.0.0.1",
            "127.0.0.1",
            "::1",
            "::1",
            "localhost:1:2:3",
            "localhost:1:2:3",
        ] {
            permits.push(limit.acquire(&address(text), None).unwrap());
        }
        assert_eq!(limit.0.held().from_address.len(), 4);
        drop(permits);
        assert!(limit.0.held().from_address.is_empty());
    }

    #[test]
    fn churn_leaves_nothing_behind() {
        let limit = limit(|limits| {
            limits.max_connections_per_user = Some(2);
            limits.max_connections_per_address = Some(2);
        });
        for number in 0..10_000_u32 {
            let ip = std::net::Ipv4Addr::from_bits(0x0A00_0000 + number);
            let alice = User {
                mechanism: MechanismKind::Curve,
                domain: Domain::EMPTY,
                user_id: number.to_string().into(),
            };
            limit
                .acquire(&std::net::IpAddr::V4(ip).into(), Some(alice))
                .unwrap();
        }
        let held = limit.0.held();
        assert_eq!(held.connections, 0);
        assert!(held.of_user.is_empty() && held.from_address.is_empty());
    }
}
