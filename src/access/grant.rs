//! Grants: how an admission stays revocable for as long as the connection lives.
#![forbid(unsafe_code)]

use crate::access::revoked::{RevocationGuard, Revoked};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The issuer's side of a [`Grant`]: what a policy keeps of a peer it has admitted.
pub trait GrantTerms: Any + Send + Sync {
    /// Whether the policy would still admit this peer.
    fn still_valid(&self) -> bool;

    /// Resolves once [`GrantTerms::still_valid`] is false, at once if it is already. It must be
    /// safe to drop and to call again.
    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A revocable admission. It holds its issuer, so that the owner of a connection needs to know
/// nothing of the policy behind it.
#[derive(Clone)]
pub struct Grant(Arc<dyn GrantTerms>);

impl Grant {
    /// Wraps the issuer's terms.
    #[must_use]
    pub fn new(terms: impl GrantTerms) -> Self {
        Self(Arc::new(terms))
    }

    /// Whether the admission still stands. Ask again between verdict and first message: policy
    /// may have changed during the handshake.
    #[must_use]
    pub fn still_valid(&self) -> bool {
        self.0.still_valid()
    }

    /// The issuer's own record of the admission, if the issuer's type is the one asked for: an
    /// [`Authenticator`](crate::auth::Authenticator) keeps
    /// [`AdmissionTerms`](crate::auth::AdmissionTerms).
    #[must_use]
    pub fn terms<T: GrantTerms>(&self) -> Option<&T> {
        let terms: &dyn Any = &*self.0;
        terms.downcast_ref()
    }

    /// Waits until the admission is withdrawn; close the connection then.
    pub async fn revoked(&self) {
        self.0.revoked().await;
    }

    /// The same as a future without a borrow, for a socket that keeps it as a field.
    #[must_use]
    pub fn revoked_owned(&self) -> Revoked {
        let terms = Arc::clone(&self.0);
        Revoked::new(async move { terms.revoked().await })
    }

    /// Calls `call` once the admission is withdrawn, without a task: at once if it already is, else
    /// on the thread that withdraws it. Dropping the guard unregisters `call`.
    ///
    /// `call` runs at most once and with no lock held. It may change the policy, or drop its own
    /// guard. It should return soon, because the thread that changes the policy waits for it: let it
    /// close a socket or notify a task.
    ///
    /// On tokio's runtime, `call` is also called when a validity ends
    /// ([`AdmissionTerms`](crate::auth::AdmissionTerms)), and when the runtime shuts down before. In
    /// these cases it runs on a thread of the runtime.
    pub fn on_revoked(&self, call: impl FnOnce() + Send + 'static) -> RevocationGuard {
        RevocationGuard::register(self.revoked_owned(), call)
    }
}

/// Waits until the admission is withdrawn; for ever if there is none that could be.
#[cfg(feature = "tokio")]
pub(crate) async fn revoked(grant: Option<&Grant>) {
    match grant {
        Some(grant) => grant.revoked().await,
        None => std::future::pending().await,
    }
}

impl<T: GrantTerms> From<Arc<T>> for Grant {
    /// Wraps terms that the issuer keeps a hand on.
    fn from(terms: Arc<T>) -> Self {
        Self(terms)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("still_valid", &self.still_valid())
            .finish()
    }
}
