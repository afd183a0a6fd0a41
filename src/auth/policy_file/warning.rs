//! Warnings about a policy that is valid.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::crypto::keys::PublicKey;
use crate::printable::printable;
use crate::secret_file::open_to_others;
use crate::with_causes::WithCauses;
use bytes::Bytes;
use std::fmt;
use std::path::PathBuf;

/// A warning about a policy that is valid, but should be changed. It is not an error: `Display` shows
/// it whole, with the causes of the error that it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// A certificate of a domain is not valid and is left out.
    LeftOut(Domain, CertificateError),
    /// A certificate of a domain is loaded, with a warning.
    Certificate(Domain, CertificateWarning),
    /// Files in a domain's directory of certificates are not loaded, because their names are not
    /// those of certificates in the layout. Hidden files, backups and secret certificates are not
    /// listed.
    PassedOver(Domain, PathBuf, Vec<PathBuf>),
    /// A domain's password file or table is empty.
    NoUsers(Domain),
    /// A domain has no keys, or its directory has no valid certificate.
    NoKeys(Domain),
    /// A domain has keys, but each of them has expired or is not valid yet, by its certificate or by
    /// the domain's `validity`.
    NoValidKey(Domain),
    /// A domain's `validity` has neither a beginning nor an end.
    EmptyValidity(Domain),
    /// A user of a domain has an empty password. The number counts all such users.
    EmptyPassword(Domain, String, usize),
    /// A domain inherits, but there is no section `*` to inherit from.
    NothingInherited(Domain),
    /// No address passes both the list for all domains and the list of a domain.
    NoAddress(Domain),
    /// No address passes both the `from` of a key of a domain and the address lists that apply. The
    /// text is the user that the row names.
    NoAddressForKey(Domain, PublicKey, Option<Bytes>),
    /// An entry of the topics of a domain names a user that the domain does not admit.
    UnknownTopicUser(Domain, String),
    /// An entry of the topics of a domain has a prefix that another prefix of the same list covers.
    CoveredPrefix(Domain, String, String),
    /// A domain has the same row for a key twice.
    SameKey(Domain, PublicKey),
    /// The addresses of a domain and its keys, or the list for all domains, have rules about groups.
    GroupRule(Option<Domain>),
    /// A domain has a section that admits no peer by any mechanism.
    AdmitsNoPeer(Domain),
    /// No domain has a section.
    NoDomain,
    /// A domain admits every peer by this mechanism.
    AdmitsAnyone(Domain, MechanismKind),
    /// Users other than its owner have permissions on a file with passwords.
    OpenToOthers(PathBuf, u32),
    /// Users other than its owner may write to a file or directory that decides which peers are
    /// admitted.
    WritableByOthers(PathBuf, u32),
    /// The files of this domain for this mechanism were watched before, and the new policy does not
    /// say `reload`. They are no longer watched.
    WatchEnded(Domain, MechanismKind),
    /// A policy file contains passwords in the clear.
    PasswordsInTheClear(Domain),
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut(domain, error) => {
                write!(f, "domain \"{domain}\": left out: {}", WithCauses(error))
            }
            Self::Certificate(domain, warning) => write!(f, "domain \"{domain}\": {warning}"),
            Self::PassedOver(domain, directory, files) => write!(
                f,
                "domain \"{domain}\": files in {directory:?} are not loaded, because the layout \
                 names certificates differently: {}",
                names(files)
            ),
            Self::NoUsers(domain) => {
                write!(f, "domain \"{domain}\" has no users: PLAIN admits no peer")
            }
            Self::NoKeys(domain) => {
                write!(f, "domain \"{domain}\" has no keys: CURVE admits no peer")
            }
            Self::NoValidKey(domain) => write!(
                f,
                "domain \"{domain}\" has no key that is valid now: all have expired or are not \
                 valid yet"
            ),
            Self::EmptyValidity(domain) => {
                write!(f, "domain \"{domain}\": an empty validity limits nothing")
            }
            Self::EmptyPassword(domain, user, count) => write!(
                f,
                "domain \"{domain}\": an empty password admits \"{user}\"{}",
                more(count)
            ),
            Self::NothingInherited(domain) => write!(
                f,
                "domain \"{domain}\" inherits from \"*\", which has no section"
            ),
            Self::NoAddress(domain) => write!(
                f,
                "domain \"{domain}\": no address passes both its address list and the list for \
                 all domains"
            ),
            Self::NoAddressForKey(domain, key, user) => {
                write!(
                    f,
                    "domain \"{domain}\": no address passes both the address lists and from of "
                )?;
                match user {
                    Some(user) => write!(f, "\"{}\" ({})", printable(user), key.to_z85()),
                    None => f.write_str(&key.to_z85()),
                }
            }
            Self::UnknownTopicUser(domain, user) => write!(
                f,
                "domain \"{domain}\": topics name {user:?}, a user that no rule of the domain admits"
            ),
            Self::CoveredPrefix(domain, user, prefix) => write!(
                f,
                "domain \"{domain}\": the topics of {user:?} list {prefix:?}, which another prefix \
                 covers already"
            ),
            Self::SameKey(domain, key) => {
                write!(
                    f,
                    "domain \"{domain}\" lists the key {} twice",
                    key.to_z85()
                )
            }
            Self::GroupRule(domain) => write!(
                f,
                "{}: gid matches only the effective group of a process, which the process may \
                 choose among the groups of its user; uid has no such gap",
                list(domain)
            ),
            Self::AdmitsNoPeer(domain) => write!(f, "domain \"{domain}\" admits no peer"),
            Self::NoDomain => f.write_str("the policy admits no peer"),
            Self::AdmitsAnyone(domain, mechanism) => write!(
                f,
                "domain \"{domain}\" admits anyone by {mechanism}{}",
                hint_of(mechanism)
            ),
            Self::OpenToOthers(file, mode) => f.write_str(&open_to_others(file, *mode)),
            Self::WritableByOthers(file, mode) => write!(
                f,
                "others than its owner may write to {file:?}, and so admit themselves \
                 (mode {mode:03o})"
            ),
            Self::WatchEnded(domain, mechanism) => write!(
                f,
                "domain \"{domain}\": the files for {mechanism} are no longer watched"
            ),
            Self::PasswordsInTheClear(domain) => write!(
                f,
                "domain \"{domain}\" has passwords in the clear: zmtp-auth passwd writes hashes"
            ),
        }
    }
}

const fn hint_of(mechanism: &MechanismKind) -> &'static str {
    match mechanism {
        MechanismKind::Curve => ": connections are encrypted, but any key is accepted",
        _ => "",
    }
}

/// " and N more", for all but the first.
fn more(count: &usize) -> String {
    match count {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// The first few file names, and the number of the others.
fn names(files: &[PathBuf]) -> String {
    const MAX_NAMED: usize = 8;
    let named = files.iter().take(MAX_NAMED);
    let named: Vec<_> = named
        .map(|file| format!("{:?}", file.file_name().unwrap_or_default()))
        .collect();
    let more = more(&(files.len().saturating_sub(named.len()) + 1));
    named.join(", ") + &more
}

fn list(domain: &Option<Domain>) -> String {
    match domain {
        Some(domain) => format!("the addresses of domain \"{domain}\""),
        None => "the address list for all domains".to_owned(),
    }
}
