//! Changes of policy are atomic. Each decision follows one policy that was in force while the
//! decision was made, and each grant ends with exactly the change that withdraws it. A model that
//! shares no code with the library says what each policy would answer.
//!
//! `ZMTP_AUTH_FULL=1` makes 10,000 changes while 100,000 decisions run. The quick run makes a tenth
//! of both.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use zmtp_auth::auth::{AdmissionTerms, Authenticator};
use zmtp_auth::zap::{RequestId, ZapHandler, ZapReply, ZapRequest};
use zmtp_auth::{AccessRequest, Credentials, Grant, Password, PeerAddress, PublicKey, Status};

const KEYS: usize = 6;
/// The last key never changes.
const USERS: [&str; 4] = ["ada", "bob", "cyd", "dan"];
const PASSWORDS: [&str; 2] = ["one", "two"];
/// No rule matches the last address.
const ADDRESSES: [&str; 4] = ["127.0.0.1", "10.0.0.1", "localhost:1000:100:1", "::1"];
const RULES: [&str; 3] = ["127.0.0.1", "10.0.0.0/8", "uid:1000"];

fn key(number: usize) -> PublicKey {
    PublicKey::from_bytes([u8::try_from(number).unwrap() + 1; 32]).unwrap()
}

/// A question that is asked repeatedly.
#[derive(Clone, Copy)]
enum Probe {
    /// Key and address, in domain `a`, which is configured only some of the time.
    Key(usize, usize),
    /// User, password and address, in domain `users`.
    User(usize, usize, usize),
    /// Address.
    Null(usize),
}

fn probes() -> Vec<Probe> {
    let addresses = 0..ADDRESSES.len();
    let keys = (0..KEYS).flat_map(|key| addresses.clone().map(move |at| Probe::Key(key, at)));
    let users = (0..USERS.len()).flat_map(|user| {
        (0..PASSWORDS.len()).map(move |password| Probe::User(user, password, user))
    });
    keys.chain(users)
        .chain(addresses.clone().map(Probe::Null))
        .collect()
}

impl Probe {
    const fn address(self) -> usize {
        match self {
            Self::Key(_, at) | Self::User(_, _, at) | Self::Null(at) => at,
        }
    }

    fn request(self) -> ZapRequest {
        let (domain, credentials) = match self {
            Self::Key(number, _) => ("a", Credentials::Curve { key: key(number) }),
            Self::User(user, password, _) => (
                "users",
                Credentials::Plain {
                    username: USERS[user].into(),
                    password: Password::from(PASSWORDS[password]),
                },
            ),
            Self::Null(_) => ("", Credentials::Null),
        };
        let address = PeerAddress::from_zap(ADDRESSES[self.address()].as_bytes());
        ZapRequest::new(
            RequestId::from(1),
            &AccessRequest::new(domain, address, credentials),
        )
    }
}

/// One change. Each makes a new version of the policy.
#[derive(Debug, Clone)]
enum Step {
    Keys(BTreeSet<usize>),
    StarKeys(BTreeSet<usize>),
    AnyKey,
    Unconfigure,
    /// The password of each existing user.
    Users([Option<usize>; USERS.len()]),
    Deny(usize),
    Undeny(usize),
    ClearAddresses,
}

impl Step {
    fn take(&self, auth: &Authenticator) {
        let keys = |numbers: &BTreeSet<usize>| numbers.iter().map(|&number| key(number)).collect();
        let some: fn(Vec<PublicKey>, &Authenticator, &'static str) =
            |keys, auth, domain| _ = auth.configure_curve_keys(domain, keys);
        match self {
            Self::Keys(numbers) => some(keys(numbers), auth, "a"),
            Self::StarKeys(numbers) => some(keys(numbers), auth, "*"),
            Self::AnyKey => _ = auth.configure_curve_any("a"),
            Self::Unconfigure => _ = auth.unconfigure("a"),
            Self::Users(users) => {
                let users = USERS.iter().zip(users);
                let users = users.filter_map(|(name, at)| Some((name, PASSWORDS[(*at)?])));
                auth.configure_plain("users", users).unwrap();
            }
            Self::Deny(rule) => auth.deny([RULES[*rule]]).unwrap(),
            Self::Undeny(rule) => {
                auth.addresses().remove_denied([RULES[*rule]]).unwrap();
            }
            Self::ClearAddresses => auth.addresses().clear(),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, max: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(max).unwrap()).unwrap()
    }

    fn keys(&mut self) -> BTreeSet<usize> {
        (0..KEYS).filter(|_| self.below(2) == 0).collect()
    }

    fn step(&mut self) -> Step {
        match self.below(12) {
            0..=2 => Step::Keys(self.keys()),
            3 => Step::StarKeys(self.keys()),
            4 => Step::AnyKey,
            5 => Step::Unconfigure,
            6..=8 => {
                let mut users = USERS.map(|_| [None, Some(0), Some(1)][self.below(3)]);
                users[USERS.len() - 1] = Some(0);
                Step::Users(users)
            }
            9 => Step::Deny(self.below(RULES.len())),
            10 => Step::Undeny(self.below(RULES.len())),
            _ => Step::ClearAddresses,
        }
    }
}

/// The rule for a domain's keys. Each entry has the version that added it.
#[derive(Clone)]
enum KeyModel {
    Any(u64),
    Some([Option<u64>; KEYS]),
}

/// The simplest model of a policy.
#[derive(Clone)]
struct Model {
    version: u64,
    own: Option<KeyModel>,
    star: KeyModel,
    users: [Option<(usize, u64)>; USERS.len()],
    denied: BTreeSet<usize>,
}

impl Model {
    fn take(&mut self, step: &Step) {
        self.version += 1;
        let version = self.version;
        let replace = |before: Option<&KeyModel>, numbers: &BTreeSet<usize>| {
            let mut entries = [None; KEYS];
            for &number in numbers {
                entries[number] = match before {
                    Some(KeyModel::Some(before)) => before[number].or(Some(version)),
                    _ => Some(version),
                };
            }
            KeyModel::Some(entries)
        };
        match step {
            Step::Keys(numbers) => self.own = Some(replace(self.own.as_ref(), numbers)),
            Step::StarKeys(numbers) => self.star = replace(Some(&self.star), numbers),
            Step::AnyKey => {
                if !matches!(self.own, Some(KeyModel::Any(_))) {
                    self.own = Some(KeyModel::Any(version));
                }
            }
            Step::Unconfigure => self.own = None,
            Step::Users(passwords) => {
                for (user, password) in self.users.iter_mut().zip(passwords) {
                    if user.map(|(password, _)| password) != *password {
                        *user = password.map(|password| (password, version));
                    }
                }
            }
            Step::Deny(rule) => drop(self.denied.insert(*rule)),
            Step::Undeny(rule) => drop(self.denied.remove(rule)),
            Step::ClearAddresses => self.denied.clear(),
        }
    }

    /// The version of the entry that admits, if there is one.
    fn answer(&self, probe: Probe) -> Option<u64> {
        // Rule `i` matches address `i`.
        if self.denied.contains(&probe.address()) {
            return None;
        }
        match probe {
            Probe::Key(number, _) => match self.own.as_ref().unwrap_or(&self.star) {
                KeyModel::Any(version) => Some(*version),
                KeyModel::Some(entries) => entries[number],
            },
            Probe::User(user, password, _) => self.users[user]
                .filter(|(right, _)| *right == password)
                .map(|(_, version)| version),
            Probe::Null(_) => Some(0),
        }
    }
}

/// The answer of each version of the policy to each probe.
struct Answers {
    first: u64,
    by_version: Vec<Vec<Option<u64>>>,
}

impl Answers {
    fn of(&self, version: u64, probe: usize) -> Option<u64> {
        self.by_version[usize::try_from(version - self.first).unwrap()][probe]
    }

    fn last(&self) -> u64 {
        self.first + u64::try_from(self.by_version.len()).unwrap() - 1
    }
}

fn handle(auth: &Authenticator, request: ZapRequest) -> ZapReply {
    match pin!(auth.handle(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => panic!("not decided"),
    }
}

fn terms(grant: &Grant) -> &AdmissionTerms {
    grant.terms().unwrap()
}

/// The progress of decisions and changes. Neither may get far ahead, however the system schedules
/// threads, since a policy without decisions would test nothing.
struct Rhythm {
    changes: usize,
    decisions: usize,
    changed: AtomicUsize,
    decided: AtomicUsize,
}

impl Rhythm {
    /// The number of changes by which either may be ahead.
    const SLACK: usize = 20;

    /// Waits for the turn of the next decision and takes it.
    fn decision(&self) -> bool {
        let number = self.decided.fetch_add(1, Ordering::Relaxed);
        while number * self.changes
            > (self.changed.load(Ordering::Relaxed) + Self::SLACK) * self.decisions
        {
            thread::yield_now();
        }
        number < self.decisions
    }

    /// Waits until the next change is due or all decisions are done.
    fn change(&self, mut over: impl FnMut() -> bool) {
        while !over()
            && (self.decided.load(Ordering::Relaxed) + 1) * self.changes
                < self
                    .changed
                    .load(Ordering::Relaxed)
                    .saturating_sub(Self::SLACK)
                    * self.decisions
        {
            thread::yield_now();
        }
    }

    fn changed(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks one probe. Returns the grant if it was admitted.
fn decide(
    auth: &Authenticator,
    probes: &[Probe],
    answers: &Answers,
    number: usize,
) -> Option<Grant> {
    let request = probes[number].request();
    let before = auth.policy_version();
    let reply = handle(auth, request);
    let after = auth.policy_version();
    let allowed = reply.status == Status::Success;
    assert_eq!(reply.grant.is_some(), allowed);
    if let Some(grant) = &reply.grant {
        let version = terms(grant).policy_version();
        assert!((before..=after).contains(&version));
        let entry = Some(terms(grant).entry_version());
        assert_eq!(entry, answers.of(version, number), "{:?}", terms(grant));
    }
    assert!(
        (before..=after).any(|at| answers.of(at, number).is_some() == allowed),
        "{number} was {allowed} between {before} and {after}, which no policy of these says"
    );
    reply.grant
}

#[test]
fn each_decision_is_that_of_one_policy_and_each_grant_ends_with_the_change_that_withdraws_it() {
    let full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
    let (changes, decisions) = if full {
        (10_000, 100_000)
    } else {
        (1000, 10_000)
    };

    let auth = Authenticator::new();
    auth.configure_curve_keys("*", []);
    auth.configure_plain("users", [("", ""); 0]).unwrap();
    let mut model = Model {
        version: auth.policy_version(),
        own: None,
        star: KeyModel::Some([None; KEYS]),
        users: [None; USERS.len()],
        denied: BTreeSet::new(),
    };

    let mut random = Random(3);
    let steps: Vec<_> = (0..changes).map(|_| random.step()).collect();
    let probes = probes();
    let answer = |model: &Model| probes.iter().map(|&probe| model.answer(probe)).collect();
    let mut answers = Answers {
        first: model.version,
        by_version: vec![answer(&model)],
    };
    for step in &steps {
        model.take(step);
        answers.by_version.push(answer(&model));
    }

    let pace = Rhythm {
        changes,
        decisions,
        changed: AtomicUsize::new(0),
        decided: AtomicUsize::new(0),
    };
    let every = 0..probes.len();
    let ask = |number| Some((number, decide(&auth, &probes, &answers, number)?));
    let mut grants: Vec<(usize, Grant)> = every.clone().filter_map(ask).collect();
    let before = grants.len();
    grants.extend(thread::scope(|scope| {
        let deciding = [0, 1].map(|seed| {
            let (pace, every, ask) = (&pace, &every, &ask);
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut grants = Vec::new();
                while pace.decision() {
                    grants.extend(ask(random.below(every.len())));
                }
                grants
            })
        });
        for step in &steps {
            pace.change(|| deciding.iter().all(|deciding| deciding.is_finished()));
            step.take(&auth);
            pace.changed();
        }
        deciding.map(|deciding| deciding.join().unwrap()).concat()
    }));
    let during = grants.len() - before;
    grants.extend(every.filter_map(ask));
    let after = grants.len() - before - during;
    assert_eq!(auth.policy_version(), answers.last());
    assert_eq!(auth.live_grants(), grants.len());

    let mut standing = 0;
    for (number, grant) in &grants {
        let (since, entry) = (terms(grant).policy_version(), terms(grant).entry_version());
        let expected = (since..=answers.last()).all(|at| answers.of(at, *number) == Some(entry));
        standing += usize::from(expected);
        assert_eq!(grant.still_valid(), expected, "{:?}", terms(grant));
    }
    println!(
        "{changes} changes, {decisions} decisions, {} grants ({before} before, {after} after), \
         {standing} of them still stand",
        grants.len()
    );
    assert!(before > 0 && during > decisions / 10);
    assert!(after > 0 && standing >= after && standing < grants.len());
}
