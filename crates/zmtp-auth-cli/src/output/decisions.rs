//! Prints the decisions of an Authenticator as events.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::events::Events;
use crate::socket::frames::Shown;
use serde::Serialize;
use zmtp_auth::Credential;
use zmtp_auth::auth::{AuditEvents, Audited, AuditedDecision, Outcome};

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told<'a> {
    Decision {
        id: Shown,
        domain: Shown,
        address: String,
        mechanism: Shown,
        #[serde(flatten)]
        who: Option<Who>,
        status: &'static str,
        reason: Option<&'a str>,
        user_id: Option<Shown>,
        rule: String,
    },
    Malformed {
        id: Option<Shown>,
        reason: &'static str,
    },
    Lost {
        count: u64,
    },
}

/// The peer by its credentials. A user name that the policy does not know is not printed, since it
/// may be a password that was typed in the wrong place.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Who {
    User(Shown),
    PublicKey(String),
    Principal(Shown),
}

impl Who {
    fn of(credential: &Credential) -> Option<Self> {
        match credential {
            Credential::UserName(name) => Some(Self::User(Shown::of(name))),
            Credential::Key(key) => Some(Self::PublicKey(key.to_z85())),
            Credential::Principal(name) => Some(Self::Principal(Shown::of(name))),
            _ => None,
        }
    }
}

/// Prints decisions until the stream ends. While stdout is full they wait in the stream, which keeps
/// some thousand and counts the ones that it drops.
pub(crate) async fn tell_decisions(
    mut decisions: AuditEvents,
    events: Events,
) -> Result<(), Failure> {
    while let Some(next) = decisions.next().await {
        if next.lost > 0 {
            events.tell(&Told::Lost { count: next.lost }).await?;
        }
        match &next.event.what {
            Audited::Decision(decision) => events.tell(&told(decision)).await?,
            Audited::Malformed { id, reason } => {
                let id = id.as_ref().map(|id| Shown::of(id.as_bytes()));
                events.tell(&Told::Malformed { id, reason }).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn told(decision: &AuditedDecision) -> Told<'_> {
    let (status, reason, user_id) = match &decision.outcome {
        Outcome::Refused {
            status,
            reason,
            user_id,
            ..
        } => {
            let user_id = user_id.as_ref().map(|user_id| Shown::of(user_id));
            (status.as_str(), Some(*reason), user_id)
        }
        Outcome::Allowed { user_id, .. } => ("200", None, Some(Shown::of(user_id))),
        // An outcome that this version does not know is not an admission.
        _ => ("500", None, None),
    };
    Told::Decision {
        id: Shown::of(decision.id.as_bytes()),
        domain: Shown::of(decision.domain.as_bytes()),
        address: decision.address.to_string(),
        mechanism: Shown::of(&decision.mechanism),
        who: decision.credential.as_ref().and_then(Who::of),
        status,
        reason,
        user_id,
        rule: decision.rule.to_string(),
    }
}
