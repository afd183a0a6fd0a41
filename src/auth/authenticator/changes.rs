//! The stream of policy changes, for hosts that look after their connections themselves.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::Authenticator;
use std::fmt;
use std::time::Duration;

/// Tells that the policy has changed: time to ask [`Grant::still_valid`](crate::Grant) of every
/// connection again. Several changes since it was last told count as one.
///
/// It is for hosts that drive a mechanism or a handshake themselves and have one place to close
/// connections from; a host with a task for each connection awaits
/// [`Grant::revoked`](crate::Grant::revoked) instead. The end of a validity is no change: see
/// [`AdmissionTerms::valid_until`](crate::auth::AdmissionTerms::valid_until).
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
    /// Waits until the policy is another one than when it was last told; gives its version. Dropping
    /// the future loses nothing.
    pub async fn next(&mut self) -> u64 {
        loop {
            let heard = self.auth.changed().count();
            if let Some(version) = self.try_next() {
                return version;
            }
            self.auth.changed().notified_after(heard).await;
        }
    }

    /// As [`Changes::next`], for threads: blocks, but no longer than `time`; `None` if
    /// nothing has changed by then.
    pub fn next_timeout(&mut self, time: Duration) -> Option<u64> {
        let heard = self.auth.changed().count();
        if let Some(version) = self.try_next() {
            return Some(version);
        }
        self.auth.changed().wait(heard, time);
        self.try_next()
    }

    /// The policy's version, if it is another one than when it was last told.
    pub fn try_next(&mut self) -> Option<u64> {
        let version = self.auth.policy_version();
        (version != std::mem::replace(&mut self.seen, version)).then_some(version)
    }
}

impl Authenticator {
    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            auth: self.clone(),
            seen: self.policy_version(),
        }
    }

    /// Counts the changes of the policy: every call that configures something is one, if it
    /// succeeds.
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
