//! Derived vectors: a recorded conversation in which one side, the forger, deviates from some point
//! on.

use super::file::{Event, Expect, Vector, Who, directory};
use super::forge::{body, data};
use zmtp_auth::wire::frame::Flags;

/// A recorded conversation.
pub fn recorded(name: &str) -> Vector {
    let path = directory("libzmq").join(format!("{name}.txt"));
    Vector::parse(&std::fs::read_to_string(path).unwrap())
}

/// Where the forger takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In place of the first output with this label that was recorded.
    InsteadOf(&'static str),
    /// Right after the output with this label.
    After(&'static str),
}

/// A recorded conversation up to the point where the forger takes over.
pub struct Scene<'a> {
    pub base: &'a Vector,
    /// The side that is tested; the other is the forger.
    pub subject: Who,
    place: Place,
}

impl<'a> Scene<'a> {
    pub const fn new(base: &'a Vector, subject: Who, place: Place) -> Self {
        Self {
            base,
            subject,
            place,
        }
    }

    pub const fn forger(&self) -> Who {
        self.subject.other()
    }

    const fn label(&self) -> &'static str {
        match self.place {
            Place::InsteadOf(label) | Place::After(label) => label,
        }
    }

    /// The recorded output that the forger replaces.
    pub fn honest(&self) -> &'a Event {
        event(self.base, self.forger(), self.label())
    }

    /// The recorded events before that point, and everything that the subject sends without waiting
    /// for the forger.
    fn before(&self) -> Vec<Event> {
        let events = &self.base.events;
        let at = events
            .iter()
            .position(|event| event == self.honest())
            .unwrap();
        let mut before = events[..at].to_vec();
        if let Place::After(_) = self.place {
            before.push(events[at].clone());
        }
        let unasked = match (self.label(), &*self.base.mechanism) {
            ("greeting", _) => Some("greeting"),
            ("READY", "NULL") => Some("READY"),
            _ => None,
        };
        if let Some(label) = unasked {
            let own = event(self.base, self.subject, label);
            if !before.contains(own) {
                before.push(own.clone());
            }
        }
        before
    }

    fn derive(&self, slug: &str, about: &str, expect: Expect, forged: Event) -> Vector {
        let mut events = self.before();
        events.push(forged);
        let place = match self.label() {
            "frame" => "traffic".into(),
            label => label.to_lowercase(),
        };
        let mechanism = &self.base.mechanism;
        Vector {
            name: format!(
                "{}-{}-{place}-{slug}",
                mechanism.to_lowercase(),
                self.subject.name()
            ),
            about: format!("{mechanism}, {about}"),
            made: format!(
                "derived from libzmq/{}.txt by tests/vectors.rs",
                self.base.name
            ),
            with: None,
            expect,
            subject: Some(self.subject),
            events,
            ..self.base.clone()
        }
    }

    /// The subject must refuse `bytes` for the reason that `word` names.
    pub fn refuse(&self, slug: &str, word: &str, about: &str, bytes: Vec<u8>) -> Vector {
        let forged = Event {
            from: self.forger(),
            label: self.label().to_owned(),
            says: None,
            bytes,
        };
        let expect = Expect::Refuses(self.subject, word.to_owned());
        self.derive(slug, about, expect, forged)
    }

    /// The subject must accept `bytes` as traffic with this meaning.
    pub fn understand(
        &self,
        slug: &str,
        about: &str,
        says: (Flags, &[u8]),
        bytes: Vec<u8>,
    ) -> Vector {
        let forged = Event {
            from: self.forger(),
            label: self.label().to_owned(),
            says: Some((says.0, says.1.to_vec())),
            bytes,
        };
        self.derive(slug, about, Expect::Complete, forged)
    }

    /// The subject must accept `bytes` in place of the recorded output, and the conversation goes
    /// on.
    pub fn accept(&self, slug: &str, about: &str, bytes: Vec<u8>) -> Vector {
        let forged = Event {
            bytes,
            ..self.honest().clone()
        };
        let mut vector = self.derive(slug, about, self.base.expect.clone(), forged.clone());
        let events = self.base.events.iter();
        vector.events = events
            .map(|event| {
                if event == self.honest() {
                    forged.clone()
                } else {
                    event.clone()
                }
            })
            .collect();
        vector
    }

    /// The body of the recorded output.
    pub fn honest_body(&self) -> &'a [u8] {
        body(&self.honest().bytes)
    }

    /// The data of the recorded command.
    pub fn honest_data(&self) -> &'a [u8] {
        data(&self.honest().bytes, self.label())
    }
}

fn event<'a>(vector: &'a Vector, from: Who, label: &str) -> &'a Event {
    let mut events = vector.events.iter();
    let found = events.find(|event| event.from == from && event.label == label);
    found.unwrap_or_else(|| panic!("{}: no {label}", vector.name))
}
