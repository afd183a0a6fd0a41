//! Reads vector files, which `vectors/README.md` defines. Unknown keys are errors.

use std::path::{Path, PathBuf};
use zmtp_auth::wire::frame::Flags;

/// One side of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    Client,
    Server,
}

impl Who {
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|who| who.name() == name)
    }
}

/// How a conversation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Both sides complete the handshake and understand all traffic.
    Complete,
    /// The policy of one side denies the other, with this ZAP status.
    Denies(Who, String),
    /// One side refuses the other's last bytes; the word says why.
    Refuses(Who, String),
}

/// What is known of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    pub socket_type: String,
    pub identity: Option<Vec<u8>>,
    pub properties: Vec<(String, Vec<u8>)>,
    pub username: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    pub secret_key: Option<Vec<u8>>,
    pub public_key: Option<Vec<u8>>,
    pub server_key: Option<Vec<u8>>,
    pub draws: Vec<(String, Vec<u8>)>,
    pub zap_request: Vec<Vec<u8>>,
    pub zap_reply: Vec<Vec<u8>>,
}

impl Side {
    /// The random bytes that this side drew under this name.
    pub fn draw(&self, name: &str) -> &[u8] {
        let found = self.draws.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no draw {name}")).1
    }
}

/// What one side puts on the wire at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub from: Who,
    pub label: String,
    /// The meaning of the frame, for traffic that is accepted.
    pub says: Option<(Flags, Vec<u8>)>,
    pub bytes: Vec<u8>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    pub name: String,
    pub about: String,
    pub made: String,
    pub with: Option<String>,
    pub mechanism: String,
    pub expect: Expect,
    /// The only side that can be tested. `None` if both can.
    pub subject: Option<Who>,
    /// The cookie in INITIATE is sent as the file has it, not replaced by the server's own.
    pub keep_cookie: bool,
    pub client: Side,
    pub server: Side,
    pub events: Vec<Event>,
}

/// `len` bytes that count up modulo 251.
pub fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name)
}

/// All files of a directory below `vectors/`, by name.
pub fn load(name: &str) -> Vec<Vector> {
    let mut paths: Vec<_> = std::fs::read_dir(directory(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let vector = Vector::parse(&text);
            assert_eq!(path.file_stem().unwrap().to_str(), Some(&*vector.name));
            vector
        })
        .collect()
}

/// A key, the text behind it, and the bytes on the lines below.
struct Entry<'a> {
    key: &'a str,
    text: &'a str,
    block: Vec<u8>,
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex: {text}");
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16);
    (0..text.len())
        .step_by(2)
        .map(|at| digit(at).unwrap_or_else(|_| panic!("bad hex: {text}")))
        .collect()
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for line in text.lines() {
        if let Some(bytes) = line.strip_prefix("  ") {
            let last = entries.last_mut().expect("bytes without a key");
            last.block.extend(hex(bytes));
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, text) = line.split_once(':').expect("key: text");
            let text = text.strip_prefix(' ').unwrap_or(text);
            let block = Vec::new();
            entries.push(Entry { key, text, block });
        }
    }
    entries
}

impl Entry<'_> {
    /// The bytes of an entry without a name.
    fn bytes(self) -> Vec<u8> {
        [hex(self.text), self.block].concat()
    }

    /// The bytes of an entry with a name in front.
    fn named(self) -> (String, Vec<u8>) {
        let (name, inline) = self.text.split_once(' ').unwrap_or((self.text, ""));
        (name.to_owned(), [hex(inline), self.block].concat())
    }

    /// What a frame means.
    fn says(self) -> (Flags, Vec<u8>) {
        let (kind, rule) = self.text.split_once(' ').unwrap_or((self.text, ""));
        let flags = match kind {
            "last" => Flags::Last,
            "more" => Flags::More,
            "command" => Flags::Command,
            other => panic!("no such kind of frame: {other}"),
        };
        let payload = match rule.strip_prefix("counting ") {
            Some(len) => counting(len.parse().unwrap()),
            None => self.block,
        };
        (flags, payload)
    }
}

impl Vector {
    /// Reads a file's text. Unknown keys are errors.
    pub fn parse(text: &str) -> Self {
        let mut entries = entries(text).into_iter();
        let head = entries.next().unwrap();
        assert_eq!((head.key, head.text), ("vector", "zmtp-auth 1"));
        let mut vector = Self {
            name: String::new(),
            about: String::new(),
            made: String::new(),
            with: None,
            mechanism: String::new(),
            expect: Expect::Complete,
            subject: None,
            keep_cookie: false,
            client: Side::default(),
            server: Side::default(),
            events: Vec::new(),
        };
        let mut says = None;
        for entry in entries {
            let text = entry.text.to_owned();
            match entry.key.split_once('.') {
                None => match entry.key {
                    "name" => vector.name = text,
                    "about" => vector.about = text,
                    "made" => vector.made = text,
                    "with" => vector.with = Some(text),
                    "mechanism" => vector.mechanism = text,
                    "expect" => vector.expect = parse_expect(&text),
                    "subject" => vector.subject = Some(Who::parse(&text).unwrap()),
                    "cookie" => vector.keep_cookie = text == "keep",
                    other => panic!("unknown key {other}"),
                },
                Some((who, "says")) => says = Some((Who::parse(who).unwrap(), entry.says())),
                Some((who, "sends")) => {
                    let from = Who::parse(who).unwrap();
                    let says = says.take().map(|(speaker, says)| {
                        assert_eq!(speaker, from, "both `says` and `sends` of one side");
                        says
                    });
                    vector.events.push(Event {
                        from,
                        label: text,
                        says,
                        bytes: entry.block,
                    });
                }
                Some((who, key)) => {
                    let key = key.to_owned();
                    vector.side_mut(Who::parse(who).unwrap()).parse(&key, entry);
                }
            }
        }
        vector
    }

    pub const fn side(&self, who: Who) -> &Side {
        match who {
            Who::Client => &self.client,
            Who::Server => &self.server,
        }
    }

    pub const fn side_mut(&mut self, who: Who) -> &mut Side {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    /// The sides that can be tested.
    pub fn subjects(&self) -> Vec<Who> {
        self.subject.map_or(Who::BOTH.to_vec(), |who| vec![who])
    }
}

fn parse_expect(text: &str) -> Expect {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["complete"] => Expect::Complete,
        [who, "denies", status] => Expect::Denies(Who::parse(who).unwrap(), status.to_owned()),
        [who, "refuses", word] => Expect::Refuses(Who::parse(who).unwrap(), word.to_owned()),
        _ => panic!("no such expectation: {text}"),
    }
}

impl Side {
    fn parse(&mut self, key: &str, entry: Entry<'_>) {
        match key {
            "socket-type" => self.socket_type = entry.text.to_owned(),
            "identity" => self.identity = Some(entry.bytes()),
            "property" => self.properties.push(entry.named()),
            "username" => self.username = Some(entry.bytes()),
            "password" => self.password = Some(entry.bytes()),
            "secret-key" => self.secret_key = Some(entry.bytes()),
            "public-key" => self.public_key = Some(entry.bytes()),
            "server-key" => self.server_key = Some(entry.bytes()),
            "draw" => self.draws.push(entry.named()),
            "zap-request" => self.zap_request.push(entry.bytes()),
            "zap-reply" => self.zap_reply.push(entry.bytes()),
            other => panic!("unknown key {other}"),
        }
    }
}
