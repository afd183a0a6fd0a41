//! `policy explain`: says whether a policy would admit a peer, by which rule, and what to do if not.
#![forbid(unsafe_code)]

use crate::exit::{Exit, Failure};
use crate::output::console::Console;
use crate::runtime::block_on;
use crate::security::key_file::public_key;
use crate::security::password_input::password;
use crate::security::server::load_policy;
use crate::socket::frames::Shown;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use zmtp_auth::auth::{Authenticator, Explanation, Outcome, Rule};
use zmtp_auth::{AccessRequest, Credentials, DenialStatus, Domain, PeerAddress, TopicPermissions};

/// Say whether a policy would admit a peer, and by which rule
///
/// The peer has a CURVE key (--key), or a PLAIN name and password (--user), or neither, which is NULL.
/// The answer is the one that `listen` would give with this policy. It names the rule that decides, the
/// user id and the topics of a peer that is admitted, and for a peer that is refused what to change.
///
/// Exits with 0 if the peer would be admitted, with 3 if it would be refused, and with 4 if it would be
/// refused for now, such as a key that is not valid yet.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The policy file, standard input (-) or a variable (env:NAME)
    file: PathBuf,
    /// The domain of the server, as `listen --domain` names it
    #[arg(long, value_name = "NAME", default_value = "")]
    domain: String,
    /// The public key of the peer, for CURVE: its 40 characters, or a certificate, the output of
    /// `keygen` or the bare key, from a file, standard input (-) or a variable (env:NAME)
    #[arg(
        long,
        value_name = "Z85|FILE",
        allow_hyphen_values = true,
        conflicts_with = "user"
    )]
    key: Option<String>,
    /// The name of the peer, for PLAIN. The password comes from --password-file, from
    /// $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password of --user from this file, standard input (-) or a variable (env:NAME)
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "key")]
    password_file: Option<PathBuf>,
    /// The address of the peer: an IP address, or localhost:UID:GID:PID for ipc
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: PeerAddress,
}

/// The answer, with the names of the event `decision`.
#[derive(Serialize)]
struct Explained {
    domain: Shown,
    address: String,
    mechanism: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    user_id: Option<Shown>,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// Present if the peer is admitted.
    #[serde(flatten)]
    admitted: Option<Admitted>,
}

#[derive(Serialize)]
struct Admitted {
    metadata: BTreeMap<String, Shown>,
    /// The end of the admission, in RFC 3339.
    valid_until: Option<String>,
    /// Prefixes. An empty one is every topic.
    subscribe: Vec<Shown>,
    publish: Vec<Shown>,
}

pub(crate) fn run(arguments: &ExplainArguments, console: Console) -> Result<(), Failure> {
    let credentials = arguments.credentials()?;
    let policy = load_policy(&arguments.file)?.map_err(Failure::of)?;
    let authenticator = Authenticator::new();
    authenticator.load_policy(&policy).map_err(Failure::of)?;
    let domain = Domain::from(arguments.domain.clone());
    let request = AccessRequest::new(domain, arguments.address.clone(), credentials);
    let explanation = block_on(async { Ok(authenticator.explain(&request).await) })?;
    let explained = explained(&request, &explanation);
    console.result(&explained, &text(&explained, &explanation))?;
    match &explanation.outcome {
        Some(Outcome::Allowed { .. }) => Ok(()),
        Some(Outcome::Refused {
            status: DenialStatus::Temporary,
            ..
        }) => Err(Failure::with(Exit::Temporary, "")),
        // The reason is on stdout.
        _ => Err(Failure::with(Exit::Refused, "")),
    }
}

impl ExplainArguments {
    fn credentials(&self) -> Result<Credentials, Failure> {
        if let Some(key) = &self.key {
            let key = public_key(key)?;
            return Ok(Credentials::Curve { key });
        }
        let Some(user) = &self.user else {
            return Ok(Credentials::Null);
        };
        let prompt = format!("Password of {user}: ");
        Ok(Credentials::Plain {
            username: user.clone().into(),
            password: password(self.password_file.as_deref(), &prompt)?,
        })
    }
}

fn explained(request: &AccessRequest, explanation: &Explanation) -> Explained {
    let (status, reason, user_id) = match &explanation.outcome {
        Some(Outcome::Allowed { user_id, .. }) => ("200", None, Some(user_id)),
        Some(Outcome::Refused {
            status,
            reason,
            user_id,
            ..
        }) => (status.as_str(), Some(*reason), user_id.as_ref()),
        // A provider would decide, and a policy file names none.
        _ => ("500", None, None),
    };
    Explained {
        domain: Shown::of(request.domain.as_bytes()),
        address: request.address.to_string(),
        mechanism: request.credentials.mechanism().name(),
        status,
        reason,
        user_id: user_id.map(|user_id| Shown::of(user_id)),
        rule: explanation.rule.to_string(),
        advice: reason.and_then(|reason| advice(request, &explanation.rule, reason)),
        admitted: admitted(explanation),
    }
}

fn admitted(explanation: &Explanation) -> Option<Admitted> {
    let Some(Outcome::Allowed {
        metadata,
        valid_until,
        ..
    }) = &explanation.outcome
    else {
        return None;
    };
    let none = TopicPermissions::none();
    let topics = explanation.topics.as_ref().unwrap_or(&none);
    let metadata = metadata.iter();
    Some(Admitted {
        metadata: metadata
            .map(|(name, value)| (name.to_owned(), Shown::of(value)))
            .collect(),
        valid_until: valid_until.map(|end| humantime::format_rfc3339_seconds(end).to_string()),
        subscribe: topics
            .subscribe_prefixes()
            .map(|it| Shown::of(it))
            .collect(),
        publish: topics.publish_prefixes().map(|it| Shown::of(it)).collect(),
    })
}

/// The answer for a person.
fn text(explained: &Explained, explanation: &Explanation) -> String {
    let mut text = String::new();
    let user = explained.user_id.as_ref();
    // Writing to a String cannot fail.
    let _ = match (&explained.admitted, user) {
        (Some(_), Some(user)) => writeln!(text, "admitted as {}", quoted(user)),
        (_, user) => {
            let reason = explained.reason.unwrap_or("a provider decides");
            let _ = write!(text, "refused with {}: {reason}", explained.status);
            match user {
                Some(user) => writeln!(text, ", although the key is that of {}", quoted(user)),
                None => writeln!(text),
            }
        }
    };
    let _ = writeln!(text, "rule: {}", explained.rule);
    if let Some(advice) = &explained.advice {
        let _ = writeln!(text, "to admit it: {advice}");
    }
    let Some(admitted) = &explained.admitted else {
        return text;
    };
    for (name, value) in &admitted.metadata {
        let _ = writeln!(text, "metadata: {name} = {}", quoted(value));
    }
    if let Some(end) = &admitted.valid_until {
        let _ = writeln!(text, "until: {end}");
    }
    if let Some(topics) = &explanation.topics {
        let _ = writeln!(text, "topics: {topics}");
    }
    text
}

fn quoted(shown: &Shown) -> String {
    match shown {
        Shown::Text(text) => format!("{text:?}"),
        Shown::Base64(base64) => format!("base64 {base64}"),
    }
}

/// What to change so that the peer is admitted, if that can be said.
fn advice(request: &AccessRequest, rule: &Rule, reason: &str) -> Option<String> {
    let address = &request.address;
    let list = |domain: &Option<Domain>| match domain {
        Some(domain) => format!("of [domain.\"{domain}\"]"),
        None => "at the beginning of the file".to_owned(),
    };
    Some(match (rule, reason) {
        (
            Rule::Unclaimed {
                mechanism, domain, ..
            },
            _,
        ) => {
            let setting = mechanism.name().to_lowercase();
            format!(
                "write {setting} = {{ .. }} into [domain.\"{domain}\"], or choose a domain that has it \
                 with --domain"
            )
        }
        (Rule::AllowList(domain), _) => format!("add {address} to allow {}", list(domain)),
        (Rule::DenyList(domain, denied), _) => {
            format!("take {denied} off deny {}", list(domain))
        }
        (Rule::KeyAddresses(domain), _) => {
            format!("add {address} to from of the key in [domain.\"{domain}\"]")
        }
        (Rule::Keys(_), "Key expired") => {
            "renew the certificate, or set a later end in its validity or that of the domain"
                .to_owned()
        }
        (Rule::Keys(_), "Key not valid yet") => {
            "wait, or set an earlier beginning in the validity of the certificate or the domain"
                .to_owned()
        }
        (Rule::Keys(domain), _) => format!(
            "add the key to curve of [domain.\"{domain}\"], or its certificate to the directory there"
        ),
        (Rule::Passwords(domain), "Invalid password") => format!(
            "give the password that plain of [domain.\"{domain}\"] has for the user, or set another one"
        ),
        (Rule::Passwords(domain), _) => {
            format!("add the user to plain of [domain.\"{domain}\"]: see zmtp-auth passwd")
        }
        (Rule::Null(domain), _) => {
            format!(
                "give --key or --user, or write null = {{ any = true }} into [domain.\"{domain}\"], which \
                 admits everyone without proof"
            )
        }
        _ => return None,
    })
}
