//! Prints refused peers as events, and summarises repetitions.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::output::repeats::{Repeats, place_of};
use crate::socket::frames::Shown;
use serde::Serialize;
use std::mem::{self, Discriminant};
use std::time::Instant;
use zmtp_auth::net::Refusal;
use zmtp_auth::{Credential, Error, WithCauses};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Refused(&'a Refused),
}

#[derive(Serialize)]
struct Refused {
    /// When the peer was refused, in RFC 3339.
    at: String,
    address: String,
    port: Option<u16>,
    /// The CURVE key that the peer has proven, in Z85.
    key: Option<String>,
    /// The PLAIN user, if the policy knows the name.
    user: Option<Shown>,
    domain: Option<Shown>,
    stage: &'static str,
    status: Option<&'static str>,
    reason: String,
    rule: Option<String>,
    policy_version: Option<u64>,
    /// How many refusals this line stands for; missing in the first line of a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

/// Refusals with equal fields are summarised in one line. The key or user is one of the fields, so
/// that a stranger cannot hide the refusals of a known peer at the same address.
#[derive(PartialEq, Eq, Hash)]
struct SummedUp {
    address: String,
    who: Option<String>,
    stage: &'static str,
    /// The kind of the error, without what the peer can choose. A peer that sends ahead can fail
    /// for different reasons at one stage.
    kind: Option<Discriminant<Error>>,
    status: Option<&'static str>,
}

/// Prints refusals: the first of a kind at once, further ones once a minute.
pub(crate) struct Refusals {
    repeats: Repeats<SummedUp, Refused>,
    events: Events,
}

impl Refusals {
    pub(crate) fn new(events: Events) -> Self {
        let repeats = Repeats::new();
        Self { repeats, events }
    }

    /// When to call [`Refusals::tell_due`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.repeats.deadline()
    }

    /// Prints a refusal now, or keeps it for a later line.
    pub(crate) fn tell(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        let place = SummedUp {
            address: place_of(&refusal.address),
            who: refusal.credential.as_ref().map(ToString::to_string),
            stage: refusal.stage.name(),
            kind: refusal.error.protocol().map(mem::discriminant),
            status: status_of(refusal),
        };
        match self.repeats.note(place, refused(refusal), Instant::now()) {
            Some(refused) => self.events.offer(&Told::Refused(&refused)),
            None => Ok(()),
        }
    }

    /// Prints the lines that are due.
    pub(crate) fn tell_due(&mut self) -> Result<(), Failure> {
        let due = self.repeats.due(Instant::now());
        self.tell_repeated(due)
    }

    /// Prints everything that was kept.
    pub(crate) fn tell_rest(&mut self) -> Result<(), Failure> {
        let rest = self.repeats.rest();
        self.tell_repeated(rest)
    }

    fn tell_repeated(&self, due: Vec<(Refused, u64)>) -> Result<(), Failure> {
        for (mut refused, more) in due {
            refused.repeated = Some(more);
            self.events.offer(&Told::Refused(&refused))?;
        }
        Ok(())
    }
}

fn status_of(refusal: &Refusal) -> Option<&'static str> {
    refusal.denied().map(|denied| denied.status.as_str())
}

fn refused(refusal: &Refusal) -> Refused {
    let denied = refusal.denied();
    let (key, user) = match &refusal.credential {
        Some(Credential::Key(key)) => (Some(key.to_z85()), None),
        Some(Credential::UserName(name)) => (None, Some(Shown::of(name))),
        _ => (None, None),
    };
    Refused {
        at: humantime::format_rfc3339_millis(refusal.at).to_string(),
        address: refusal.address.to_string(),
        port: refusal.port,
        key,
        user,
        domain: refusal
            .domain
            .as_ref()
            .map(|name| Shown::of(name.as_bytes())),
        stage: refusal.stage.name(),
        status: status_of(refusal),
        reason: denied.map_or_else(
            || WithCauses(&refusal.error).to_string(),
            |denied| denied.reason.clone(),
        ),
        rule: refusal.rule().map(str::to_owned),
        policy_version: denied.and_then(|denied| denied.by.as_ref()?.policy_version),
        repeated: None,
    }
}
