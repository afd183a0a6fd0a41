//! Access policy. [`Authenticator`] implements the policy of pyzmq's `zmq.auth` as a
//! [`ZapHandler`](crate::zap::ZapHandler).

mod admission_state;
pub(crate) mod audit;
pub(crate) mod authenticator;
mod grant_places;
mod grant_terms;
pub(crate) mod grants;
pub(crate) mod policy;
#[cfg(feature = "policy-file")]
pub(crate) mod policy_file;
#[cfg(feature = "reload")]
pub(crate) mod reload;
pub(crate) mod sync;
pub(crate) mod thread_authenticator;

pub use crate::access::user_name::UserNameError;
pub use crate::crypto::password_hash::{HashingError, PasswordHashError};
pub use audit::event::{
    AddressChange, AuditEvent, Audited, AuditedAdmission, AuditedDecision, Change,
};
pub use audit::log::{AuditEvents, Delivery};
pub use authenticator::changes::Changes;
pub use authenticator::configure_addresses::AddressList;
pub use authenticator::configure_plain::PlainUsersError;
pub use authenticator::configured::Configured;
pub use authenticator::explain::Explanation;
pub use authenticator::handle::Authenticator;
pub use grants::AdmissionTerms;
pub use policy::address::rule::{AddressRule, AddressRuleError};
pub use policy::curve::row::{CurveKey, CurveKeyError, CurveKeyErrorKind};
pub use policy::outcome::Outcome;
pub use policy::password_file::{PasswordFileError, PasswordFileErrorKind};
pub use policy::provider::{
    CurveQuestion, IntoProviderResult, PlainQuestion, Provider, ProviderAnswer, ProviderError,
};
pub use policy::rule::Rule;
pub use policy::topics::TopicTable;
#[cfg(feature = "reload")]
pub use policy::watched::issue::ReloadIssue;
#[cfg(feature = "policy-file")]
pub use policy_file::{
    CurveSettings, DomainSettings, GssapiSettings, NullSettings, PlainSettings, PolicyFile,
    PolicyFileError, PolicyFileErrorKind, PolicySettings, PolicyWarning, TopicSettings,
};
#[cfg(feature = "reload")]
pub use reload::event::ReloadEvent;
#[cfg(feature = "reload")]
pub use reload::settings::ReloadSettings;
#[cfg(feature = "reload")]
pub use reload::watcher::Reload;
pub use thread_authenticator::ThreadAuthenticator;
