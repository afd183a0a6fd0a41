//! Frames between this process and the peer, as bytes or, if long, as a description.

use serde_json::{Value, json};

/// One frame, sent or received.
#[derive(Debug, Clone)]
pub enum Payload {
    Bytes(Vec<u8>),
    /// `length` bytes, where byte `i` is `(seed + i) % 251`. The processes exchange this
    /// description instead of the bytes.
    Fill {
        seed: u8,
        length: usize,
    },
    /// A long received frame that [`Payload::Fill`] does not describe. Equal to no other payload.
    Other {
        sha256: String,
        length: u64,
    },
}

impl Payload {
    /// The bytes, or `None` for [`Payload::Other`].
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Fill { seed, length } => {
                let block: Vec<u8> = (0..251u16)
                    .map(|i| u8::try_from((u16::from(*seed) + i) % 251).unwrap())
                    .collect();
                Some(block.iter().copied().cycle().take(*length).collect())
            }
            Self::Other { .. } => None,
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Bytes(bytes) => json!(to_hex(bytes)),
            Self::Fill { seed, length } => json!({ "fill": [seed, length] }),
            Self::Other { .. } => panic!("{self:?} cannot be sent"),
        }
    }

    pub fn from_json(value: &Value) -> Self {
        if let Some(text) = value.as_str() {
            return Self::Bytes(from_hex(text));
        }
        if let Some([seed, length]) = value["fill"].as_array().map(Vec::as_slice) {
            return Self::Fill {
                seed: u8::try_from(seed.as_u64().unwrap()).unwrap(),
                length: usize::try_from(length.as_u64().unwrap()).unwrap(),
            };
        }
        Self::Other {
            sha256: value["sha256"].as_str().unwrap().to_owned(),
            length: value["length"].as_u64().unwrap(),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.bytes(), other.bytes()), (Some(one), Some(two)) if one == two)
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A message's frames.
pub fn payloads(frames: &Value) -> Vec<Payload> {
    let frames = frames.as_array().unwrap();
    frames.iter().map(Payload::from_json).collect()
}
