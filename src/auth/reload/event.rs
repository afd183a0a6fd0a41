//! What is told of files that are loaded again.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::policy::watched::issue::ReloadIssue;
use std::path::PathBuf;

/// A change on disk that came into force, or that keeps one from it. Which keys and users it has
/// added, changed and removed is told by [`AuditEvents`](crate::auth::AuditEvents) and in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadEvent {
    /// The domain that is ruled by it.
    pub domain: Domain,
    /// The directory or file.
    pub path: PathBuf,
    /// Keys or users in force now.
    pub admitted: usize,
    /// What is wrong. Empty: all is well.
    pub issues: Vec<ReloadIssue>,
    /// Files of a directory that are no certificates by their names.
    pub passed_over: Vec<PathBuf>,
}

impl ReloadEvent {
    pub(crate) fn log(&self) {
        let (domain, path) = (&self.domain, &self.path);
        tracing::info!(%domain, ?path, admitted = self.admitted, "loaded again");
        for issue in &self.issues {
            tracing::warn!(%domain, ?path, "loaded again: {issue}");
        }
    }
}
