//! Floor 6: who may come in. [`Authenticator`] is the policy of `pyzmq`'s `zmq.auth`, as a
//! [`ZapHandler`](crate::zap::ZapHandler).

pub(crate) mod address;
pub(crate) mod address_block;
pub(crate) mod address_list;
pub(crate) mod audit;
pub(crate) mod auditing;
pub(crate) mod authenticator;
pub(crate) mod bell;
pub(crate) mod block_on;
pub(crate) mod changes;
pub(crate) mod configure_curve;
pub(crate) mod configure_plain;
pub(crate) mod configured;
pub(crate) mod curve;
pub(crate) mod decision;
pub(crate) mod ending;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod grant;
pub(crate) mod null_gssapi;
pub(crate) mod outcome;
pub(crate) mod password_file;
pub(crate) mod plain;
pub(crate) mod policy;
#[cfg(feature = "policy-file")]
pub(crate) mod policy_file;
pub(crate) mod provider;
pub(crate) mod refusal;
#[cfg(feature = "reload")]
pub(crate) mod reload;
#[cfg(feature = "reload")]
pub(crate) mod reload_event;
#[cfg(feature = "reload")]
pub(crate) mod reload_settling;
#[cfg(feature = "reload")]
pub(crate) mod reload_source;
#[cfg(feature = "reload")]
pub(crate) mod reload_thread;
#[cfg(feature = "reload")]
pub(crate) mod reload_turns;
pub(crate) mod rule;
pub(crate) mod secret_file;
pub(crate) mod thread;
#[cfg(feature = "reload")]
pub(crate) mod watches;
pub(crate) mod workers;
pub(crate) mod zone;

pub use address::{AddressError, AddressRule};
pub use address_list::AddressList;
pub use audit::{AddressChange, AuditEvent, Audited, AuditedAdmission, AuditedDecision, Change};
pub use authenticator::Authenticator;
pub use changes::Changes;
pub use configure_plain::BadPlainUsers;
pub use configured::Configured;
pub use events::{AuditEvents, NextEvent};
pub use explain::Explanation;
pub use grant::AdmissionTerms;
pub use outcome::Outcome;
pub use password_file::{BadPasswordFile, PasswordFileError};
#[cfg(feature = "policy-file")]
pub use policy_file::{
    BadPolicyFile, CurveSettings, DomainSettings, GssapiSettings, NullSettings, PlainSettings,
    PolicyFile, PolicyFileError, PolicySettings, PolicyWarning, True,
};
pub use provider::{
    CurveProvider, CurveQuestion, IntoProviderResult, PlainProvider, PlainQuestion, ProviderAnswer,
    ProviderError,
};
#[cfg(feature = "reload")]
pub use reload::{Reload, ReloadSettings};
#[cfg(feature = "reload")]
pub use reload_event::{ReloadEvent, ReloadTrouble};
pub use rule::Rule;
pub use thread::ThreadAuthenticator;
