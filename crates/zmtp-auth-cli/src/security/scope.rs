//! What a server asks its policy about, and whether the policy can admit a peer there.
#![forbid(unsafe_code)]

use zmtp_auth::MechanismKind;
use zmtp_auth::auth::{DomainSettings, PolicySettings};

/// The domain and the mechanism for which a socket asks the policy.
pub(crate) struct Scope {
    pub(crate) domain: String,
    pub(crate) mechanism: MechanismKind,
    /// Whether topic permissions are applied. A tunnel passes on every message.
    pub(crate) applies_topics: bool,
}

impl Scope {
    /// Returns why the policy can admit no peer, if so. Logs a warning if the named domain has no
    /// section and `*` is used instead, and if it has topic permissions that are not applied.
    pub(crate) fn check(&self, settings: &PolicySettings) -> Result<(), String> {
        let Self {
            domain, mechanism, ..
        } = self;
        let names = |section: &DomainSettings| match mechanism {
            MechanismKind::Null => section.null.is_some(),
            MechanismKind::Plain => section.plain.is_some(),
            _ => section.curve.is_some(),
        };
        let (own, star) = (settings.domain.get(domain), settings.domain.get("*"));
        let ruling = match own {
            Some(own) if names(own) || !own.inherit => Some(own),
            Some(_) => star,
            None => {
                if star.is_some() && !domain.is_empty() {
                    tracing::warn!("domain {domain:?} has no section: \"*\" applies to it");
                }
                star
            }
        };
        let mut sections = own.into_iter().chain(star);
        let has_topics = sections.any(|section| section.topics.is_some());
        if has_topics && !self.applies_topics {
            tracing::warn!(
                "the policy has topics for domain {domain:?}, which a tunnel does not apply: it passes on \
                 every message"
            );
        }
        if ruling.is_some_and(names) {
            return Ok(());
        }
        let sections: Vec<_> = settings
            .domain
            .keys()
            .map(|name| format!("{name:?}"))
            .collect();
        let sections = match sections.is_empty() {
            true => "it has no sections".to_owned(),
            false => format!("it has sections for {}", sections.join(", ")),
        };
        Err(format!(
            "the policy admits no peer by {mechanism} in domain {domain:?}: {sections}; choose one \
             with --domain"
        ))
    }
}
