//! Events about reloaded files.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::policy::watched::issue::ReloadIssue;
use std::path::PathBuf;

/// A change on disk that has come into force, or a problem that prevents it. The keys and users that
/// it has added, changed and removed are in the log and in
/// [`AuditEvents`](crate::auth::AuditEvents).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadEvent {
    /// The domain that the directory or file rules.
    pub domain: Domain,
    /// The path of the directory or file.
    pub path: PathBuf,
    /// The number of keys or users in force now.
    pub admitted: usize,
    /// Problems; empty if all is well.
    pub issues: Vec<ReloadIssue>,
    /// Files of a directory whose names are not those of certificates.
    pub passed_over: Vec<PathBuf>,
}

impl ReloadEvent {
    pub(crate) fn log(&self) {
        let (domain, path) = (&self.domain, &self.path);
        tracing::info!(%domain, ?path, admitted = self.admitted, "loaded again");
        for issue in &self.issues {
            tracing::warn!(%domain, ?path, "reload: {issue}");
        }
    }
}
