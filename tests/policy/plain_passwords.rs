//! PLAIN with password files, hashed passwords and providers.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs;
use std::future::{Future, pending, ready};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use zmtp_auth::auth::{
    Audited, Authenticator, CurveQuestion, PasswordFileErrorKind, PlainQuestion, PlainUsersError,
    ProviderAnswer, Rule,
};
use zmtp_auth::cert::FileErrorKind;
use zmtp_auth::{AccessRequest, Credentials, Domain, Limits, Metadata, Password, PeerAddress};

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, for at most ten seconds a wait.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

type Reply = (String, String, String);

fn frames(domain: &str, rest: &[&[u8]]) -> Vec<Bytes> {
    [
        &b"1.0"[..],
        b"42",
        domain.as_bytes(),
        b"127.0.0.1",
        b"identity",
    ]
    .iter()
    .chain(rest)
    .map(|frame| Bytes::copy_from_slice(frame))
    .collect()
}

async fn asked(auth: &Authenticator, frames: Vec<Bytes>) -> Reply {
    let [_, _, status, text, user_id, _] = auth.handle_zap_message(frames).await.unwrap();
    let string = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (string(status), string(text), string(user_id))
}

fn plain(auth: &Authenticator, domain: &str, name: &str, password: &str) -> Reply {
    let rest = [b"PLAIN", name.as_bytes(), password.as_bytes()];
    block_on(asked(auth, frames(domain, &rest)))
}

fn reply(status: &str, text: &str, user_id: &str) -> Reply {
    (status.into(), text.into(), user_id.into())
}

fn allowed(user_id: &str) -> Reply {
    reply("200", "OK", user_id)
}

fn refused(text: &str) -> Reply {
    reply("400", text, "")
}

/// The password `secret`, hashed by the reference implementation of argon2 at the lowest cost.
const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5LzeVGGgdolhHzjGHA6qSDNYHLw5RyGqPPxPFSSG6tI";

fn file(content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    fs::write(&path, content).unwrap();
    (dir, path)
}

mod single_users {
    use super::*;
    use zmtp_auth::Grant;
    use zmtp_auth::zap::ZapRouter;

    fn grant(auth: &Authenticator, domain: &str, name: &str, password: &str) -> Option<Grant> {
        let router = ZapRouter::new();
        router.bind("*", auth.clone()).unwrap();
        let credentials = Credentials::Plain {
            username: Bytes::copy_from_slice(name.as_bytes()),
            password: Password::from(password),
        };
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::from(domain), address, credentials);
        match block_on(router.authorize(&request)) {
            zmtp_auth::Verdict::Allow(approval) => approval.grant,
            _ => None,
        }
    }

    #[test]
    fn a_change_of_a_user_ends_the_admissions_of_that_user_alone() {
        let auth = Authenticator::new();
        auth.configure_plain("plant", [("ada", "one"), ("bob", "two")])
            .unwrap();
        let ada = grant(&auth, "plant", "ada", "one").unwrap();
        let bob = grant(&auth, "plant", "bob", "two").unwrap();
        auth.add_plain_users("plant", [("eve", "three"), ("ada", "one")])
            .unwrap();
        let eve = grant(&auth, "plant", "eve", "three").unwrap();
        assert!(ada.still_valid() && bob.still_valid());
        auth.add_plain_users("plant", [("ada", "other")]).unwrap();
        assert!(!ada.still_valid() && bob.still_valid() && eve.still_valid());
        assert_eq!(
            plain(&auth, "plant", "ada", "one"),
            refused("Invalid password")
        );
        let ada = grant(&auth, "plant", "ada", "other").unwrap();
        let removed = auth.remove_plain_users("plant", ["eve", "eve", "mallory"]);
        assert_eq!((removed.removed_users, removed.removed_keys), (1, 0));
        assert!(ada.still_valid() && bob.still_valid() && !eve.still_valid());
        assert_eq!(
            plain(&auth, "plant", "eve", "three"),
            refused("Invalid username")
        );
        // The last user goes, and the domain still does not fall back.
        auth.configure_plain("*", [("ada", "star")]).unwrap();
        assert_eq!(
            auth.remove_plain_users("plant", ["ada", "bob"])
                .removed_users,
            2
        );
        assert_eq!(
            plain(&auth, "plant", "ada", "star"),
            refused("Invalid username")
        );
    }

    #[test]
    fn a_hashed_password_makes_all_checks_costly_and_its_removal_makes_them_cheap() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", "one")]).unwrap();
        let polled = |auth: &Authenticator| {
            let rest: [&[u8]; 3] = [b"PLAIN", b"ada", b"one"];
            let mut asked = pin!(asked(auth, frames("", &rest)));
            asked
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        };
        assert!(polled(&auth));
        auth.add_plain_users("*", [("bob", HASH)]).unwrap();
        assert!(!polled(&auth));
        assert_eq!(plain(&auth, "", "bob", "secret"), allowed("bob"));
        let error = auth
            .add_plain_users("*", [("eve", "$argon2id$v=19$m=1")])
            .unwrap_err();
        assert!(matches!(error, PlainUsersError::Hash { user, .. } if user == "eve"));
        assert_eq!(plain(&auth, "", "ada", "one"), allowed("ada"));
        assert_eq!(auth.remove_plain_users("*", ["bob"]).removed_users, 1);
        assert!(polled(&auth));
    }

    #[test]
    fn a_domain_without_users_is_claimed_by_an_addition_and_not_by_a_removal() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", "star")]).unwrap();
        assert_eq!(auth.remove_plain_users("plant", ["ada"]).removed_users, 0);
        let held = ["plant", "shop", "store"].map(|domain| grant(&auth, domain, "ada", "star"));
        assert!(held.iter().flatten().all(Grant::still_valid));
        let configured = auth.add_plain_users("plant", [("bob", "two")]).unwrap();
        assert_eq!(configured.changed_admissions, 1);
        let configured = auth.configure_plain("shop", [("bob", "two")]).unwrap();
        assert_eq!(configured.changed_admissions, 1);
        let (_dir, path) = file("bob=two\n");
        let configured = auth.configure_plain_file("store", path).unwrap();
        assert_eq!(configured.changed_admissions, 1);
        assert!(!held.iter().flatten().any(Grant::still_valid));
        assert_eq!(
            plain(&auth, "plant", "ada", "star"),
            refused("Invalid username")
        );
        assert_eq!(plain(&auth, "plant", "bob", "two"), allowed("bob"));
        // A provider has no users to remove, and gives way to users that are added.
        auth.configure_plain_callback("plant", |_: PlainQuestion| {
            ready(Ok::<_, &str>(ProviderAnswer::Yes))
        });
        assert_eq!(auth.remove_plain_users("plant", ["bob"]).removed_users, 0);
        assert_eq!(plain(&auth, "plant", "anyone", "x"), allowed("anyone"));
        auth.add_plain_users("plant", [("bob", "two")]).unwrap();
        assert_eq!(
            plain(&auth, "plant", "anyone", "x"),
            refused("Invalid username")
        );
        assert!(
            auth.add_plain_users("fresh", [("eve", "$argon2id$")])
                .is_err()
        );
        assert_eq!(
            plain(&auth, "fresh", "ada", "star"),
            refused("Invalid username")
        );
    }
}

mod password_files {
    use super::*;

    #[test]
    fn names_and_passwords_are_read_as_czmq_writes_them() {
        let (_dir, path) = file(
            "# users of the plant\n\nada=secret\r\nbob= with = blanks \n\t\nempty=\nquoted=\"q\"\n\
             hash#=in#side\n$cash=$money\nlast=line",
        );
        let auth = Authenticator::new();
        auth.configure_plain_file("*", &path).unwrap();
        for (name, password) in [
            ("ada", "secret"),
            ("bob", " with = blanks "),
            ("empty", ""),
            ("quoted", "\"q\""),
            ("hash#", "in#side"),
            ("$cash", "$money"),
            ("last", "line"),
        ] {
            assert_eq!(plain(&auth, "", name, password), allowed(name));
        }
        assert_eq!(
            plain(&auth, "", "bob", "with = blanks"),
            refused("Invalid password")
        );
        assert_eq!(
            plain(&auth, "", "ada", "secret\r"),
            refused("Invalid password")
        );
        assert_eq!(plain(&auth, "", "", ""), refused("Invalid username"));
    }

    #[test]
    fn hashed_entries_are_verified_and_the_hash_itself_opens_nothing() {
        let (_dir, path) = file(format!("ada={HASH}\nbob=clear\n"));
        let auth = Authenticator::new();
        auth.configure_plain_file("*", &path).unwrap();
        assert_eq!(plain(&auth, "", "ada", "secret"), allowed("ada"));
        assert_eq!(
            plain(&auth, "", "ada", "Secret"),
            refused("Invalid password")
        );
        assert_eq!(plain(&auth, "", "ada", HASH), refused("Invalid password"));
        assert_eq!(plain(&auth, "", "bob", "clear"), allowed("bob"));
        assert_eq!(
            plain(&auth, "", "eve", "secret"),
            refused("Invalid username")
        );
    }

    #[test]
    fn a_map_holds_hashes_as_a_file_does() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", HASH), ("bob", "clear")])
            .unwrap();
        assert_eq!(plain(&auth, "", "ada", "secret"), allowed("ada"));
        assert_eq!(plain(&auth, "", "ada", HASH), refused("Invalid password"));
        assert_eq!(plain(&auth, "", "bob", "clear"), allowed("bob"));
        // A malformed hash is an error and never counts as a password in clear.
        for bcrypt in ["$2b$12$KIXabc", &HASH.replace("t=2", "t=11")] {
            let error = auth.configure_plain("*", [("eve\n", bcrypt)]).unwrap_err();
            assert!(matches!(&error, PlainUsersError::Hash { .. }));
            let shown = error.to_string();
            assert!(shown.starts_with("the password of 'eve\\n' "), "{shown}");
            assert!(!shown.contains(bcrypt));
        }
        assert_eq!(plain(&auth, "", "ada", "secret"), allowed("ada"));
        assert!(auth.configure_plain("new", [("eve", "$2b$12$x")]).is_err());
        assert_eq!(
            plain(&auth, "new", "ada", "secret"),
            refused("Invalid username")
        );
    }

    #[test]
    fn a_dry_run_verifies_hashed_passwords_too() {
        let (_dir, path) = file(format!("ada={HASH}\n"));
        let auth = Authenticator::new();
        auth.configure_plain_file("*", &path).unwrap();
        for (password, is_allowed) in [("secret", true), ("Secret", false)] {
            let credentials = Credentials::Plain {
                username: "ada".into(),
                password: Password::from(password),
            };
            let address = PeerAddress::from_zap(b"127.0.0.1");
            let request = AccessRequest::new(Domain::EMPTY, address, credentials);
            let outcome = block_on(auth.explain(&request)).outcome.unwrap();
            assert_eq!(outcome.is_allowed(), is_allowed);
        }
    }

    #[test]
    fn a_bad_file_is_an_error_and_the_domain_keeps_its_users_at_first_none() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", "secret")]).unwrap();
        let (dir, path) = file("ada secret\n");
        assert!(auth.configure_plain_file("a", &path).is_err());
        assert_eq!(
            plain(&auth, "a", "ada", "secret"),
            refused("Invalid username")
        );
        fs::write(&path, "ada=new\n").unwrap();
        auth.configure_plain_file("a", &path).unwrap();
        assert_eq!(plain(&auth, "a", "ada", "new"), allowed("ada"));
        fs::write(&path, "ada=newer\nbob\n").unwrap();
        assert!(auth.configure_plain_file("a", &path).is_err());
        assert!(
            auth.configure_plain_file("a", dir.path().join("absent"))
                .is_err()
        );
        assert_eq!(plain(&auth, "a", "ada", "new"), allowed("ada"));
    }

    /// Bad files: the fault, the content, the line and the reason.
    fn bad_files() -> Vec<(&'static str, Vec<u8>, Option<usize>, String)> {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let hash = "A".repeat(43);
        let phc = |parameters: &str| format!("a=$argon2id$v=19${parameters}${salt}${hash}\n");
        let case = |why, content: &dyn AsRef<[u8]>, line: usize, reason: &str| {
            let line = (line > 0).then_some(line);
            (why, content.as_ref().to_vec(), line, reason.to_owned())
        };
        vec![
            case(
                "too large",
                &vec![b'#'; 4 * 1024 * 1024 + 1],
                0,
                "is larger than 4194304 bytes",
            ),
            case(
                "a byte order mark",
                &"\u{feff}a=b\n",
                1,
                "starts with a byte order mark; save it as UTF-8 without one",
            ),
            case(
                "UTF-16",
                &b"a\0=\0b\0",
                1,
                "a zero byte; save the file as UTF-8",
            ),
            case(
                "a hidden line",
                &"a=b\rroot=x\n",
                1,
                "a carriage return inside the line; end lines with LF or CRLF",
            ),
            case(
                "a doubled line end",
                &"a=b\r\r\n",
                1,
                "a carriage return inside the line; end lines with LF or CRLF",
            ),
            case(
                "no equals sign",
                &"# x\nada secret\n",
                2,
                "no '=' between name and password; a line is NAME=PASSWORD",
            ),
            case(
                "a colon",
                &"ada:secret",
                1,
                "no '=' between name and password; a line is NAME=PASSWORD",
            ),
            case(
                "no name",
                &"=secret\n",
                1,
                "no name before the '='; a line is NAME=PASSWORD",
            ),
            case(
                "a blank after the name",
                &"ada =secret\n",
                1,
                "a blank before or after the name, which would become part of it; remove it",
            ),
            case(
                "an indented line",
                &"a=b\n  ada=secret\n",
                2,
                "a blank before or after the name, which would become part of it; remove it",
            ),
            case(
                "an indented comment with an equals sign",
                &" # a=b\n",
                1,
                "a blank before or after the name, which would become part of it; remove it",
            ),
            case(
                "an escape sequence",
                &"a\x1b[31m=b\n",
                1,
                "a control character in the name; remove it",
            ),
            case(
                "a long name",
                &format!("{}=b", "n".repeat(256)),
                1,
                "the name is longer than 255 bytes",
            ),
            case(
                "a long password",
                &format!("a={}", "p".repeat(256)),
                1,
                "the password is longer than 255 bytes",
            ),
            case(
                "a name given twice",
                &"a=1\n\nb=2\na=1\n",
                4,
                "the name is given already in line 1; remove one of the lines",
            ),
            case(
                "bcrypt",
                &"a=$2b$12$KIXabc\n",
                1,
                "not hashed with argon2id, as everything that looks like a hash must be",
            ),
            case(
                "argon2i",
                &"a=$argon2i$v=19$m=64,t=1,p=1$x$y\n",
                1,
                "not hashed with argon2id, as everything that looks like a hash must be",
            ),
            case(
                "a cut hash",
                &"a=$argon2id$v=19$m=64,t=2,p=1$c29t\n",
                1,
                "not of the form $argon2id$v=19$m=..,t=..,p=..$salt$hash",
            ),
            case(
                "an old version",
                &phc("m=64,t=1,p=1").replace("v=19", "v=16"),
                1,
                "argon2id of another version than v=19",
            ),
            case(
                "other parameters",
                &phc("t=1,m=64,p=1"),
                1,
                "the parameters are not m=..,t=..,p=..",
            ),
            case(
                "too much memory",
                &phc("m=262145,t=1,p=1"),
                1,
                "m=262145 is not from 8 times p to 262144",
            ),
            case(
                "too little memory",
                &phc("m=15,t=1,p=2"),
                1,
                "m=15 is not from 8 times p to 262144",
            ),
            case(
                "too many passes",
                &phc("m=64,t=11,p=1"),
                1,
                "t=11 is not from 1 to 10",
            ),
            case(
                "too many lanes",
                &phc("m=64,t=1,p=5"),
                1,
                "p=5 is not from 1 to 4",
            ),
            case(
                "a short salt",
                &phc("m=64,t=1,p=1").replace(salt, "c2FsdA"),
                1,
                "the salt is not 8 to 64 bytes in base64 without padding",
            ),
            case(
                "a short hash",
                &phc("m=64,t=1,p=1").replace(&hash, "AAAA"),
                1,
                "the hash is not 16 to 64 bytes in base64 without padding",
            ),
            case(
                "a padded hash",
                &phc("m=64,t=1,p=1").replace(&hash, &format!("{hash}=")),
                1,
                "the hash is not 16 to 64 bytes in base64 without padding",
            ),
        ]
    }

    #[test]
    fn every_bad_file_is_refused_with_line_and_reason_and_admits_no_peer() {
        let mut reasons = BTreeSet::new();
        for (why, content, line, reason) in bad_files() {
            let (_dir, path) = file(&content);
            let auth = Authenticator::new();
            let error = auth.configure_plain_file("*", &path).unwrap_err();
            assert_eq!(
                (error.line, error.reason.to_string()),
                (line, reason.clone()),
                "{why}"
            );
            assert_eq!(error.file, path);
            for name in ["a", "ada", "root", ""] {
                assert_eq!(plain(&auth, "", name, "secret").0, "400", "{why}");
            }
            reasons.insert(reason);
        }
        assert!(reasons.len() >= 21, "{} reasons", reasons.len());
    }

    #[test]
    fn directories_pipes_and_devices_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Authenticator::new();
        let error = auth.configure_plain_file("*", dir.path()).unwrap_err();
        assert_eq!(
            error.reason,
            PasswordFileErrorKind::File(FileErrorKind::NotAFile)
        );
        let error = auth
            .configure_plain_file("*", dir.path().join("absent"))
            .unwrap_err();
        assert!(matches!(
            error.reason,
            PasswordFileErrorKind::File(FileErrorKind::Unreadable(_))
        ));
        let shown = auth
            .configure_plain_file("*", dir.path().join("a\nb"))
            .unwrap_err()
            .to_string();
        assert!(!shown.contains('\n'), "{shown}");
    }

    #[test]
    fn errors_show_nothing_of_what_the_file_holds() {
        for content in [
            "hunter2",
            "=hunter2",
            "a=$2b$hunter2",
            "hunter2 =x",
            "hunter2=1\nhunter2=1",
        ] {
            let (_dir, path) = file(content);
            let error = Authenticator::new()
                .configure_plain_file("*", &path)
                .unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{content}"
            );
        }
    }
}

mod providers {
    use super::*;

    #[test]
    fn a_plain_provider_sees_the_whole_request_and_may_name_the_user() {
        let auth = Authenticator::new();
        auth.configure_plain_callback("a", |question: PlainQuestion| {
            let seen = (
                question.domain.to_string(),
                question.address.to_string(),
                question.identity,
            );
            assert_eq!(seen, ("a".into(), "127.0.0.1".into(), "identity".into()));
            ready(match (&question.username[..], question.password.expose()) {
                (b"ada", b"secret") => ProviderAnswer::Yes,
                (b"bob", _) => ProviderAnswer::YesAs {
                    user_id: "robert".into(),
                    metadata: Metadata::new(),
                },
                _ => ProviderAnswer::No,
            })
        });
        assert_eq!(plain(&auth, "a", "ada", "secret"), allowed("ada"));
        assert_eq!(plain(&auth, "a", "bob", ""), allowed("robert"));
        assert_eq!(
            plain(&auth, "a", "ada", "x"),
            refused("Refused by the provider")
        );
        assert_eq!(
            plain(&auth, "b", "ada", "secret"),
            refused("Invalid domain")
        );
        auth.configure_plain("a", [("ada", "table")]).unwrap();
        assert_eq!(
            plain(&auth, "a", "ada", "secret"),
            refused("Invalid password")
        );
    }

    #[test]
    fn errors_and_panics_of_a_plain_provider_are_300_and_the_service_goes_on() {
        let auth = Authenticator::new();
        let decide = |question: PlainQuestion| match &question.username[..] {
            b"fails" => Err("the directory is away"),
            b"panics" => panic!("deliberate"),
            _ => Ok(true),
        };
        auth.configure_plain_callback("async", move |question| async move { decide(question) });
        auth.configure_plain_callback_blocking("blocking", decide);
        for domain in ["async", "blocking"] {
            for name in ["fails", "panics"] {
                assert_eq!(
                    plain(&auth, domain, name, ""),
                    reply("300", "Provider failed", "")
                );
            }
            assert_eq!(plain(&auth, domain, "ada", ""), allowed("ada"));
        }
    }

    #[test]
    fn blocking_providers_run_on_other_threads_and_side_by_side() {
        let auth = Authenticator::new();
        // Each call waits for the other.
        let both = Arc::new(std::sync::Barrier::new(2));
        let (caller, threads) = (thread::current().id(), Arc::new(Mutex::new(Vec::new())));
        let (at_curve, seen) = (Arc::clone(&both), Arc::clone(&threads));
        auth.configure_curve_callback_blocking("*", move |_: CurveQuestion| {
            at_curve.wait();
            seen.lock().unwrap().push(thread::current().id());
            true
        });
        let seen = Arc::clone(&threads);
        auth.configure_plain_callback_blocking("*", move |_: PlainQuestion| {
            both.wait();
            seen.lock().unwrap().push(thread::current().id());
            true
        });
        let mut curve = pin!(asked(&auth, frames("", &[b"CURVE", &[7; 32]])));
        let mut context = Context::from_waker(Waker::noop());
        assert!(curve.as_mut().poll(&mut context).is_pending());
        assert_eq!(plain(&auth, "", "ada", ""), allowed("ada"));
        assert_eq!(block_on(curve).0, "200");
        let threads = threads.lock().unwrap();
        assert!(threads.len() == 2 && !threads.contains(&caller));
    }

    #[test]
    fn questions_beyond_the_limit_are_300_at_once() {
        let mut limits = Limits::default();
        limits.max_pending_verdicts = 1;
        let auth = Authenticator::with_limits(&limits);
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        auth.configure_plain_callback_blocking("*", move |_: PlainQuestion| {
            gone.lock().unwrap().recv().is_ok()
        });
        let rest: [&[u8]; 3] = [b"PLAIN", b"ada", b""];
        let mut first = pin!(asked(&auth, frames("", &rest)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert_eq!(
            plain(&auth, "", "bob", ""),
            reply("300", "Too many requests", "")
        );
        go.send(()).unwrap();
        assert_eq!(block_on(first), allowed("ada"));
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn a_plain_provider_that_takes_too_long_is_300() {
        let auth = Authenticator::new();
        auth.configure_plain_callback("async", |_: PlainQuestion| pending::<bool>());
        let (_held, never) = mpsc::channel::<()>();
        let never = Mutex::new(never);
        auth.configure_plain_callback_blocking("blocking", move |_: PlainQuestion| {
            never.lock().unwrap().recv().is_ok()
        });
        for domain in ["async", "blocking"] {
            let rest: [&[u8]; 3] = [b"PLAIN", b"ada", b""];
            let answer = asked(&auth, frames(domain, &rest)).await;
            assert_eq!(answer, reply("300", "Provider timed out", ""));
        }
    }

    #[test]
    fn without_a_clock_the_caller_ends_the_wait_by_dropping_it() {
        let auth = Authenticator::new();
        auth.configure_plain_callback("*", |_: PlainQuestion| pending::<bool>());
        let rest: [&[u8]; 3] = [b"PLAIN", b"ada", b""];
        let mut waits = Box::pin(asked(&auth, frames("", &rest)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
}

mod fairness {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use zmtp_auth::zap::ZapRouter;
    use zmtp_auth::{PublicKey, Verdict};

    const KEY: [u8; 32] = [7; 32];

    fn login(address: &str, name: &str, password: &str) -> AccessRequest {
        let credentials = Credentials::Plain {
            username: Bytes::copy_from_slice(name.as_bytes()),
            password: Password::from(password),
        };
        let address = PeerAddress::from_zap(address.as_bytes());
        AccessRequest::new(Domain::EMPTY, address, credentials)
    }

    fn curve(address: &str) -> AccessRequest {
        let key = PublicKey::from_bytes(KEY).unwrap();
        let address = PeerAddress::from_zap(address.as_bytes());
        AccessRequest::new(Domain::EMPTY, address, Credentials::Curve { key })
    }

    /// One hashed password and one key.
    fn router() -> ZapRouter {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", HASH)]).unwrap();
        auth.configure_curve_keys("*", [PublicKey::from_bytes(KEY).unwrap()]);
        let router = ZapRouter::new();
        router.bind("*", auth).unwrap();
        router
    }

    fn is_allowed(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Allow(_))
    }

    /// Counts how many of 20 right passwords and 100 known keys are admitted from these addresses,
    /// while 300 connections of another address hold every slot and do not finish.
    fn admitted_beside(attacker: impl Fn(usize) -> AccessRequest, at: &str) -> (usize, usize) {
        let router = router();
        let wrong: Vec<_> = (0..300).map(attacker).collect();
        let mut asked: Vec<_> = wrong
            .iter()
            .map(|request| Box::pin(router.authorize(request)))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for question in &mut asked {
            let _pending = question.as_mut().poll(&mut context);
        }
        let request = login(at, "ada", "secret");
        let users = (0..20).filter(|_| is_allowed(&block_on(router.authorize(&request))));
        let users = users.count();
        let request = curve(at);
        let keys = (0..100).filter(|_| is_allowed(&block_on(router.authorize(&request))));
        (users, keys.count())
    }

    #[test]
    fn an_address_that_holds_every_place_locks_out_no_other() {
        let admitted = admitted_beside(|_| login("192.0.2.1", "ada", "wrong"), "198.51.100.7");
        assert_eq!(admitted, (20, 100));
        // A new name each time, so that no user has failed before.
        let stranger = |number| login("192.0.2.1", &format!("user {number}"), "wrong");
        assert_eq!(admitted_beside(stranger, "198.51.100.7"), (20, 100));
        // From all of an IPv6 /64.
        let subnet = |number| login(&format!("2001:db8::{number:x}"), "ada", "wrong");
        assert_eq!(admitted_beside(subnet, "2001:db8:0:1::1"), (20, 100));
    }

    #[test]
    fn a_key_in_a_table_needs_no_place_wherever_it_comes_from() {
        let (_, keys) = admitted_beside(|_| login("192.0.2.1", "ada", "wrong"), "192.0.2.1");
        assert_eq!(keys, 100);
        let (_, keys) = admitted_beside(|_| login("127.0.0.1", "ada", "wrong"), "127.0.0.1");
        assert_eq!(keys, 100);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_right_password_gets_in_while_another_address_tries_wrong_ones_without_end() {
        // 4 MiB and one pass: some milliseconds.
        let dear = HASH.replace("m=64,t=2", "m=4096,t=1");
        let auth = Authenticator::new();
        auth.configure_plain("*", [("ada", HASH), ("dear", &dear)])
            .unwrap();
        auth.configure_curve_keys("*", [PublicKey::from_bytes(KEY).unwrap()]);
        let router = ZapRouter::new();
        router.bind("*", auth).unwrap();
        let attempts = Arc::new(AtomicUsize::new(0));
        let attackers: Vec<_> = (0..300)
            .map(|_| {
                let (router, attempts) = (router.clone(), Arc::clone(&attempts));
                tokio::spawn(async move {
                    let request = login("192.0.2.1", "ada", "wrong");
                    loop {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        let _denied = router.authorize(&request).await;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        while attempts.load(Ordering::Relaxed) < 600 {
            tokio::task::yield_now().await;
        }
        let (mut users, mut keys) = (0, 0);
        for _ in 0..20 {
            let verdict = router
                .authorize(&login("198.51.100.7", "ada", "secret"))
                .await;
            users += usize::from(is_allowed(&verdict));
            for _ in 0..5 {
                let verdict = router.authorize(&curve("198.51.100.7")).await;
                keys += usize::from(is_allowed(&verdict));
                tokio::task::yield_now().await;
            }
        }
        for attacker in attackers {
            attacker.abort();
        }
        println!("right password {users} of 20, CURVE key {keys} of 100");
        assert_eq!((users, keys), (20, 100));
    }
}

mod threads {
    use super::*;
    use std::sync::Barrier;
    use zmtp_auth::{DenialStatus, Verdict};

    fn login(domain: &'static str, name: &str) -> AccessRequest {
        let credentials = Credentials::Plain {
            username: Bytes::copy_from_slice(name.as_bytes()),
            password: Password::from(""),
        };
        AccessRequest::new(domain, PeerAddress::from_zap(b"::1"), credentials)
    }

    fn with_time(time: Duration) -> Authenticator {
        let mut limits = Limits::default();
        limits.verdict_timeout = time;
        Authenticator::with_limits(&limits)
    }

    /// Configures a blocking provider for `domain` that answers every request except those of
    /// `hangs`. These calls return when the sender is dropped.
    #[must_use]
    fn hangs(auth: &Authenticator, domain: &'static str) -> mpsc::Sender<()> {
        let (never, held) = mpsc::channel::<()>();
        let held = Mutex::new(Some(held));
        let held = Arc::new(held);
        auth.configure_plain_callback_blocking(domain, move |question: PlainQuestion| {
            if question.username == "hangs" {
                let held = Arc::clone(&held);
                let _ended = held
                    .lock()
                    .map(|held| held.as_ref().map(mpsc::Receiver::recv));
            }
            true
        });
        never
    }

    fn is_allowed(auth: &Authenticator, request: &AccessRequest) -> bool {
        matches!(auth.authorize_blocking(request), Verdict::Allow(_))
    }

    #[test]
    fn a_blocking_provider_that_never_returns_stops_no_other() {
        let auth = with_time(Duration::from_secs(20));
        let _never = hangs(&auth, "hangs");
        auth.configure_plain_callback_blocking("other", |_: PlainQuestion| true);
        let request = login("hangs", "hangs");
        let zap = |request| zmtp_auth::zap::ZapRequest::new(1.into(), request);
        let mut asked: Vec<_> = (0..100)
            .map(|_| Box::pin(zmtp_auth::zap::ZapHandler::handle(&auth, zap(&request))))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for question in &mut asked {
            assert!(question.as_mut().poll(&mut context).is_pending());
        }
        assert!(is_allowed(&auth, &login("other", "ada")));
    }

    #[test]
    fn when_no_thread_is_left_that_is_told_once_and_another_provider_goes_on() {
        let auth = with_time(Duration::from_millis(1));
        let never = hangs(&auth, "hangs");
        let mut events = auth.events();
        let mut stuck = move || {
            let told = std::iter::from_fn(|| events.try_next());
            told.filter_map(|next| match &next.event.what {
                Audited::ProviderStuck(rule) => Some(rule.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
        };
        let plain = zmtp_auth::MechanismKind::Plain;
        let rule = Rule::Provider(plain, Domain::from("hangs"));
        // 16 threads of its own, and up to 64 replacements.
        let mut told = Vec::new();
        for _ in 0..1000 {
            assert!(!is_allowed(&auth, &login("hangs", "hangs")));
            told.extend(stuck());
        }
        assert_eq!(told, [rule]);
        auth.configure_plain_callback_blocking("other", |_: PlainQuestion| true);
        assert!((0..1000).any(|_| is_allowed(&auth, &login("other", "ada"))));
        // Once its calls return, the provider is asked again.
        drop(never);
        assert!((0..100_000).any(|_| is_allowed(&auth, &login("hangs", "ada"))));
    }

    #[test]
    fn a_thread_that_never_returns_is_replaced() {
        let auth = with_time(Duration::from_millis(50));
        let _never = hangs(&auth, "*");
        let all = Arc::new(Barrier::new(40));
        let hanging: Vec<_> = (0..40)
            .map(|_| {
                let (auth, all) = (auth.clone(), Arc::clone(&all));
                thread::spawn(move || {
                    all.wait();
                    auth.authorize_blocking(&login("", "hangs"))
                })
            })
            .collect();
        for question in hanging {
            match question.join().unwrap() {
                Verdict::Deny(denied) => assert_eq!(denied.status, DenialStatus::Temporary),
                Verdict::Allow(_) => panic!("admitted"),
            }
        }
        assert!((0..100).any(|_| is_allowed(&auth, &login("", "ada"))));
    }
}
