//! Reloading of a policy file, which may be incomplete at that moment.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy_file::compile::{NamedSource, Rules};
use crate::auth::policy_file::error::{PolicyFileError, PolicyFileErrorKind};
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::warning::PolicyWarning;
use std::path::Path;
use std::thread;
use std::time::Duration;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Maximum number of readings. 8: with a pause of 2 s a writer has 14 s to finish, and the call ends.
const MAX_READINGS: usize = 8;

/// A policy file and all files that it names, read once.
struct Snapshot {
    policy: PolicyFile,
    content: Zeroizing<Vec<u8>>,
    rules: Rules,
}

impl Authenticator {
    /// Reloads a policy file as [`PolicyFile::load`] and [`Authenticator::load_policy`] do, but only
    /// after two readings of the file, and of all files and directories that it names, gave the same
    /// contents. The second reading begins `pause` after the first.
    ///
    /// This protects against a file that is incomplete because it is just being written. The first
    /// half of a policy may be a valid policy, in which a domain whose section is missing falls back
    /// to `*`. A pause of 2 s is a good choice. It is safer to write a new file and to rename it to
    /// the name of the old one.
    ///
    /// It blocks for `pause`, and longer while the contents change, but reads at most eight times.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if two consecutive readings fail with the same error,
    /// [`PolicyFileErrorKind::KeepsChanging`] if no two consecutive readings were the same, and
    /// [`PolicyFileErrorKind::Overtaken`] as [`Authenticator::load_policy`] does. The policy before
    /// stays in force.
    pub fn reload_policy(
        &self,
        path: impl AsRef<Path>,
        pause: Duration,
    ) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        self.reload_policy_between(path.as_ref(), || thread::sleep(pause))
    }

    fn reload_policy_between(
        &self,
        path: &Path,
        mut between: impl FnMut(),
    ) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        let call = Call::next();
        let mut before = self.snapshot(path);
        for _ in 1..MAX_READINGS {
            between();
            let now = self.snapshot(path);
            match (before, now) {
                (Ok(before), Ok(now)) if before.is_same(&now) => {
                    return self.put_in_force(&now.policy, now.rules, call);
                }
                (Err(before), Err(now)) if before == now => return Err(now),
                (_, now) => before = now,
            }
        }
        Err(PolicyFileError {
            file: Some(path.to_owned()),
            at: None,
            place: String::new(),
            reason: PolicyFileErrorKind::KeepsChanging,
        })
    }

    fn snapshot(&self, path: &Path) -> Result<Snapshot, PolicyFileError> {
        let (policy, content) = PolicyFile::load_with_content(path)?;
        let rules = policy.compile(self)?;
        Ok(Snapshot {
            policy,
            content,
            rules,
        })
    }
}

impl Snapshot {
    fn is_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&NamedSource, &NamedSource)| {
            one.source == other.source && one.reading.is_same(&other.reading)
        };
        // Compared in constant time, because the text may contain passwords.
        let same_text: bool = self.content.ct_eq(&other.content).into();
        // The same text names the same sources in the same order.
        same_text
            && self.rules.sources.len() == other.rules.sources.len()
            && self
                .rules
                .sources
                .iter()
                .zip(&other.rules.sources)
                .all(is_same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::credentials::Credentials;
    use crate::access::domain::Domain;
    use crate::access::request::AccessRequest;
    use crate::access::verdict::Verdict;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::mpsc;

    const WHOLE: &str =
        "[domain.\"*\"]\nnull.any = true\n[domain.closed]\nplain.file = \"users\"\n";

    fn admits_a_stranger(auth: &Authenticator) -> bool {
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::from("closed"), address, Credentials::Null);
        matches!(auth.authorize_blocking(&request), Verdict::Allow(_))
    }

    struct Loaded {
        dir: tempfile::TempDir,
        auth: Authenticator,
    }

    impl Loaded {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("users"), "alice=a\n").unwrap();
            fs::write(dir.path().join("policy"), WHOLE).unwrap();
            let auth = Authenticator::from_policy_file(dir.path().join("policy")).unwrap();
            assert!(!admits_a_stranger(&auth));
            Self { dir, auth }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("policy")
        }

        fn users(&self) -> PathBuf {
            self.dir.path().join("users")
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join(name), text).unwrap();
        }

        /// Reloads it, with these contents at the readings after the first.
        fn reload(
            &self,
            name: &str,
            contents: &[&str],
        ) -> (Result<Vec<PolicyWarning>, PolicyFileError>, usize) {
            let mut readings = 1;
            let reloaded = self
                .auth
                .reload_policy_between(&self.dir.path().join("policy"), || {
                    assert!(!admits_a_stranger(&self.auth));
                    if let Some(content) = contents.get(readings - 1) {
                        self.write(name, content);
                    }
                    readings += 1;
                });
            (reloaded, readings)
        }
    }

    #[test]
    fn an_incomplete_policy_never_comes_into_force() {
        for cut in 0..WHOLE.len() {
            let loaded = Loaded::new();
            loaded.write("policy", &WHOLE[..cut]);
            let (reloaded, readings) = loaded.reload("policy", &[WHOLE]);
            assert_eq!((reloaded.is_ok(), readings), (true, 3), "cut at {cut}");
            assert!(!admits_a_stranger(&loaded.auth));
        }
    }

    #[test]
    fn an_incomplete_password_file_is_read_again_too() {
        let loaded = Loaded::new();
        loaded.write("users", "bob=sec");
        let contents = ["bob=secret\nal", "bob=secret\nalice=a\n"];
        let (reloaded, readings) = loaded.reload("users", &contents);
        assert_eq!((reloaded.is_ok(), readings), (true, 4));
        let address = PeerAddress::from_zap(b"127.0.0.1");
        for (name, password, admitted) in [
            ("bob", "sec", false),
            ("bob", "secret", true),
            ("alice", "a", true),
        ] {
            let credentials = Credentials::Plain {
                username: name.into(),
                password: password.into(),
            };
            let request = AccessRequest::new(Domain::from("closed"), address.clone(), credentials);
            let verdict = loaded.auth.authorize_blocking(&request);
            assert_eq!(
                matches!(verdict, Verdict::Allow(_)),
                admitted,
                "{name} {password}"
            );
        }
    }

    /// Explicit calls whose effect a policy file would undo.
    const CALLS: [fn(&Loaded); 8] = [
        |loaded| drop(loaded.auth.configure_plain("closed", [("bob", "b")])),
        |loaded| drop(loaded.auth.configure_plain_file("closed", loaded.users())),
        |loaded| drop(loaded.auth.configure_curve("other", "absent")),
        |loaded| {
            loaded.auth.configure_curve_keys("", []);
        },
        |loaded| {
            loaded.auth.unconfigure("other");
        },
        |loaded| loaded.auth.deny(["192.0.2.1"]).unwrap(),
        |loaded| loaded.auth.addresses_of("closed").clear(),
        |loaded| drop(loaded.auth.reload_policy(loaded.path(), Duration::ZERO)),
    ];

    #[test]
    fn an_explicit_call_while_a_policy_is_read_stays_in_force_and_one_before_does_not() {
        for (index, call) in CALLS.iter().enumerate() {
            let loaded = Loaded::new();
            let mut version = None;
            let reloaded = loaded.auth.reload_policy_between(&loaded.path(), || {
                if version.is_none() {
                    call(&loaded);
                    version = Some(loaded.auth.policy().version);
                }
            });
            let reason = reloaded.map_err(|error| error.reason);
            assert_eq!(reason, Err(PolicyFileErrorKind::Overtaken), "{index}");
            assert_eq!(Some(loaded.auth.policy().version), version, "{index}");
            let again = loaded.auth.reload_policy(loaded.path(), Duration::ZERO);
            assert!(again.is_ok(), "{index}");
        }
    }

    #[test]
    fn the_later_of_two_concurrent_loads_wins() {
        let loaded = Loaded::new();
        let (path, auth) = (loaded.path(), &loaded.auth);
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::scope(|scope| {
            let path = &path;
            let earlier = scope.spawn(move || {
                auth.reload_policy_between(path, || {
                    begin.send(()).unwrap();
                    ended.recv().unwrap();
                })
            });
            begun.recv().unwrap();
            let mut earlier = Some(earlier);
            let later = auth.reload_policy_between(path, || {
                end.send(()).unwrap();
                assert!(earlier.take().unwrap().join().unwrap().is_ok());
            });
            assert!(later.is_ok());
        });
    }

    #[test]
    fn reading_a_policy_holds_up_no_other_call() {
        let loaded = Loaded::new();
        loaded.write("broken", "[domain.a]\nplain.file = \"absent\"\n");
        let broken = loaded.dir.path().join("broken");
        let (policy, auth) = (PolicyFile::load(&broken).unwrap(), loaded.auth.clone());
        // While this is held, no policy file comes into force.
        let _watching = loaded.auth.watching();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let read = [
                auth.load_policy(&policy),
                auth.reload_policy(broken, Duration::ZERO),
            ];
            tell.send(read).unwrap();
        });
        // Generous: reading under the lock would never end.
        let read = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(read.iter().all(Result::is_err));
    }

    #[test]
    fn an_error_is_returned_once_it_was_read_twice_and_changes_nothing() {
        let loaded = Loaded::new();
        loaded.write("policy", "[domain.closed]\nplain.fi");
        let (reloaded, readings) = loaded.reload("policy", &["nonsense"]);
        assert!(matches!(
            reloaded.unwrap_err().reason,
            PolicyFileErrorKind::Toml(_)
        ));
        assert_eq!(readings, 3);
        assert!(!admits_a_stranger(&loaded.auth));
    }

    #[test]
    fn a_policy_that_keeps_changing_is_not_waited_for_without_end() {
        let loaded = Loaded::new();
        let contents: Vec<_> = (0..MAX_READINGS)
            .map(|count| format!("# {count}\n{WHOLE}"))
            .collect();
        let contents: Vec<_> = contents.iter().map(String::as_str).collect();
        let (reloaded, readings) = loaded.reload("policy", &contents);
        assert_eq!(
            reloaded.unwrap_err().reason,
            PolicyFileErrorKind::KeepsChanging
        );
        assert_eq!(readings, MAX_READINGS);
    }
}
