//! Writes vector files in the same form as `record.py`.

use super::file::{Expect, Side, Vector, Who, counting};
use std::fmt::Write as _;
use zmtp_auth::wire::frame::Flags;

/// Payloads longer than this are written as a rule rather than as bytes.
const LONGEST_PAYLOAD: usize = 1000;

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Vector {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut out = Writer(String::new());
        out.text("vector", "zmtp-auth 1");
        out.text("name", &self.name);
        out.text("about", &self.about);
        out.text("made", &self.made);
        if let Some(with) = &self.with {
            out.text("with", with);
        }
        out.text("mechanism", &self.mechanism);
        match &self.expect {
            Expect::Complete => out.text("expect", "complete"),
            Expect::Denies(who, status) => {
                out.text("expect", &format!("{} denies {status}", who.name()));
            }
            Expect::Refuses(who, word) => {
                out.text("expect", &format!("{} refuses {word}", who.name()));
            }
        }
        if let Some(who) = self.subject {
            out.text("subject", who.name());
        }
        if self.keep_cookie {
            out.text("cookie", "keep");
        }
        for who in Who::BOTH {
            out.0.push('\n');
            self.side(who).write(who.name(), &mut out);
        }
        out.0.push('\n');
        for event in &self.events {
            let who = event.from.name();
            if let Some((flags, payload)) = &event.says {
                let kind = match flags {
                    Flags::Last => "last",
                    Flags::More => "more",
                    Flags::Command => "command",
                };
                if payload.len() > LONGEST_PAYLOAD {
                    assert_eq!(*payload, counting(payload.len()));
                    let rule = format!("{kind} counting {}", payload.len());
                    out.text(&format!("{who}.says"), &rule);
                } else {
                    out.entry(&format!("{who}.says"), kind, payload);
                }
            }
            out.entry(&format!("{who}.sends"), &event.label, &event.bytes);
        }
        out.0
    }
}

impl Side {
    fn write(&self, who: &str, out: &mut Writer) {
        out.text(&format!("{who}.socket-type"), &self.socket_type);
        out.optional(who, "identity", self.identity.as_deref());
        for (name, value) in &self.properties {
            out.binary(&format!("{who}.property"), name, value);
        }
        out.optional(who, "username", self.username.as_deref());
        out.optional(who, "password", self.password.as_deref());
        out.optional(who, "secret-key", self.secret_key.as_deref());
        out.optional(who, "public-key", self.public_key.as_deref());
        out.optional(who, "server-key", self.server_key.as_deref());
        for (name, value) in &self.draws {
            out.binary(&format!("{who}.draw"), name, value);
        }
        for (key, frames) in [("request", &self.zap_request), ("reply", &self.zap_reply)] {
            for frame in frames {
                out.binary(&format!("{who}.zap-{key}"), "", frame);
            }
        }
    }
}

/// The text written so far.
struct Writer(String);

impl Writer {
    fn text(&mut self, key: &str, text: &str) {
        self.entry(key, text, &[]);
    }

    fn entry(&mut self, key: &str, text: &str, block: &[u8]) {
        self.0.push_str(format!("{key}: {text}").trim_end());
        self.0.push('\n');
        for line in block.chunks(32) {
            writeln!(self.0, "  {}", to_hex(line)).unwrap();
        }
    }

    fn optional(&mut self, who: &str, key: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.binary(&format!("{who}.{key}"), "", value);
        }
    }

    /// Writes up to 32 bytes on the key's line, more on the lines below.
    fn binary(&mut self, key: &str, name: &str, bytes: &[u8]) {
        if bytes.len() > 32 {
            self.entry(key, name, bytes);
        } else if name.is_empty() {
            self.text(key, &to_hex(bytes));
        } else {
            self.text(key, &format!("{name} {}", to_hex(bytes)));
        }
    }
}
