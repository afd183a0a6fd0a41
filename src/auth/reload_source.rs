//! What is loaded again by itself: how it is read, when a change of it counts, and what it means
//! for the policy.
#![forbid(unsafe_code)]

use crate::access::request::Domain;
use crate::auth::authenticator::Authenticator;
use crate::auth::curve::CurveRule;
use crate::auth::password_file::PasswordFileError;
use crate::auth::plain::{PasswordTable, PlainRule};
use crate::cert::directory::{self, CertificateDirectory, DirectoryReport};
use crate::cert::problem::CertificateError;
use crate::cert::validity::Validity;
use crate::crypto::keys::PublicKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

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
    pub troubles: Vec<ReloadTrouble>,
    /// Files of a directory that are no certificates by their names.
    pub passed_over: Vec<PathBuf>,
}

/// What is wrong with a directory or file that is loaded again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReloadTrouble {
    /// This certificate does not count.
    #[error("left out: {0}")]
    Certificate(CertificateError),
    /// The directory is absent or unreadable: it admits nobody.
    #[error("admits nobody: {0}")]
    DirectoryGone(CertificateError),
    /// The password file is absent or unreadable: it admits nobody.
    #[error("admits nobody: {0}")]
    FileGone(PasswordFileError),
    /// The password file has a bad line: what it held before stays in force.
    #[error("not loaded, what was there before stays: {0}")]
    FileKept(PasswordFileError),
}

/// A directory of certificates, or a password file, and the domain that it rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its keys count only within this validity.
    Directory(Domain, CertificateDirectory, Validity),
    PasswordFile(Domain, PathBuf),
}

/// What was found on reading.
#[derive(Clone)]
pub(crate) enum Reading {
    Directory(Box<Result<DirectoryReport, CertificateError>>),
    PasswordFile(Result<Arc<PasswordTable>, PasswordFileError>),
}

impl Source {
    pub(crate) fn domain(&self) -> &Domain {
        let (Self::Directory(domain, ..) | Self::PasswordFile(domain, _)) = self;
        domain
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(_, directory, _) => directory.path(),
            Self::PasswordFile(_, path) => path,
        }
    }

    fn validity(&self) -> Validity {
        match self {
            Self::Directory(_, _, validity) => *validity,
            Self::PasswordFile(..) => Validity::default(),
        }
    }

    /// Whether both rule the same domain for the same mechanism.
    pub(crate) fn rivals(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.domain() == other.domain()
    }

    pub(crate) fn read(&self, auth: &Authenticator) -> Reading {
        match self {
            Self::Directory(_, directory, _) => {
                Reading::Directory(Box::new(directory::read(directory)))
            }
            Self::PasswordFile(_, path) => {
                Reading::PasswordFile(auth.load_passwords(path).map(Arc::new))
            }
        }
    }

    /// Keeps the domain from falling to `*`.
    pub(crate) fn claim(&self, auth: &Authenticator) {
        match self {
            Self::Directory(domain, ..) => auth.claim_curve(domain),
            Self::PasswordFile(domain, _) => auth.claim_plain(domain),
        }
    }

    /// Puts what was read in force, whatever it is.
    pub(crate) fn apply(&self, reading: &Reading, auth: &Authenticator) -> ReloadEvent {
        let domain = self.domain().clone();
        let mut passed_over = Vec::new();
        let (admitted, troubles) = match reading {
            Reading::Directory(reading) => match &**reading {
                Ok(report) => {
                    passed_over.clone_from(&report.passed_over);
                    let rule = CurveRule::certificates(&report.certificates);
                    auth.rule_curve(domain, rule.within(&self.validity()));
                    let problems = report.problems.iter();
                    let troubles = problems
                        .map(|(_, error)| ReloadTrouble::Certificate(error.clone()))
                        .collect();
                    (report.certificates.len(), troubles)
                }
                Err(error) => {
                    auth.rule_curve(domain, CurveRule::nobody());
                    (0, vec![ReloadTrouble::DirectoryGone(error.clone())])
                }
            },
            Reading::PasswordFile(Ok(table)) => {
                auth.rule_plain(domain, PlainRule::Table(Arc::clone(table)));
                (table.len(), Vec::new())
            }
            Reading::PasswordFile(Err(error)) if error.is_gone() => {
                auth.rule_plain(domain, PlainRule::Nobody);
                (0, vec![ReloadTrouble::FileGone(error.clone())])
            }
            Reading::PasswordFile(Err(error)) => {
                let admitted = auth.policy().plain.get(&domain).map_or(0, PlainRule::len);
                (admitted, vec![ReloadTrouble::FileKept(error.clone())])
            }
        };
        ReloadEvent {
            domain: self.domain().clone(),
            path: self.path().to_owned(),
            admitted,
            troubles,
            passed_over,
        }
    }
}

impl Reading {
    pub(crate) const fn is_good(&self) -> bool {
        match self {
            Self::Directory(reading) => reading.is_ok(),
            Self::PasswordFile(reading) => reading.is_ok(),
        }
    }
}

/// What can be told apart by its content. Not `PartialEq`: no type that holds what passwords are
/// checked against has an operator that compares it.
pub(crate) trait Content {
    /// Whether both say the same. Contents decide, not times.
    fn is_same(&self, other: &Self) -> bool;
}

impl Content for Reading {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => match (&**one, &**other) {
                (Ok(one), Ok(other)) => keys(one) == keys(other) && one.problems == other.problems,
                (Err(one), Err(other)) => one == other,
                _ => false,
            },
            (Self::PasswordFile(Ok(one)), Self::PasswordFile(Ok(other))) => one.admits_as(other),
            (Self::PasswordFile(Err(one)), Self::PasswordFile(Err(other))) => one == other,
            _ => false,
        }
    }
}

fn keys(report: &DirectoryReport) -> Vec<(PublicKey, &[(String, String)])> {
    let certificates = report.certificates.iter();
    certificates
        .map(|certificate| (certificate.public_key(), certificate.metadata()))
        .collect()
}

/// A source and how far a change of it has come: a change counts once it was read twice, the
/// second time no sooner than the debounce after the first. An editor that saves by rename, and a
/// copy that is half done, show something else in between.
pub(crate) struct Settling<R> {
    in_force: Option<R>,
    candidate: Option<(R, Instant)>,
}

impl<R: Content> Settling<R> {
    pub(crate) const fn new(in_force: Option<R>) -> Self {
        Self {
            in_force,
            candidate: None,
        }
    }

    /// Takes a reading; gives it back if it has just come into force.
    pub(crate) fn see(&mut self, reading: R, now: Instant, debounce: Duration) -> Option<&R> {
        if self
            .in_force
            .as_ref()
            .is_some_and(|old| old.is_same(&reading))
        {
            self.candidate = None;
            return None;
        }
        match &self.candidate {
            Some((candidate, since)) if candidate.is_same(&reading) => {
                if now.saturating_duration_since(*since) < debounce {
                    return None;
                }
                self.candidate = None;
                Some(self.in_force.insert(reading))
            }
            _ => {
                self.candidate = Some((reading, now));
                None
            }
        }
    }

    /// How long until a candidate may come into force.
    pub(crate) fn due_in(&self, now: Instant, debounce: Duration) -> Option<Duration> {
        let (_, since) = self.candidate.as_ref()?;
        Some(debounce.saturating_sub(now.saturating_duration_since(*since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Content for &str {
        fn is_same(&self, other: &Self) -> bool {
            self == other
        }
    }

    const DEBOUNCE: Duration = Duration::from_secs(2);

    #[test]
    fn a_change_counts_once_it_was_read_twice_a_debounce_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut settling = Settling::new(Some("old"));
        assert_eq!(settling.see("old", at(0), DEBOUNCE), None);
        assert_eq!(settling.due_in(at(0), DEBOUNCE), None);
        assert_eq!(settling.see("new", at(1), DEBOUNCE), None);
        assert_eq!(
            settling.due_in(at(2), DEBOUNCE),
            Some(Duration::from_secs(1))
        );
        assert_eq!(settling.see("new", at(2), DEBOUNCE), None);
        assert_eq!(settling.see("new", at(3), DEBOUNCE), Some(&"new"));
        assert_eq!(settling.see("new", at(9), DEBOUNCE), None);
    }

    #[test]
    fn what_is_something_else_in_between_begins_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut settling = Settling::new(Some("old"));
        assert_eq!(settling.see("gone", at(0), DEBOUNCE), None);
        assert_eq!(settling.see("half", at(1), DEBOUNCE), None);
        assert_eq!(settling.see("gone", at(2), DEBOUNCE), None);
        assert_eq!(settling.see("old", at(3), DEBOUNCE), None);
        assert_eq!(settling.see("gone", at(4), DEBOUNCE), None);
        assert_eq!(settling.see("gone", at(6), DEBOUNCE), Some(&"gone"));
    }
}
