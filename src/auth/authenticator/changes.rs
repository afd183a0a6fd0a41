//! Notifications of policy changes, for hosts that manage their connections themselves.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::Authenticator;
use std::fmt;
use std::time::Duration;

/// Notifies of policy changes. After a notification, check [`Grant::still_valid`](crate::Grant) for
/// every connection. Several changes between two calls are one notification.
///
/// It is meant for hosts that drive a mechanism or a handshake themselves and close connections
/// from one place. A host with a task for each connection awaits
/// [`Grant::revoked`](crate::Grant::revoked) instead. The end of a validity is not a policy change:
/// see [`AdmissionTerms::valid_until`](crate::auth::AdmissionTerms::valid_until).
///
/// ```
/// # use zmtp_auth::{AccessRequest, Credentials, Domain, PeerAddress, Verdict};
/// # use zmtp_auth::auth::Authenticator;
/// # use zmtp_auth::zap::ZapRouter;
/// # use std::time::Duration;
/// # async fn host(request: AccessRequest) -> Result<(), Box<dyn std::error::Error>> {
/// let auth = Authenticator::new();
/// let router = ZapRouter::new();
/// router.bind("*", auth.clone())?;
///
/// let mut changes = auth.changes();
/// let Verdict::Allow(approval) = router.authorize(&request).await else { return Ok(()) };
/// loop {
///     changes.next().await;
///     if approval.grant.as_ref().is_none_or(|grant| !grant.still_valid()) {
///         return Ok(()); // and close the connection
///     }
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Changes {
    auth: Authenticator,
    seen: u64,
}

impl Changes {
    /// Waits until the policy has changed since the last notification, and returns its version.
    ///
    /// Cancel-safe: dropping the future loses no notification.
    pub async fn next(&mut self) -> u64 {
        loop {
            let heard = self.auth.changed().count();
            if let Some(version) = self.try_next() {
                return version;
            }
            self.auth.changed().notified_after(heard).await;
        }
    }

    /// Blocks the thread until the policy has changed since the last notification, for at most
    /// `time`. `None` if it has not changed by then.
    pub fn next_timeout(&mut self, time: Duration) -> Option<u64> {
        let heard = self.auth.changed().count();
        if let Some(version) = self.try_next() {
            return Some(version);
        }
        self.auth.changed().wait(heard, time);
        self.try_next()
    }

    /// The policy's version, if it has changed since the last notification.
    pub fn try_next(&mut self) -> Option<u64> {
        let version = self.auth.policy_version();
        (version != std::mem::replace(&mut self.seen, version)).then_some(version)
    }
}

impl Authenticator {
    /// Notifications of all changes from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            auth: self.clone(),
            seen: self.policy_version(),
        }
    }

    /// The number of changes of the policy so far. Every successful call that configures something
    /// is a change.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.policy().version
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
