//! Grants: an admission that can be withdrawn for as long as the connection lives.
#![forbid(unsafe_code)]

use crate::access::revoked::{RevocationGuard, Revoked};
use crate::access::topics::Topics;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The issuer's side of a [`Grant`]: what a policy records about a peer it has admitted.
pub trait GrantTerms: Any + Send + Sync {
    /// Whether the policy would still admit this peer. Connections and sockets ask often and under locks of
    /// theirs, so it must not wait, and must not call them.
    fn still_valid(&self) -> bool;

    /// Resolves once [`GrantTerms::still_valid`] is false, immediately if it is false already.
    /// Must be cancel-safe: the future may be dropped and the method called again.
    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// The topics that the peer may use. By default every topic is allowed.
    fn topics(self: Arc<Self>) -> Topics {
        Topics::all()
    }
}

/// A revocable admission. It keeps its issuer alive, so the owner of a connection needs no other
/// handle to the policy.
#[derive(Clone)]
pub struct Grant(Arc<dyn GrantTerms>);

impl Grant {
    /// Wraps the issuer's terms.
    #[must_use]
    pub fn new(terms: impl GrantTerms) -> Self {
        Self(Arc::new(terms))
    }

    /// Whether the admission still stands. Check it between the verdict and the first message,
    /// because the policy may change during the handshake.
    #[must_use]
    pub fn still_valid(&self) -> bool {
        self.0.still_valid()
    }

    /// The issuer's own record of the admission; `None` if it has another type than `T`. The
    /// record of an [`Authenticator`](crate::auth::Authenticator) is
    /// [`AdmissionTerms`](crate::auth::AdmissionTerms).
    #[must_use]
    pub fn terms<T: GrantTerms>(&self) -> Option<&T> {
        let terms: &dyn Any = &*self.0;
        terms.downcast_ref()
    }

    /// The topics that the peer may use, as the policy says them at each moment.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Arc::clone(&self.0).topics()
    }

    /// Waits until the admission is withdrawn. Close the connection then.
    ///
    /// Cancel-safe: dropping the future loses nothing.
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

/// Waits until the admission is withdrawn. Without a grant it never resolves.
#[cfg(feature = "tokio")]
pub(crate) async fn revoked(grant: Option<&Grant>) {
    match grant {
        Some(grant) => grant.revoked().await,
        None => std::future::pending().await,
    }
}

impl<T: GrantTerms> From<Arc<T>> for Grant {
    /// Wraps terms that the issuer holds as well.
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
