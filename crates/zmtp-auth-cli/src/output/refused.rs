//! Peers that were refused, as events: who, from where, how and why. Repetitions are summed up.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::output::repeats::{Repeats, place_of};
use crate::socket::frames::Shown;
use serde::Serialize;
use std::time::Instant;
use zmtp_auth::Credential;
use zmtp_auth::net::Refusal;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Refused(&'a Refused),
}

#[derive(Serialize)]
struct Refused {
    /// When, by RFC 3339.
    at: String,
    address: String,
    port: Option<u16>,
    /// The CURVE key that was proven, in Z85.
    key: Option<String>,
    /// The PLAIN user, if the policy knows that name.
    user: Option<Shown>,
    domain: Option<Shown>,
    stage: &'static str,
    status: Option<&'static str>,
    reason: String,
    rule: Option<String>,
    policy_version: Option<u64>,
    /// Refusals that this line stands for, if it is not the first of its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
}

/// What refusals have in common that are summed up: the address, the key that was proven or the
/// known user, and the status. Without who it was, a stranger at the same address would hide a
/// peer that policy knows.
#[derive(PartialEq, Eq, Hash)]
struct SummedUp {
    address: String,
    who: Option<String>,
    status: Option<&'static str>,
}

/// Tells refusals: the first of each place at once, the next ones once a minute.
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

    /// Tells one, or keeps it for later.
    pub(crate) fn tell(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        let place = SummedUp {
            address: place_of(&refusal.address),
            who: refusal.credential.as_ref().map(ToString::to_string),
            status: status_of(refusal),
        };
        match self.repeats.note(place, refused(refusal), Instant::now()) {
            Some(refused) => self.events.offer(&Told::Refused(&refused)),
            None => Ok(()),
        }
    }

    /// Tells what is due of those that were kept.
    pub(crate) fn tell_due(&mut self) -> Result<(), Failure> {
        let due = self.repeats.due(Instant::now());
        self.tell_repeated(due)
    }

    /// Tells all that were kept.
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
        reason: denied.map_or_else(|| refusal.error.to_string(), |denied| denied.reason.clone()),
        rule: refusal.rule().map(str::to_owned),
        policy_version: denied.and_then(|denied| denied.by.as_ref()?.policy_version),
        repeated: None,
    }
}
