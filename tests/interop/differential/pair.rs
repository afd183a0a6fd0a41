//! Generates pairs of configuration and request.

use bytes::Bytes;
use std::path::{Path, PathBuf};

pub type Text = Bytes;

/// The keys that a pair may mention. [`Directory`] and [`Says`] know some of them.
pub const KEYS: [[u8; 32]; 4] = [[1; 32], [2; 32], [3; 32], [0x80; 32]];
pub const ADA: [u8; 32] = KEYS[0];
pub const BOB: [u8; 32] = KEYS[1];

/// One call of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Allow(Vec<Text>),
    Deny(Vec<Text>),
    Plain(Text, Vec<(Text, Text)>),
    Directory(Text, Directory),
    AnyKey(Text),
    Callback(Text, Says, IsAsync),
    Gssapi(Text),
    UserIds(UserIds),
}

pub type IsAsync = bool;

/// Directories of certificates, which exist before the first request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Directory {
    Empty,
    Ada,
    /// Bob's certificate has metadata.
    AdaAndBob,
    AdaAndABadFile,
    Absent,
}

/// What a provider answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Yes,
    OnlyToBob,
    Fails,
}

/// How keys become user ids.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UserIds {
    Hexadecimal,
    /// 320 bytes, too long for any reply.
    Long,
    Fails,
}

/// Metadata of Bob's certificate, as ZMTP encodes it.
pub const METADATA_OF_BOB: &[u8] = b"\x04role\0\0\0\x05admin";

impl Directory {
    pub fn path(self, base: &Path) -> PathBuf {
        base.join(format!("{self:?}"))
    }

    /// Makes all directories below `base`.
    pub fn make_all(base: &Path) {
        let certificate = |directory: Self, name: &str, key: [u8; 32], metadata: &str| {
            let key = zmtp_auth::PublicKey::from_bytes(key).unwrap();
            let text = format!("metadata\n{metadata}\ncurve\n    public-key = \"{key}\"\n");
            std::fs::write(directory.path(base).join(name), text).unwrap();
        };
        for directory in [
            Self::Empty,
            Self::Ada,
            Self::AdaAndBob,
            Self::AdaAndABadFile,
        ] {
            std::fs::create_dir(directory.path(base)).unwrap();
        }
        for directory in [Self::Ada, Self::AdaAndBob, Self::AdaAndABadFile] {
            certificate(directory, "ada.key", ADA, "");
        }
        certificate(Self::AdaAndBob, "bob.key", BOB, "    role = \"admin\"");
        std::fs::write(Self::AdaAndABadFile.path(base).join("bad.key"), "curve\n").unwrap();
    }
}

/// A configuration and the frames of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub calls: Vec<Call>,
    pub frames: Vec<Text>,
}

/// Positions of frames (RFC 27).
pub const DOMAIN: usize = 2;
pub const ADDRESS: usize = 3;
pub const MECHANISM: usize = 5;
pub const CREDENTIALS: usize = 6;

impl Pair {
    /// Whether the request is long enough to be judged by its contents.
    pub fn is_whole(&self) -> bool {
        self.frames.len() >= CREDENTIALS
    }

    pub fn mechanism(&self) -> &[u8] {
        self.frames.get(MECHANISM).map_or(b"", |frame| &frame[..])
    }

    pub fn credentials(&self) -> &[Text] {
        self.frames.get(CREDENTIALS..).unwrap_or_default()
    }
}

/// SplitMix64: reproducible on every machine and in every version.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn text(&mut self, of: &[&'static [u8]]) -> Text {
        let text: &&'static [u8] = self.one_of(of);
        Text::from_static(text)
    }
}

const DOMAINS: &[&[u8]] = &[
    b"",
    b"*",
    b"a",
    b"b",
    "\u{FFFD}".as_bytes(),
    b"\xFE",
    b"\xFF",
];
const NAMES: &[&[u8]] = &[b"", b"ada", b"bob", b"\xFE", b"\xFF", "\u{FFFD}".as_bytes()];
const PASSWORDS: &[&[u8]] = &[b"", b"secret", b"Secret", b"\xFE", b"\xFF"];
const ADDRESSES: &[&[u8]] = &[
    b"127.0.0.1",
    b"::ffff:127.0.0.1",
    b"10.1.2.3",
    b"192.0.2.7",
    b"::1",
    b"0:0:0:0:0:0:0:1",
    b"fe80::1%eth0",
    b"localhost:1000:100:4711",
    b"",
    b"\xFE",
    b"\xFF",
];
const BLOCKS: &[&[u8]] = &[
    b"10.0.0.0/8",
    b"192.0.2.0/25",
    b"::/0",
    b"uid:1000",
    b"gid:7",
];
const MECHANISMS: &[&[u8]] = &[b"", b"null", b"plain", b"EXTERNAL", b"CURVE\0"];

fn addresses(dice: &mut Dice) -> Vec<Text> {
    (0..dice.below(4))
        .map(|_| {
            let from = if dice.percent(25) { BLOCKS } else { ADDRESSES };
            dice.text(from)
        })
        .collect()
}

fn call(dice: &mut Dice) -> Call {
    let domain = dice.text(DOMAINS);
    match dice.below(20) {
        0 | 1 => Call::Allow(addresses(dice)),
        2 => Call::Deny(addresses(dice)),
        3..=8 => {
            let users = (0..dice.below(4)).map(|_| (dice.text(NAMES), dice.text(PASSWORDS)));
            Call::Plain(domain, users.collect())
        }
        9..=13 => {
            let directory = *dice.one_of(&[
                Directory::Empty,
                Directory::Ada,
                Directory::AdaAndBob,
                Directory::AdaAndBob,
                Directory::AdaAndABadFile,
                Directory::Absent,
            ]);
            Call::Directory(domain, directory)
        }
        14 => Call::AnyKey(domain),
        15 | 16 => {
            let says = *dice.one_of(&[Says::Yes, Says::OnlyToBob, Says::OnlyToBob, Says::Fails]);
            Call::Callback(domain, says, dice.percent(50))
        }
        17 => Call::Gssapi(domain),
        18 => Call::UserIds(*dice.one_of(&[
            UserIds::Hexadecimal,
            UserIds::Hexadecimal,
            UserIds::Long,
            UserIds::Fails,
        ])),
        _ => Call::Plain(domain, vec![("ada".into(), "secret".into())]),
    }
}

/// A configuration of up to seven calls.
pub fn configuration(dice: &mut Dice) -> Vec<Call> {
    (0..dice.below(8)).map(|_| call(dice)).collect()
}

/// The names, keys and addresses in a configuration. Most requests use them.
#[derive(Default)]
struct Mentioned {
    plain: Vec<(Text, Vec<(Text, Text)>)>,
    curve: Vec<Text>,
    addresses: Vec<Text>,
}

fn mentioned(calls: &[Call]) -> Mentioned {
    let mut mentioned = Mentioned::default();
    for call in calls {
        match call {
            Call::Allow(addresses) | Call::Deny(addresses) => {
                mentioned.addresses.extend(addresses.iter().cloned());
            }
            Call::Plain(domain, users) => mentioned.plain.push((domain.clone(), users.clone())),
            Call::Directory(domain, _) | Call::AnyKey(domain) | Call::Callback(domain, ..) => {
                mentioned.curve.push(domain.clone());
            }
            Call::Gssapi(_) | Call::UserIds(_) => {}
        }
    }
    mentioned
}

/// A request whose parts mostly occur in `calls`.
pub fn request(calls: &[Call], dice: &mut Dice) -> Vec<Text> {
    let mentioned = mentioned(calls);
    let (mut domain, mechanism, mut credentials) = match dice.below(20) {
        0..=8 => plain(&mentioned, dice),
        9..=16 => curve(&mentioned, dice),
        17 => ("".into(), "NULL".into(), vec![]),
        18 => {
            let principal = match dice.below(5) {
                0 => vec![b'p'; 256].into(),
                1 => (&b"\xFF@EXAMPLE"[..]).into(),
                _ => "host@EXAMPLE".into(),
            };
            ("".into(), "GSSAPI".into(), vec![principal])
        }
        _ => (
            "".into(),
            dice.text(MECHANISMS),
            vec![Text::from_static(&ADA)],
        ),
    };
    if dice.percent(25) {
        domain = dice.text(DOMAINS);
    }
    if dice.percent(4) {
        credentials.push(dice.text(NAMES));
    }
    if dice.percent(4) {
        credentials.pop();
    }
    let address = match &mentioned.addresses[..] {
        [] => dice.text(ADDRESSES),
        addresses if dice.percent(60) => dice.one_of(addresses).clone(),
        _ => dice.text(ADDRESSES),
    };
    let version = if dice.percent(2) { "1.1" } else { "1.0" };
    let id = Text::copy_from_slice(&dice.next().to_be_bytes()[..dice.below(9)]);
    let identity = dice.text(NAMES);
    let mut frames = vec![version.into(), id, domain, address, identity, mechanism];
    frames.append(&mut credentials);
    if dice.percent(2) {
        frames.truncate(dice.below(7));
    }
    frames
}

type Question = (Text, Text, Vec<Text>);

fn plain(mentioned: &Mentioned, dice: &mut Dice) -> Question {
    let mut domain = dice.text(DOMAINS);
    let mut name = dice.text(NAMES);
    let mut password = dice.text(PASSWORDS);
    if !mentioned.plain.is_empty() && dice.percent(85) {
        let (configured, users) = dice.one_of(&mentioned.plain);
        domain.clone_from(configured);
        if !users.is_empty() && dice.percent(85) {
            let user = dice.one_of(users);
            name.clone_from(&user.0);
            if dice.percent(75) {
                password.clone_from(&user.1);
            }
        }
    }
    if dice.percent(1) {
        password = vec![b'p'; 256].into();
    }
    (domain, "PLAIN".into(), vec![name, password])
}

fn curve(mentioned: &Mentioned, dice: &mut Dice) -> Question {
    let domain = if !mentioned.curve.is_empty() && dice.percent(85) {
        dice.one_of(&mentioned.curve).clone()
    } else {
        dice.text(DOMAINS)
    };
    let mut key = match dice.below(10) {
        0..=3 => ADA.to_vec(),
        4..=7 => BOB.to_vec(),
        _ => dice.one_of(&KEYS).to_vec(),
    };
    if dice.percent(5) {
        // A known key with one bit flipped.
        key[dice.below(32)] ^= 1 << dice.below(8);
    }
    if dice.percent(5) {
        key.resize(dice.below(66), 7);
    }
    (domain, "CURVE".into(), vec![key.into()])
}
