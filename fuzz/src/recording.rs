//! Recorded conversations: the files of `vectors/`, as far as fuzzing needs them.
//! `vectors/README.md` defines their form.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::OnceLock;

/// The recording whose secrets all CURVE targets use, so that its boxes open.
const BASE: &str = include_str!("../../vectors/libzmq/curve-dealer-router.txt");

/// One file: each key with its text, and the bytes of its block.
pub struct Recording(Vec<(String, String, Vec<u8>)>);

/// The bytes that one side sends at one moment.
pub struct Sent<'a> {
    pub label: &'a str,
    pub bytes: &'a [u8],
}

impl Recording {
    pub fn parse(text: &str) -> Self {
        let mut entries: Vec<(String, String, Vec<u8>)> = Vec::new();
        for line in text.lines() {
            if let Some(digits) = line.strip_prefix("  ") {
                let entry = entries.last_mut().expect("a block has a key");
                entry.2.extend(hex(digits));
            } else if let Some((key, text)) = line.split_once(':') {
                entries.push((key.to_owned(), text.trim().to_owned(), Vec::new()));
            }
        }
        Self(entries)
    }

    /// The conversation whose secrets the targets use.
    pub fn base() -> &'static Self {
        static RECORDING: OnceLock<Recording> = OnceLock::new();
        RECORDING.get_or_init(|| Self::parse(BASE))
    }

    /// Every file below `vectors/`, by name.
    pub fn all() -> Vec<Self> {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
        let mut paths = Vec::new();
        for folder in ["libzmq", "accepted", "refused"] {
            let entries = std::fs::read_dir(vectors.join(folder)).expect("vectors are there");
            paths.extend(entries.map(|entry| entry.expect("a file").path()));
        }
        paths.sort();
        let read = |path| std::fs::read_to_string(path).expect("a vector is text");
        paths.iter().map(|path| Self::parse(&read(path))).collect()
    }

    /// The text of a key that occurs once; empty if it does not occur.
    pub fn text(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(known, _, _)| known == key);
        found.map_or("", |(_, text, _)| text)
    }

    /// The 32 bytes of a key.
    pub fn key(&self, key: &str) -> [u8; 32] {
        hex(self.text(key)).try_into().expect("a key has 32 bytes")
    }

    /// All random bytes that a side draws, in order.
    pub fn draws(&self, side: &str) -> Vec<u8> {
        let key = format!("{side}.draw");
        let draws = self.0.iter().filter(|(known, _, _)| *known == key);
        draws
            .flat_map(|(_, text, _)| hex(text.split_once(' ').expect("a name, a value").1))
            .collect()
    }

    /// The random bytes of that name.
    pub fn draw(&self, side: &str, name: &str) -> [u8; 32] {
        let key = format!("{side}.draw");
        let found = self.0.iter().find_map(|(known, text, _)| {
            let value = text.strip_prefix(name)?.strip_prefix(' ')?;
            (*known == key).then_some(value)
        });
        let draw = hex(found.expect("the draw is recorded"));
        draw.try_into().expect("a key has 32 bytes")
    }

    /// Whether the boxes of this conversation are made with the secrets of the base.
    pub fn has_secrets_of_base(&self) -> bool {
        ["client", "server"].iter().all(|side| {
            self.text(&format!("{side}.secret-key"))
                == Self::base().text(&format!("{side}.secret-key"))
                && self.draws(side) == Self::base().draws(side)
        })
    }

    /// Everything that a side sends, in order.
    pub fn sent(&self, side: &str) -> Vec<Sent<'_>> {
        let key = format!("{side}.sends");
        let sent = self.0.iter().filter(|(known, _, _)| *known == key);
        sent.map(|(_, label, bytes)| Sent { label, bytes })
            .collect()
    }

    /// The frames of a side's ZAP request or reply.
    pub fn zap(&self, key: &str) -> Vec<Vec<u8>> {
        let frames = self.0.iter().filter(|(known, _, _)| known == key);
        frames
            .map(|(_, text, block)| [hex(text), block.clone()].concat())
            .collect()
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
