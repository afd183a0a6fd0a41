//! Password files and certificate directories that are loaded again by themselves.
#![cfg(feature = "reload")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(unix)]
mod unprivileged;

use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tempfile::TempDir;
use zmtp_auth::auth::{Authenticator, Reload, ReloadEvent, ReloadSettings, ReloadTrouble};
use zmtp_auth::cert::{CertificateDirectory, Layout, create_certificates, load_certificate};
use zmtp_auth::{AccessRequest, Credentials, Domain, Password, PeerAddress, PublicKey, Verdict};

const DEBOUNCE: Duration = Duration::from_millis(200);
/// No change takes so long to count.
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
    settings.debounce = debounce;
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

fn certificate(directory: &Path, name: &str) -> PublicKey {
    let (public, _) = create_certificates(directory, name, &[]).unwrap();
    load_certificate(public).unwrap().public_key()
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
    let layout = CertificateDirectory::new(&keys).layout(Layout::Czmq);
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
fn a_file_that_turned_bad_withdraws_its_key_and_says_why() {
    let watched = watched();
    let dir = watched.dir.path();
    let (ada, bob) = (certificate(dir, "ada"), certificate(dir, "bob"));
    watched.reload.curve("*", dir).unwrap();
    fs::write(dir.join("ada.key"), "curve\n").unwrap();
    let event = watched.event();
    assert!(
        matches!(&event.troubles[..], [ReloadTrouble::Certificate(error)]
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
fn a_directory_that_is_gone_means_nobody_and_one_that_comes_back_is_loaded() {
    let watched = watched();
    let dir = watched.dir.path().join("certs");
    assert!(watched.reload.curve("*", &dir).is_err());
    assert!(matches!(
        watched.event().troubles[..],
        [ReloadTrouble::DirectoryGone(_)]
    ));
    fs::create_dir(&dir).unwrap();
    let ada = certificate(&dir, "ada");
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_key(ada));

    let away = watched.dir.path().join("away");
    fs::rename(&dir, &away).unwrap();
    assert!(matches!(
        watched.event().troubles[..],
        [ReloadTrouble::DirectoryGone(_)]
    ));
    assert!(!watched.admits_key(ada));
    fs::rename(&away, &dir).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_key(ada));
    // It is watched where it lies now.
    fs::remove_file(dir.join("ada.key")).unwrap();
    assert_eq!(watched.event().admitted, 0);
}

#[cfg(unix)]
#[test]
fn a_swap_of_symbolic_links_as_kubernetes_does_it_comes_into_force_whole() {
    use std::os::unix::fs::symlink;
    let watched = watched();
    let mount = watched.dir.path();
    let version = |name: &str, user: &str| {
        fs::create_dir(mount.join(name)).unwrap();
        certificate(&mount.join(name), user)
    };
    let ada = version("..1", "user");
    symlink("..1", mount.join("..data")).unwrap();
    symlink("..data/user.key", mount.join("user.key")).unwrap();
    watched.reload.curve("*", mount).unwrap();
    assert!(watched.admits_key(ada));

    let bob = version("..2", "user");
    symlink("..2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..1")).unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(!watched.admits_key(ada) && watched.admits_key(bob));
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
fn a_bad_line_keeps_the_old_table_and_an_absent_file_means_nobody() {
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::write(&file, "ada=one\nbob\n").unwrap();
    let event = watched.event();
    assert!(
        matches!(&event.troubles[..], [ReloadTrouble::FileKept(error)]
        if error.line == Some(2))
    );
    assert_eq!(event.admitted, 1);
    assert!(watched.admits_user("ada", "one"));
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        watched.event().troubles[..],
        [ReloadTrouble::FileGone(_)]
    ));
    assert!(!watched.admits_user("ada", "one"));
    fs::write(&file, "ada=one\n").unwrap();
    assert_eq!(watched.event().admitted, 1);
    assert!(watched.admits_user("ada", "one"));
}

#[test]
fn what_is_gone_for_a_moment_only_is_not_gone() {
    // Far longer than a moment, also where this test is not run for a while.
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
fn nothing_is_loaded_again_once_it_is_forgotten_or_nobody_watches_any_more() {
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
fn an_unreadable_file_means_nobody() {
    // A directory in its place: root reads every file, whatever its permissions are.
    let watched = watched();
    let file = watched.dir.path().join("passwords");
    fs::write(&file, "ada=one\n").unwrap();
    watched.reload.plain_file("*", &file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(
        watched.event().troubles[..],
        [ReloadTrouble::FileGone(_)]
    ));
    assert!(!watched.admits_user("ada", "one"));
}

#[cfg(unix)]
mod permissions {
    use super::*;
    use crate::unprivileged::{chmod, unprivileged};

    #[test]
    fn a_password_file_that_may_no_longer_be_read_means_nobody_until_it_may() {
        unprivileged(
            "permissions::a_password_file_that_may_no_longer_be_read_means_nobody_until_it_may",
            || {
                let watched = watched();
                let file = watched.dir.path().join("passwords");
                fs::write(&file, "ada=one\n").unwrap();
                watched.reload.plain_file("*", &file).unwrap();
                assert!(watched.admits_user("ada", "one"));
                chmod(&file, 0o000);
                assert!(matches!(
                    watched.event().troubles[..],
                    [ReloadTrouble::FileGone(_)]
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
            "permissions::a_certificate_that_may_no_longer_be_read_withdraws_its_key_and_a_directory_all",
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
                chmod(&keys, 0o000);
                assert_eq!(watched.event().admitted, 0);
                assert!(!watched.admits_key(bob));
                chmod(keys.as_path(), 0o700);
                assert_eq!(watched.event().admitted, 1);
                assert!(!watched.admits_key(ada) && watched.admits_key(bob));
            },
        );
    }
}
