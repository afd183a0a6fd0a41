//! Password files and certificate directories are loaded again when they change.

#[cfg(unix)]
use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zmtp_auth::auth::{
    AuditEvents, Audited, Authenticator, Change, Reload, ReloadEvent, ReloadIssue, ReloadSettings,
};
use zmtp_auth::cert::{
    CertificateDirectory, CertificateWarning, Layout, create_certificates, load_certificate,
};
use zmtp_auth::{
    AccessRequest, Credentials, Domain, MechanismKind, Password, PeerAddress, PublicKey, Verdict,
};

const DEBOUNCE: Duration = Duration::from_millis(200);
/// A time-out longer than any change takes to come into force.
const LONG: Duration = Duration::from_secs(20);

struct Watched {
    auth: Authenticator,
    reload: Reload,
    events: Receiver<ReloadEvent>,
    dir: TempDir,
}

fn watched() -> Watched {
    watched_with(DEBOUNCE)
}

fn watched_with(debounce: Duration) -> Watched {
    let mut settings = ReloadSettings::default();
    settings = settings.with_debounce(debounce);
    let auth = Authenticator::new();
    let (sender, events) = channel();
    let reload = Reload::start(&auth, settings, move |event| {
        let _ended = sender.send(event.clone());
    });
    Watched {
        auth,
        reload: reload.unwrap(),
        events,
        dir: tempfile::tempdir().unwrap(),
    }
}

impl Watched {
    fn event(&self) -> ReloadEvent {
        self.events.recv_timeout(LONG).unwrap()
    }

    #[track_caller]
    fn nothing_happens(&self) {
        let next = self.events.recv_timeout(DEBOUNCE * 5);
        assert_eq!(next, Err(RecvTimeoutError::Timeout));
    }

    /// Waits until the condition holds, for at most [`LONG`].
    #[track_caller]
    fn becomes(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !is_so(self) {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(DEBOUNCE / 20);
        }
    }

    fn admits(&self, credentials: Credentials) -> bool {
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::EMPTY, address, credentials);
        matches!(self.auth.authorize_blocking(&request), Verdict::Allow(_))
    }

    fn admits_key(&self, key: PublicKey) -> bool {
        self.admits(Credentials::Curve { key })
    }

    fn admits_user(&self, name: &str, password: &str) -> bool {
        self.admits(Credentials::Plain {
            username: Bytes::copy_from_slice(name.as_bytes()),
            password: Password::from(password),
        })
    }
}

/// A public certificate without its secret file, which would be reported.
fn certificate(directory: &Path, name: &str) -> PublicKey {
    let elsewhere = tempfile::tempdir().unwrap();
    let (public, _) = create_certificates(elsewhere.path(), name, &[]).unwrap();
    let key = load_certificate(&public).unwrap().public_key();
    fs::rename(public, directory.join(format!("{name}.key"))).unwrap();
    key
}

#[test]
fn certificates_come_and_go_with_their_files() {
    let watched = watched();
    let dir = watched.dir.path();
    let ada = certificate(dir, "ada");
    let report = watched.reload.curve("*", dir).unwrap();
    assert_eq!(report.certificates.len(), 1);
    assert!(watched.admits_key(ada));

    let bob = certificate(dir, "bob");
    assert_eq!(watched.event().admitted, 2);
    assert!(watched.admits_key(ada) && watched.admits_key(bob));

    fs::remove_file(dir.join("ada.key")).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(!watched.admits_key(ada) && watched.admits_key(bob));
}

#[test]
fn a_layout_holds_over_reloads_and_a_renamed_file_is_withdrawn_and_named() {
    let watched = watched();
    let keys = watched.dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let alice = certificate(&keys, "alice");
    let (plain, renamed) = (keys.join("alice"), keys.join("alice.revoked"));
    fs::rename(keys.join("alice.key"), &plain).unwrap();
    let layout = CertificateDirectory::new(&keys).with_layout(Layout::Czmq);
    let report = watched.reload.curve("", layout).unwrap();
    assert_eq!(report.certificates.len(), 1);
    assert!(watched.admits_key(alice));
    fs::rename(&plain, &renamed).unwrap();
    let event = watched.event();
    assert_eq!(event.admitted, 0);
    assert!(event.passed_over.contains(&renamed), "{event:?}");
    assert!(!watched.admits_key(alice));
    fs::rename(&renamed, &plain).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_key(alice));
}

#[test]
fn a_secret_that_comes_among_public_files_is_told() {
    let watched = watched();
    let dir = watched.dir.path();
    let ada = certificate(dir, "ada");
    watched.reload.curve("*", dir).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, secret) = create_certificates(elsewhere.path(), "bob", &[]).unwrap();
    fs::rename(secret, dir.join("b.txt")).unwrap();
    let event = watched.event();
    let [ReloadIssue::Secret(CertificateWarning::SecretInPublic { file })] = &event.issues[..]
    else {
        panic!("{event:?}");
    };
    assert_eq!(*file, dir.join("b.txt"));
    assert_eq!(event.admitted, 1);
    assert!(watched.admits_key(ada));
}

#[test]
fn a_file_that_turned_bad_withdraws_its_key_and_says_why() {
    let watched = watched();
    let dir = watched.dir.path();
    let (ada, bob) = (certificate(dir, "ada"), certificate(dir, "bob"));
    watched.reload.curve("*", dir).unwrap();
    fs::write(dir.join("ada.key"), "curve\n").unwrap();
    let event = watched.event();
    assert!(
        matches!(&event.issues[..], [ReloadIssue::Certificate(error)]
        if error.file == dir.join("ada.key"))
    );
    assert!(!watched.admits_key(ada) && watched.admits_key(bob));
}

#[test]
fn what_ends_the_admission_ends_the_connections_it_had_admitted_and_no_other() {
    let watched = watched();
    let dir = watched.dir.path();
    let keys = [certificate(dir, "ada"), certificate(dir, "bob")];
    watched.reload.curve("*", dir).unwrap();
    let grants = keys.map(|key| {
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let credentials = Credentials::Curve { key };
        let request = AccessRequest::new(Domain::EMPTY, address, credentials);
        match watched.auth.authorize_blocking(&request) {
            Verdict::Allow(approval) => approval.grant.unwrap(),
            Verdict::Deny(denied) => panic!("{denied}"),
        }
    });
    fs::remove_file(dir.join("ada.key")).unwrap();
    watched.event();
    assert_eq!(grants.map(|grant| grant.still_valid()), [false, true]);
}

#[test]
fn a_directory_that_is_gone_admits_no_peer_and_one_that_comes_back_is_loaded() {
    let watched = watched();
    let dir = watched.dir.path().join("certs");
    assert!(watched.reload.curve("*", &dir).is_err());
    assert!(matches!(
        watched.event().issues[..],
        [ReloadIssue::DirectoryGone(_)]
    ));
    fs::create_dir(&dir).unwrap();
    let ada = certificate(&dir, "ada");
    // It may have been read while it was empty.
    while watched.event().admitted != 1 {}
    assert!(watched.admits_key(ada));

    let away = watched.dir.path().join("away");
    fs::rename(&dir, &away).unwrap();
    assert!(matches!(
        watched.event().issues[..],
        [ReloadIssue::DirectoryGone(_)]
    ));
    assert!(!watched.admits_key(ada));
    fs::rename(&away, &dir).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_key(ada));
    // The directory is watched at its new place.
    fs::remove_file(dir.join("ada.key")).unwrap();
    assert_eq!(watched.event().admitted, 0);
}

#[cfg(unix)]
#[test]
fn a_swap_of_symbolic_links_as_kubernetes_does_it_comes_into_force_whole() {
    use std::os::unix::fs::symlink;
    let watched = watched();
    let mount = watched.dir.path();
    let users = ["one", "two", "three"];
    let version = |name: &str| {
        fs::create_dir(mount.join(name)).unwrap();
        users.map(|user| certificate(&mount.join(name), user))
    };
    let admitted = |keys: [PublicKey; 3]| keys.map(|key| watched.admits_key(key));
    let before = version("..1");
    symlink("..1", mount.join("..data")).unwrap();
    for user in users {
        let file = format!("{user}.key");
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    watched.reload.curve("*", mount).unwrap();
    assert_eq!(admitted(before), [true; 3]);

    let after = version("..2");
    symlink("..2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..1")).unwrap();
    assert_eq!(watched.event().admitted, 3);
    assert_eq!((admitted(before), admitted(after)), ([false; 3], [true; 3]));
}

#[test]
fn a_password_file_is_loaded_again_when_an_editor_saves_it() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\nbob=b\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    assert!(watched.admits_user("ada", "one"));

    // In place, and by rename.
    fs::write(&file, "ada=two\nbob=b\n").unwrap();
    assert_eq!(watched.event().admitted, 2);
    assert!(watched.admits_user("ada", "two") && !watched.admits_user("ada", "one"));
    let new = watched.dir.path().join("passwords~");
    fs::write(&new, "bob=b\n").unwrap();
    fs::rename(&new, &file).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(!watched.admits_user("ada", "two") && watched.admits_user("bob", "b"));
}

#[test]
fn a_bad_line_keeps_the_old_table_and_an_absent_file_admits_no_peer() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::write(&file, "ada=one\nbob\n").unwrap();
    let event = watched.event();
    assert!(matches!(&event.issues[..], [ReloadIssue::FileKept(error)]
        if error.line == Some(2)));
    assert_eq!(event.admitted, 1);
    assert!(watched.admits_user("ada", "one"));
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        watched.event().issues[..],
        [ReloadIssue::FileGone(_)]
    ));
    assert!(!watched.admits_user("ada", "one"));
    fs::write(&file, "ada=one\n").unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_user("ada", "one"));
}

#[test]
fn what_is_gone_for_a_moment_only_is_not_gone() {
    // Far longer than the debounce, even if this test is not scheduled for a while.
    let debounce = Duration::from_secs(4);
    let moment = debounce / 10;
    let watched = watched_with(debounce);
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::remove_file(&file).unwrap();
    std::thread::sleep(moment);
    assert!(watched.admits_user("ada", "one"));
    fs::write(&file, "ada=").unwrap();
    std::thread::sleep(moment);
    fs::write(&file, "ada=one\n").unwrap();
    let next = watched.events.recv_timeout(debounce * 3 / 2);
    assert_eq!(next, Err(RecvTimeoutError::Timeout));
    assert!(watched.admits_user("ada", "one"));
}

/// Calls `change` with 0, 1, 2 and so on, ten times per debounce, until `body` returns.
fn while_it_keeps_changing(change: impl Fn(usize) + Send + Sync, body: impl FnOnce()) {
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0.. {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                change(count);
                std::thread::sleep(DEBOUNCE / 10);
            }
        });
        let _ended = Ended(&ended);
        body();
    });
}

/// Replaces a file by renaming a whole one over it.
fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_certificate_that_keeps_changing_holds_back_only_itself() {
    let watched = watched();
    let dir = watched.dir.path();
    let (alice, bob) = (certificate(dir, "alice"), certificate(dir, "bob"));
    let carol = dir.join("carol.key");
    let spare = tempfile::tempdir().unwrap();
    let restless = certificate(spare.path(), "carol");
    fs::copy(spare.path().join("carol.key"), &carol).unwrap();
    watched.reload.curve("*", dir).unwrap();
    assert!(watched.admits_key(restless));
    let changes = |count: usize| {
        let text = format!("curve\n    public-key = \"{}\"\n", restless.to_z85());
        replace(&carol, &format!("metadata\n    n = \"{count}\"\n{text}"));
    };
    while_it_keeps_changing(changes, || {
        fs::remove_file(dir.join("bob.key")).unwrap();
        watched.becomes("bob withdrawn", |watched| !watched.admits_key(bob));
        assert!(watched.admits_key(alice));
        let dave = certificate(dir, "dave");
        watched.becomes("dave admitted", |watched| watched.admits_key(dave));
        // An entry that no reading has seen for this long no longer counts.
        watched.becomes("carol withdrawn", |watched| !watched.admits_key(restless));
    });
    watched.becomes("carol back", |watched| watched.admits_key(restless));
}

#[test]
fn a_password_that_keeps_changing_holds_back_only_its_user() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "alice=a\nbob=b\ncarol=c\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    let changes = |count: usize| {
        replace(&file, &format!("alice=a\ncarol=c{count}\ndave=d\n"));
    };
    while_it_keeps_changing(changes, || {
        watched.becomes("bob withdrawn", |watched| !watched.admits_user("bob", "b"));
        watched.becomes("dave admitted", |watched| watched.admits_user("dave", "d"));
        assert!(watched.admits_user("alice", "a"));
        watched.becomes("carol's old password withdrawn", |watched| {
            !watched.admits_user("carol", "c")
        });
    });
}

#[cfg(unix)]
#[test]
fn a_pipe_that_takes_the_place_of_a_file_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, spare) = (dir.path().join("keys"), dir.path().join("spare"));
    fs::create_dir(&keys).unwrap();
    fs::create_dir(&spare).unwrap();
    certificate(&spare, "alice");
    let pipe = spare.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let (file, place) = (spare.join("alice.key"), keys.join("alice.key"));
    let (ended, end) = channel();
    let loading = keys.clone();
    std::thread::spawn(move || {
        for _ in 0..20_000 {
            zmtp_auth::cert::load_certificates(&loading).unwrap();
        }
        ended.send(()).unwrap();
    });
    let until = Instant::now() + LONG;
    loop {
        for what in [&pipe, &file] {
            let new = spare.join("new");
            fs::hard_link(what, &new).unwrap();
            fs::rename(&new, &place).unwrap();
        }
        match end.try_recv() {
            Ok(()) => break,
            Err(_) => assert!(Instant::now() < until, "the load waits for a writer"),
        }
    }
}

/// A second directory, in a domain of its own. When it is loaded, everything written before its
/// change has been read.
struct Sentinel(TempDir);

impl Sentinel {
    fn new(watched: &Watched) -> Self {
        let dir = tempfile::tempdir().unwrap();
        watched.reload.curve("sentinel", dir.path()).unwrap();
        Self(dir)
    }

    /// Waits until everything written so far is in force, if it ever will be.
    fn pass(&self, watched: &Watched) {
        for name in ["one", "two"] {
            certificate(self.0.path(), name);
            while watched.event().domain != Domain::from("sentinel") {}
            fs::remove_file(self.0.path().join(format!("{name}.key"))).unwrap();
            while watched.event().domain != Domain::from("sentinel") {}
        }
    }
}

#[test]
fn an_explicit_revocation_stays_in_force_over_later_reloads() {
    let watched = watched();
    let dir = watched.dir.path();
    let alice = certificate(dir, "alice");
    watched.reload.curve("*", dir).unwrap();
    let sentinel = Sentinel::new(&watched);
    watched.auth.configure_curve_keys("*", []);
    assert!(!watched.admits_key(alice));
    certificate(dir, "unrelated");
    sentinel.pass(&watched);
    assert!(
        !watched.admits_key(alice),
        "a revoked key was admitted again"
    );
}

#[test]
fn an_empty_table_of_passwords_stays_in_force_over_later_reloads() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "alice=a\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    let sentinel = Sentinel::new(&watched);
    let users: [(&str, &str); 0] = [];
    watched.auth.configure_plain("*", users).unwrap();
    replace(&file, "alice=a\nbob=b\n");
    sentinel.pass(&watched);
    assert!(!watched.admits_user("alice", "a"), "admitted again");
    assert!(!watched.admits_user("bob", "b"), "admitted");
}

fn ended(events: &mut AuditEvents) -> Vec<(MechanismKind, Domain)> {
    let told = std::iter::from_fn(|| events.try_next());
    let ended = told.filter_map(|next| match &next.event.what {
        Audited::Change(Change::WatchEnded(rules)) => Some(rules.clone()),
        _ => None,
    });
    ended.flatten().collect()
}

#[test]
fn each_call_that_ends_a_watch_says_so_and_each_that_does_not_keeps_it() {
    type Call = fn(&Watched, &Path) -> bool;
    let calls: [(&str, Call, MechanismKind, bool); 14] = {
        use MechanismKind::{Curve, Plain};
        [
            (
                "no keys",
                |w, _| w.auth.configure_curve_keys("*", []).ended_watch,
                Curve,
                true,
            ),
            (
                "any key",
                |w, _| w.auth.configure_curve_any("*").ended_watch,
                Curve,
                true,
            ),
            (
                "a provider of keys",
                |w, _| {
                    w.auth
                        .configure_curve_callback_blocking("*", |_| false)
                        .ended_watch
                },
                Curve,
                true,
            ),
            (
                "another directory",
                |w, dir| {
                    w.auth
                        .configure_curve("*", dir.join("other"))
                        .unwrap()
                        .ended_watch
                },
                Curve,
                true,
            ),
            (
                "the same directory",
                |w, dir| {
                    w.auth
                        .configure_curve("*", dir.join("keys"))
                        .unwrap()
                        .ended_watch
                },
                Curve,
                false,
            ),
            (
                "no directory",
                |w, dir| w.auth.configure_curve("*", dir.join("nowhere")).is_ok(),
                Curve,
                false,
            ),
            (
                "a watch of another directory",
                |w, dir| w.reload.curve("*", dir.join("other")).unwrap().ended_watch,
                Curve,
                true,
            ),
            (
                "a watch of the same directory",
                |w, dir| w.reload.curve("*", dir.join("keys")).unwrap().ended_watch,
                Curve,
                false,
            ),
            (
                "a table of users",
                |w, _| {
                    w.auth
                        .configure_plain("*", [("alice", "a")])
                        .unwrap()
                        .ended_watch
                },
                Plain,
                true,
            ),
            (
                "a provider of users",
                |w, _| {
                    w.auth
                        .configure_plain_callback_blocking("*", |_| false)
                        .ended_watch
                },
                Plain,
                true,
            ),
            (
                "another file",
                |w, dir| {
                    let other = dir.join("other passwords");
                    w.auth.configure_plain_file("*", other).unwrap().ended_watch
                },
                Plain,
                true,
            ),
            (
                "the same file",
                |w, dir| {
                    let same = dir.join("passwords");
                    w.auth.configure_plain_file("*", same).unwrap().ended_watch
                },
                Plain,
                false,
            ),
            (
                "another domain",
                |w, _| w.auth.configure_curve_any("other").ended_watch,
                Curve,
                false,
            ),
            (
                "stop and start",
                |w, _| {
                    w.auth.stop();
                    w.auth.start();
                    false
                },
                Curve,
                false,
            ),
        ]
    };
    for (what, call, mechanism, ends) in calls {
        let watched = watched();
        let dir = watched.dir.path();
        for name in ["keys", "other"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let passwords = dir.join("passwords");
        fs::write(&passwords, "bob=b\n").unwrap();
        fs::write(dir.join("other passwords"), "").unwrap();
        watched.reload.curve("*", dir.join("keys")).unwrap();
        watched.reload.plain_file("*", &passwords).unwrap();
        let mut events = watched.auth.events();
        assert_eq!(call(&watched, dir), ends, "{what}");
        let told = if ends {
            vec![(mechanism, Domain::ALL)]
        } else {
            Vec::new()
        };
        assert_eq!(ended(&mut events), told, "{what}");
        // One watch still works, and so does the other unless it was ended.
        let carol = certificate(&dir.join("keys"), "carol");
        fs::write(&passwords, "carol=c\n").unwrap();
        let (mut curve, mut plain) = (true, true);
        match mechanism {
            MechanismKind::Curve => curve = !ends,
            _ => plain = !ends,
        }
        if curve {
            watched.becomes(what, |watched| watched.admits_key(carol));
        }
        if plain {
            watched.becomes(what, |watched| watched.admits_user("carol", "c"));
        }
    }
}

#[test]
fn what_an_explicit_load_has_found_is_what_the_watch_goes_on_from() {
    // The debounce is so long that the explicit call reads the change before the watch does.
    let watched = watched_with(Duration::from_secs(3));
    let dir = watched.dir.path();
    let alice = certificate(dir, "alice");
    watched.reload.curve("*", dir).unwrap();
    let bob = certificate(dir, "bob");
    watched.auth.configure_curve("*", dir).unwrap();
    assert!(watched.admits_key(bob));
    // The file is again as the watch has first read it.
    fs::remove_file(dir.join("bob.key")).unwrap();
    watched.becomes("bob withdrawn", |watched| !watched.admits_key(bob));
    assert!(watched.admits_key(alice));
}

#[test]
fn a_watch_that_is_given_up_or_unconfigured_tells_so() {
    let watched = watched();
    let dir = watched.dir.path().to_owned();
    let mut events = watched.auth.events();
    let both = |domain: &'static str| {
        [MechanismKind::Plain, MechanismKind::Curve].map(|kind| (kind, Domain::from(domain)))
    };
    for domain in ["a", "b", "c"] {
        watched.reload.curve(domain, &dir).unwrap();
        // The source is watched even if its first load fails.
        watched
            .reload
            .plain_file(domain, dir.join("nowhere"))
            .unwrap_err();
    }
    assert_eq!(ended(&mut events), []);
    assert!(watched.auth.unconfigure("a").ended_watch);
    assert!(!watched.auth.unconfigure("a").ended_watch);
    assert_eq!(ended(&mut events), both("a"));
    watched.reload.forget("b");
    assert_eq!(ended(&mut events), both("b"));
    drop(watched.reload);
    assert_eq!(ended(&mut events), both("c"));
}

#[test]
fn a_domain_given_back_is_not_claimed_again_by_a_later_reload() {
    let watched = watched();
    let dir = watched.dir.path();
    let alice = certificate(dir, "alice");
    watched.reload.curve("", dir).unwrap();
    let sentinel = Sentinel::new(&watched);
    watched.auth.unconfigure(&Domain::EMPTY);
    assert!(!watched.admits_key(alice));
    certificate(dir, "unrelated");
    sentinel.pass(&watched);
    assert!(!watched.admits_key(alice), "admitted again");
}

#[cfg(feature = "policy-file")]
#[test]
fn a_policy_that_replaced_all_is_not_added_to_by_a_watch_from_before() {
    use zmtp_auth::auth::{PolicyFile, PolicySettings, PolicyWarning};
    let watched = watched();
    let dir = watched.dir.path();
    let alice = certificate(dir, "alice");
    watched.reload.curve("*", dir).unwrap();
    let policy = PolicyFile::from_settings(PolicySettings::default(), dir);
    let warnings = watched.auth.load_policy(&policy).unwrap();
    let ended = PolicyWarning::WatchEnded(Domain::ALL, MechanismKind::Curve);
    assert!(warnings.contains(&ended), "{warnings:?}");
    let warnings = watched.auth.load_policy(&policy).unwrap();
    assert!(!warnings.contains(&ended), "{warnings:?}");
    let sentinel = Sentinel::new(&watched);
    certificate(dir, "unrelated");
    sentinel.pass(&watched);
    assert!(!watched.admits_key(alice), "admitted without any policy");
}

#[test]
fn each_of_many_sources_that_were_added_at_once_is_told_of_its_changes() {
    // The poll takes longer than the test waits.
    assert!(ReloadSettings::default().poll > LONG);
    let watched = watched();
    let directory = |number: usize| watched.dir.path().join(number.to_string());
    for number in 0..24 {
        fs::create_dir(directory(number)).unwrap();
        let domain = format!("domain {number}");
        watched.reload.curve(domain, directory(number)).unwrap();
    }
    for number in 0..24 {
        certificate(&directory(number), "alice");
    }
    for _ in 0..24 {
        assert_eq!(watched.event().admitted, 1);
    }
}

#[test]
fn a_touched_file_is_no_change() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::write(&file, "# the same users\nada=one\n").unwrap();
    watched.nothing_happens();
}

#[test]
fn an_event_handler_that_panics_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    let mut settings = ReloadSettings::default();
    settings.debounce = DEBOUNCE;
    let auth = Authenticator::new();
    let (sender, events) = channel();
    let reload = Reload::start(&auth, settings, move |event| {
        sender.send(event.admitted).unwrap();
        panic!("deliberate");
    });
    let reload = reload.unwrap();
    reload.plain_file("*", &file).unwrap();
    for count in 2..4 {
        fs::write(
            &file,
            "a=1\nb=2\nc=3\n"
                .split_inclusive('\n')
                .take(count)
                .collect::<String>(),
        )
        .unwrap();
        assert_eq!(events.recv_timeout(LONG), Ok(count));
    }
}

#[test]
fn nothing_is_loaded_again_once_its_watch_is_forgotten_or_dropped() {
    let watched = watched();
    let dir = watched.dir.path().to_owned();
    let ada = certificate(&dir, "ada");
    watched.reload.curve("*", &dir).unwrap();
    watched.reload.forget(&Domain::ALL);
    fs::remove_file(dir.join("ada.key")).unwrap();
    watched.nothing_happens();
    assert!(watched.admits_key(ada));

    watched.reload.curve("*", &dir).unwrap();
    let Watched {
        auth,
        reload,
        events,
        dir,
    } = watched;
    drop(reload);
    let ended = events.recv_timeout(LONG);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    drop((auth, dir));
}

#[test]
fn an_unreadable_file_admits_no_peer() {
    // A directory takes the file's place, since root can read every file whatever its mode.
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(
        watched.event().issues[..],
        [ReloadIssue::FileGone(_)]
    ));
    assert!(!watched.admits_user("ada", "one"));
}

#[cfg(unix)]
mod permissions {
    use super::*;
    use crate::unprivileged::{chmod, unprivileged};

    #[test]
    fn a_password_file_without_read_permission_admits_no_peer_until_it_has_it_again() {
        unprivileged(
            "reload::permissions::a_password_file_without_read_permission_admits_no_peer_until_it_has_it_again",
            || {
                let watched = watched();
                let file = watched.dir.path().join("passwords");
                fs::write(&file, "ada=one\n").unwrap();
                watched.reload.plain_file("*", &file).unwrap();
                assert!(watched.admits_user("ada", "one"));
                chmod(&file, 0o000);
                assert!(matches!(
                    watched.event().issues[..],
                    [ReloadIssue::FileGone(_)]
                ));
                assert!(!watched.admits_user("ada", "one"));
                chmod(&file, 0o600);
                assert_eq!(watched.event().admitted, 1);
                assert!(watched.admits_user("ada", "one"));
            },
        );
    }

    #[test]
    fn a_certificate_that_may_no_longer_be_read_withdraws_its_key_and_a_directory_all() {
        unprivileged(
            "reload::permissions::a_certificate_that_may_no_longer_be_read_withdraws_its_key_and_a_directory_all",
            || {
                let watched = watched();
                let keys = watched.dir.path().join("keys");
                fs::create_dir(&keys).unwrap();
                let (ada, bob) = (certificate(&keys, "ada"), certificate(&keys, "bob"));
                watched.reload.curve("*", &keys).unwrap();
                assert!(watched.admits_key(ada) && watched.admits_key(bob));
                chmod(keys.join("ada.key"), 0o000);
                assert_eq!(watched.event().admitted, 1);
                assert!(!watched.admits_key(ada) && watched.admits_key(bob));
                // Without the right to list it, its files can be read still.
                for mode in [0o000, 0o311] {
                    chmod(&keys, mode);
                    assert_eq!(watched.event().admitted, 0);
                    assert!(!watched.admits_key(bob));
                    chmod(keys.as_path(), 0o700);
                    assert_eq!(watched.event().admitted, 1);
                    assert!(!watched.admits_key(ada) && watched.admits_key(bob));
                }
            },
        );
    }
}
