//! The form of audit events under serde (feature `serde`): one flat object for each event.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::audit::event::{
    AddressChange, AuditEvent, Audited, AuditedAdmission, AuditedDecision, Change,
};
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::outcome::Outcome;
use crate::auth::policy::rule::Rule;
#[cfg(feature = "reload")]
use crate::auth::reload::event::ReloadEvent;
use crate::byte_text::to_text;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::Metadata;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
#[cfg(feature = "reload")]
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that RFC 3339 can write: the end of the year 9999.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

impl Serialize for AuditEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &rfc3339(self.at))?;
        map.serialize_entry("policy_version", &self.policy_version)?;
        map.serialize_entry("event", self.what.name())?;
        match &self.what {
            Audited::Decision(decision) => add_decision(&mut map, decision)?,
            Audited::Malformed { id, reason } => {
                let id = id.as_ref().map(|id| to_text(id.as_bytes()));
                map.serialize_entry("id", &id)?;
                map.serialize_entry("reason", reason)?;
            }
            Audited::Ended(admission) => add_admission(&mut map, admission)?,
            Audited::Change(change) => add_change(&mut map, change)?,
            Audited::ProviderStuck(rule) => map.serialize_entry("rule", &RuleForm::of(rule))?,
            #[cfg(feature = "reload")]
            Audited::Reloaded(event) => add_reload(&mut map, event)?,
        }
        map.end()
    }
}

fn add_decision<M: SerializeMap>(map: &mut M, decision: &AuditedDecision) -> Result<(), M::Error> {
    map.serialize_entry("id", &to_text(decision.id.as_bytes()))?;
    map.serialize_entry("domain", &decision.domain)?;
    map.serialize_entry("address", &to_text(&decision.address.to_zap()))?;
    map.serialize_entry("port", &decision.port)?;
    map.serialize_entry("mechanism", &to_text(&decision.mechanism))?;
    let credential = decision.credential.as_ref().map(CredentialForm::of);
    map.serialize_entry("credential", &credential)?;
    match &decision.outcome {
        Outcome::Allowed {
            user_id,
            metadata,
            entry_version,
            valid_until,
        } => {
            map.serialize_entry("outcome", "allowed")?;
            map.serialize_entry("user_id", &to_text(user_id))?;
            map.serialize_entry("metadata", &MetadataForm(metadata))?;
            map.serialize_entry("entry_version", entry_version)?;
            map.serialize_entry("valid_until", &valid_until.map(rfc3339))?;
        }
        Outcome::Refused {
            status,
            reason,
            user_id,
        } => {
            map.serialize_entry("outcome", "refused")?;
            map.serialize_entry("status", status.as_str())?;
            map.serialize_entry("reason", reason)?;
            if let Some(user_id) = user_id {
                map.serialize_entry("user_id", &to_text(user_id))?;
            }
        }
    }
    map.serialize_entry("rule", &RuleForm::of(&decision.rule))?;
    let took = u64::try_from(decision.took.as_micros()).unwrap_or(u64::MAX);
    map.serialize_entry("took_us", &took)
}

fn add_admission<M: SerializeMap>(
    map: &mut M,
    admission: &AuditedAdmission,
) -> Result<(), M::Error> {
    map.serialize_entry("domain", &admission.domain)?;
    map.serialize_entry("address", &to_text(&admission.address.to_zap()))?;
    map.serialize_entry("credential", &CredentialForm::of(&admission.credential))?;
    map.serialize_entry("user_id", &to_text(&admission.user_id))?;
    map.serialize_entry("rule", &RuleForm::of(&admission.rule))
}

fn add_change<M: SerializeMap>(map: &mut M, change: &Change) -> Result<(), M::Error> {
    map.serialize_entry("change", change.name())?;
    match change {
        Change::Claimed(mechanism, domain) => {
            map.serialize_entry("mechanism", mechanism)?;
            map.serialize_entry("domain", domain)
        }
        Change::Ruled {
            rule,
            added,
            changed,
            removed,
            users,
        } => {
            map.serialize_entry("rule", &RuleForm::of(rule))?;
            for (name, list) in [("added", added), ("changed", changed), ("removed", removed)] {
                let list: Vec<_> = list.iter().map(CredentialForm::of).collect();
                map.serialize_entry(name, &list)?;
            }
            map.serialize_entry("users", &UsersForm(users))
        }
        Change::PolicyFile(domains) => map.serialize_entry("domains", domains),
        Change::Unconfigured(domain) => map.serialize_entry("domain", domain),
        Change::Addresses { domain, how, rules } => {
            map.serialize_entry("domain", domain)?;
            map.serialize_entry("how", how.name())?;
            let rules: Vec<_> = rules.iter().map(AddressRule::to_string).collect();
            map.serialize_entry("rules", &rules)
        }
        Change::Topics {
            domain,
            is_table,
            users,
            others,
        } => {
            map.serialize_entry("domain", domain)?;
            map.serialize_entry("is_table", is_table)?;
            let users = users.iter();
            let users: Vec<_> = users
                .map(|(mechanism, user_id)| TopicUserForm {
                    mechanism: *mechanism,
                    user_id: to_text(user_id),
                })
                .collect();
            map.serialize_entry("users", &users)?;
            map.serialize_entry("others", others)
        }
        Change::WatchEnded(watches) => {
            let watches = watches.iter();
            let watches: Vec<_> = watches
                .map(|(mechanism, domain)| WatchForm {
                    mechanism: *mechanism,
                    domain,
                })
                .collect();
            map.serialize_entry("watches", &watches)
        }
        Change::EndedUser {
            mechanism,
            domain,
            user_id,
        } => {
            map.serialize_entry("mechanism", mechanism)?;
            map.serialize_entry("domain", domain)?;
            map.serialize_entry("user_id", &to_text(user_id))
        }
        Change::EndedKey(key) => map.serialize_entry("key", key),
        Change::UserIds | Change::Stopped | Change::Started => Ok(()),
    }
}

#[cfg(feature = "reload")]
fn add_reload<M: SerializeMap>(map: &mut M, event: &ReloadEvent) -> Result<(), M::Error> {
    let text = |path: &Path| to_text(path.as_os_str().as_encoded_bytes());
    map.serialize_entry("domain", &event.domain)?;
    map.serialize_entry("path", &text(&event.path))?;
    map.serialize_entry("admitted", &event.admitted)?;
    let issues: Vec<_> = event.issues.iter().map(ToString::to_string).collect();
    map.serialize_entry("issues", &issues)?;
    let passed_over: Vec<_> = event.passed_over.iter().map(|path| text(path)).collect();
    map.serialize_entry("passed_over", &passed_over)
}

impl Change {
    /// The name of the change.
    const fn name(&self) -> &'static str {
        match self {
            Self::Claimed(..) => "claimed",
            Self::Ruled { .. } => "ruled",
            Self::PolicyFile(_) => "policy_file",
            Self::Unconfigured(_) => "unconfigured",
            Self::Addresses { .. } => "addresses",
            Self::Topics { .. } => "topics",
            Self::WatchEnded(_) => "watch_ended",
            Self::UserIds => "user_ids",
            Self::EndedUser { .. } => "ended_user",
            Self::EndedKey(_) => "ended_key",
            Self::Stopped => "stopped",
            Self::Started => "started",
        }
    }
}

impl AddressChange {
    /// The name of the change.
    const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::RemoveAllowed => "remove_allowed",
            Self::RemoveDenied => "remove_denied",
            Self::Clear => "clear",
        }
    }
}

#[derive(serde::Serialize)]
struct WatchForm<'a> {
    mechanism: MechanismKind,
    domain: &'a Domain,
}

#[derive(serde::Serialize)]
struct TopicUserForm {
    mechanism: MechanismKind,
    user_id: String,
}

#[derive(serde::Serialize)]
struct CredentialForm {
    r#type: &'static str,
    value: Option<String>,
}

impl CredentialForm {
    fn of(credential: &Credential) -> Self {
        let (r#type, value) = match credential {
            Credential::Null => ("null", None),
            Credential::UserName(name) => ("user_name", Some(to_text(name))),
            Credential::Key(key) => ("key", Some(key.to_z85())),
            Credential::Principal(name) => ("principal", Some(to_text(name))),
        };
        Self { r#type, value }
    }
}

#[derive(serde::Serialize)]
struct RuleForm<'a> {
    kind: &'static str,
    mechanism: Option<MechanismKind>,
    domain: Option<&'a Domain>,
    address: Option<String>,
    /// Domains in which an unclaimed mechanism admits peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    admitting: Option<&'a [Domain]>,
    /// Whether there are more of them, or may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_more: bool,
}

impl<'a> RuleForm<'a> {
    fn of(rule: &'a Rule) -> Self {
        let (kind, mechanism, domain, address) = match rule {
            Rule::Request => ("request", None, None, None),
            Rule::Stopped => ("stopped", None, None, None),
            Rule::AllowList(domain) => ("allow_list", None, domain.as_ref(), None),
            Rule::DenyList(domain, rule) => ("deny_list", None, domain.as_ref(), Some(rule)),
            Rule::UnreadableAddress(domain) => ("unreadable_address", None, domain.as_ref(), None),
            Rule::Unclaimed {
                mechanism, domain, ..
            } => ("unclaimed", Some(*mechanism), Some(domain), None),
            Rule::AddressAlone(mechanism) => ("address_alone", Some(*mechanism), None, None),
            Rule::Null(domain) => ("null", None, Some(domain), None),
            Rule::Principals(domain) => ("principals", None, Some(domain), None),
            Rule::Passwords(domain) => ("passwords", None, Some(domain), None),
            Rule::Keys(domain) => ("keys", None, Some(domain), None),
            Rule::KeyAddresses(domain) => ("key_addresses", None, Some(domain), None),
            Rule::AnyKey(domain) => ("any_key", None, Some(domain), None),
            Rule::Provider(mechanism, domain) => ("provider", Some(*mechanism), Some(domain), None),
        };
        let (admitting, has_more) = match rule {
            Rule::Unclaimed {
                admitting,
                has_more,
                ..
            } => (Some(&admitting[..]), *has_more),
            _ => (None, false),
        };
        Self {
            kind,
            mechanism,
            domain,
            address: address.map(AddressRule::to_string),
            admitting,
            has_more,
        }
    }
}

struct UsersForm<'a>(&'a [(PublicKey, Bytes)]);

impl Serialize for UsersForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let users = self.0.iter();
        serializer.collect_map(users.map(|(key, user)| (key.to_z85(), to_text(user))))
    }
}

struct MetadataForm<'a>(&'a Metadata);

impl Serialize for MetadataForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let properties = self.0.iter();
        serializer.collect_map(properties.map(|(name, value)| (name, to_text(value))))
    }
}

/// The time in RFC 3339, limited to what that can write.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    humantime::format_rfc3339_micros(UNIX_EPOCH + since.min(LAST_SECOND)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::auth::authenticator::handle::Authenticator;
    use crate::crypto::keys::PublicKey;
    use crate::status::DenialStatus;
    use crate::zap::request::RequestId;
    use serde_json::{Value, json};

    fn form(what: Audited) -> Value {
        let event = AuditEvent {
            at: UNIX_EPOCH + Duration::from_micros(1_500_000),
            policy_version: 7,
            what,
        };
        let mut form = serde_json::to_value(event).unwrap();
        let object = form.as_object_mut().unwrap();
        assert_eq!(object.remove("at").unwrap(), "1970-01-01T00:00:01.500000Z");
        assert_eq!(object.remove("policy_version").unwrap(), 7);
        form
    }

    fn key() -> PublicKey {
        PublicKey::from_bytes([7; 32]).unwrap()
    }

    fn decision(outcome: Outcome) -> AuditedDecision {
        AuditedDecision {
            id: RequestId::from(4711),
            domain: Domain::from(&b"b\xFF"[..]),
            address: PeerAddress::from_zap(b"192.0.2.1"),
            port: None,
            mechanism: "PLAIN".into(),
            credential: Some(Credential::UserName("alice".into())),
            outcome,
            rule: Rule::Passwords(Domain::ALL),
            took: Duration::from_micros(12),
        }
    }

    #[test]
    fn a_decision_is_one_flat_object() {
        let mut metadata = Metadata::new();
        metadata.push("role", &b"\xFF"[..]).unwrap();
        let allowed = Outcome::Allowed {
            user_id: "alice".into(),
            metadata,
            entry_version: 3,
            valid_until: None,
        };
        let rule = json!({"kind": "passwords", "mechanism": null, "domain": "*", "address": null});
        let expected = json!({
            "event": "decision", "id": "4711", "domain": "b\\xff", "address": "192.0.2.1",
            "port": null, "mechanism": "PLAIN",
            "credential": {"type": "user_name", "value": "alice"},
            "outcome": "allowed", "user_id": "alice", "metadata": {"role": "\\xff"},
            "entry_version": 3, "valid_until": null, "rule": rule, "took_us": 12,
        });
        assert_eq!(form(Audited::Decision(decision(allowed))), expected);
        let mut refused = decision(Outcome::Refused {
            status: DenialStatus::Failure,
            reason: "Invalid password",
            user_id: None,
        });
        refused.credential = None;
        refused.port = Some(5555);
        let expected = json!({
            "event": "decision", "id": "4711", "domain": "b\\xff", "address": "192.0.2.1",
            "port": 5555, "mechanism": "PLAIN", "credential": null, "outcome": "refused",
            "status": "400", "reason": "Invalid password", "rule": rule, "took_us": 12,
        });
        assert_eq!(form(Audited::Decision(refused)), expected);
        let named = decision(Outcome::Refused {
            status: DenialStatus::Failure,
            reason: "Key expired",
            user_id: Some("alice".into()),
        });
        assert_eq!(form(Audited::Decision(named))["user_id"], "alice");
    }

    #[test]
    fn a_domain_without_a_rule_is_told_with_those_that_admit_peers() {
        for has_more in [false, true] {
            let mut unclaimed = json!({
                "kind": "unclaimed", "mechanism": "PLAIN", "domain": "biling", "address": null,
                "admitting": ["billing"],
            });
            if has_more {
                unclaimed["has_more"] = true.into();
            }
            let rule = Rule::Unclaimed {
                mechanism: MechanismKind::Plain,
                domain: "biling".into(),
                admitting: vec!["billing".into()],
                has_more,
            };
            assert_eq!(form(Audited::ProviderStuck(rule))["rule"], unclaimed);
        }
    }

    #[test]
    fn other_events_name_what_has_happened() {
        let reason = "Invalid version";
        assert_eq!(
            form(Audited::Malformed { id: None, reason }),
            json!({"event": "malformed", "id": null, "reason": reason})
        );
        let rule = Rule::Provider(MechanismKind::Curve, Domain::EMPTY);
        let provider =
            json!({"kind": "provider", "mechanism": "CURVE", "domain": "", "address": null});
        assert_eq!(
            form(Audited::ProviderStuck(rule.clone())),
            json!({"event": "provider_stuck", "rule": provider})
        );
        let ended = AuditedAdmission {
            domain: Domain::EMPTY,
            address: PeerAddress::from_zap(b"localhost:1:2:3"),
            credential: Credential::Key(key()),
            user_id: "u".into(),
            rule,
        };
        let credential = json!({"type": "key", "value": key().to_z85()});
        assert_eq!(
            form(Audited::Ended(ended)),
            json!({"event": "ended", "domain": "", "address": "localhost:1:2:3",
                "credential": credential, "user_id": "u", "rule": provider})
        );
    }

    #[test]
    fn changes_name_what_was_changed() {
        let domain = Domain::from("d");
        let deny: AddressRule = "10.0.0.0/8".parse().unwrap();
        for (change, expected) in [
            (
                Change::Claimed(MechanismKind::Plain, domain.clone()),
                json!({"change": "claimed", "mechanism": "PLAIN", "domain": "d"}),
            ),
            (
                Change::Ruled {
                    rule: Rule::DenyList(None, deny.clone()),
                    added: vec![Credential::Null],
                    changed: vec![],
                    removed: vec![Credential::Principal("p".into())],
                    users: vec![(key(), "alice".into())],
                },
                json!({"change": "ruled",
                    "rule": {"kind": "deny_list", "mechanism": null, "domain": null,
                        "address": "10.0.0.0/8"},
                    "added": [{"type": "null", "value": null}], "changed": [],
                    "removed": [{"type": "principal", "value": "p"}],
                    "users": {key().to_z85(): "alice"}}),
            ),
            (
                Change::PolicyFile(vec![domain.clone()]),
                json!({"change": "policy_file", "domains": ["d"]}),
            ),
            (
                Change::Unconfigured(domain.clone()),
                json!({"change": "unconfigured", "domain": "d"}),
            ),
            (
                Change::Addresses {
                    domain: None,
                    how: AddressChange::RemoveDenied,
                    rules: vec![deny],
                },
                json!({"change": "addresses", "domain": null, "how": "remove_denied",
                    "rules": ["10.0.0.0/8"]}),
            ),
            (
                Change::Topics {
                    domain: domain.clone(),
                    is_table: true,
                    users: vec![(MechanismKind::Curve, "alice".into())],
                    others: false,
                },
                json!({"change": "topics", "domain": "d", "is_table": true, "others": false,
                    "users": [{"mechanism": "CURVE", "user_id": "alice"}]}),
            ),
            (
                Change::WatchEnded(vec![(MechanismKind::Curve, domain.clone())]),
                json!({"change": "watch_ended",
                    "watches": [{"mechanism": "CURVE", "domain": "d"}]}),
            ),
            (
                Change::EndedUser {
                    mechanism: MechanismKind::Plain,
                    domain,
                    user_id: "u".into(),
                },
                json!({"change": "ended_user", "mechanism": "PLAIN", "domain": "d",
                    "user_id": "u"}),
            ),
            (
                Change::EndedKey(key()),
                json!({"change": "ended_key", "key": key().to_z85()}),
            ),
            (Change::UserIds, json!({"change": "user_ids"})),
            (Change::Stopped, json!({"change": "stopped"})),
            (Change::Started, json!({"change": "started"})),
        ] {
            let mut expected = expected;
            expected["event"] = "change".into();
            assert_eq!(form(Audited::Change(change)), expected);
        }
    }

    #[cfg(feature = "reload")]
    #[test]
    fn a_reload_lists_its_issues_as_texts() {
        use crate::auth::policy::watched::issue::ReloadIssue;
        let event = ReloadEvent {
            domain: Domain::ALL,
            path: "keys".into(),
            admitted: 2,
            issues: vec![ReloadIssue::Hangs],
            passed_over: vec!["keys/a.txt".into()],
        };
        let issue = ReloadIssue::Hangs.to_string();
        assert_eq!(
            form(Audited::Reloaded(event)),
            json!({"event": "reloaded", "domain": "*", "path": "keys", "admitted": 2,
                "issues": [issue], "passed_over": ["keys/a.txt"]})
        );
    }

    #[test]
    fn times_that_rfc_3339_cannot_write_are_limited() {
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000000Z"
        );
        assert_eq!(
            rfc3339(UNIX_EPOCH + LAST_SECOND * 2),
            "9999-12-31T23:59:59.000000Z"
        );
    }

    #[test]
    fn no_event_of_a_refused_login_contains_the_password_or_an_unknown_name() {
        use crate::access::credentials::Credentials;
        use crate::access::request::AccessRequest;
        let auth = Authenticator::new();
        let mut events = auth.events();
        auth.configure_plain("*", [("alice", "hunter2")]).unwrap();
        for (name, password) in [("alice", "hunter3"), ("hunter2", "alice")] {
            let credentials = Credentials::Plain {
                username: name.into(),
                password: password.into(),
            };
            let address = PeerAddress::from_zap(b"192.0.2.1");
            let _ = auth.authorize_blocking(&AccessRequest::new("d", address, credentials));
        }
        let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(told.len(), 4);
        let text = told
            .iter()
            .map(|told| serde_json::to_string(&*told.event).unwrap());
        let text: String = text.collect();
        assert!(text.contains("alice") && !text.contains("hunter"), "{text}");
    }
}
