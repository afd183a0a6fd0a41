//! A second implementation of `zmq.auth`'s policy, for a few domains, addresses, users and keys.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use zmtp_auth::{AccessRequest, Credentials, PublicKey};

pub const DOMAINS: [&str; 4] = ["", "*", "a", "b"];
/// Single addresses. As rules each matches itself, and the last two also match each other.
pub const ADDRESSES: [&str; 5] = [
    "10.0.0.1",
    "2001:db8::1",
    "localhost:1000:100:7",
    "192.0.2.1",
    "::ffff:192.0.2.1",
];
/// Names, and passwords.
pub const USERS: [&str; 3] = ["ada", "bob", ""];

pub fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number + 1; 32]).expect("a key of high order")
}

/// The output of a future that is ready.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here takes its time"),
    }
}

type Table = BTreeMap<&'static str, &'static str>;

enum Plain {
    Table(Table),
    Provider(bool),
}

enum Curve {
    Keys(BTreeSet<u8>),
    Any,
    Provider(bool),
}

/// The configuration.
#[derive(Default)]
pub struct Model {
    pub stopped: bool,
    /// By scope (`None` is all domains): whether the list allows, and its addresses.
    lists: BTreeMap<Option<&'static str>, (bool, BTreeSet<String>)>,
    plain: BTreeMap<&'static str, Plain>,
    curve: BTreeMap<&'static str, Curve>,
}

impl Model {
    /// Adds to a list; false if there is one of the other kind.
    pub fn list(&mut self, scope: Option<&'static str>, is_allow: bool, address: &str) -> bool {
        let (kind, addresses) = self
            .lists
            .entry(scope)
            .or_insert((is_allow, BTreeSet::new()));
        let is_same_kind = *kind == is_allow;
        if is_same_kind {
            addresses.insert(folded(address));
        }
        is_same_kind
    }

    pub fn clear(&mut self, scope: Option<&'static str>) {
        self.lists.remove(&scope);
    }

    pub fn plain_table(&mut self, domain: &'static str, users: &[(&'static str, &'static str)]) {
        let table = users.iter().copied().collect();
        self.plain.insert(domain, Plain::Table(table));
    }

    pub fn plain_provider(&mut self, domain: &'static str, says: bool) {
        self.plain.insert(domain, Plain::Provider(says));
    }

    pub fn curve_keys(&mut self, domain: &'static str, keys: &[u8]) {
        let keys = keys.iter().copied().collect();
        self.curve.insert(domain, Curve::Keys(keys));
    }

    pub fn curve_any(&mut self, domain: &'static str) {
        self.curve.insert(domain, Curve::Any);
    }

    pub fn curve_provider(&mut self, domain: &'static str, says: bool) {
        self.curve.insert(domain, Curve::Provider(says));
    }

    pub fn unconfigure(&mut self, domain: &'static str) {
        self.plain.remove(domain);
        self.curve.remove(domain);
    }

    /// The user id of the peer, or `None` if it is refused.
    pub fn user_id(&self, asked: &AccessRequest) -> Option<Vec<u8>> {
        let domain = std::str::from_utf8(asked.domain.as_bytes()).unwrap_or("other");
        let address = folded(&String::from_utf8_lossy(&asked.address.to_zap()));
        if self.stopped || !self.lets_through(domain, &address) {
            return None;
        }
        match &asked.credentials {
            Credentials::Null => Some(b"anonymous".to_vec()),
            Credentials::Gssapi { principal } => Some(principal.to_vec()),
            Credentials::Plain { username, password } => {
                let is_in = match ruling(&self.plain, domain)? {
                    Plain::Provider(says) => *says,
                    Plain::Table(table) => table.iter().any(|(name, known)| {
                        username == name && password.expose() == known.as_bytes()
                    }),
                };
                is_in.then(|| username.to_vec())
            }
            Credentials::Curve { key: shown } => {
                let is_in = match ruling(&self.curve, domain)? {
                    Curve::Any => true,
                    Curve::Provider(says) => *says,
                    Curve::Keys(keys) => keys.iter().any(|&number| key(number) == *shown),
                };
                is_in.then(|| shown.to_z85().into_bytes())
            }
            other => panic!("no such credentials: {other:?}"),
        }
    }

    fn lets_through(&self, domain: &str, address: &str) -> bool {
        let own = self.lists.iter().find(|(scope, _)| **scope == Some(domain));
        let of_domain = own
            .map(|(_, list)| list)
            .or_else(|| self.lists.get(&Some("*")));
        let lists = self.lists.get(&None).into_iter().chain(of_domain);
        lists
            .into_iter()
            .all(|(is_allow, addresses)| *is_allow == addresses.contains(address))
    }
}

/// The entry for a domain: its own, or that of `*`.
fn ruling<'a, T>(entries: &'a BTreeMap<&'static str, T>, domain: &str) -> Option<&'a T> {
    entries.get(domain).or_else(|| entries.get("*"))
}

/// An address as text. A v4-mapped address becomes the v4 address.
fn folded(address: &str) -> String {
    let unscoped = address.split('%').next().unwrap_or(address);
    match unscoped.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}
