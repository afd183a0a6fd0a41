//! Keys with a validity are admitted within it, and their admissions end with it.

use crate::poll_once::poll;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use zmtp_auth::auth::{AdmissionTerms, Authenticator};
use zmtp_auth::cert::CertificateErrorKind;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    AccessRequest, Credentials, DenialStatus, Denied, Domain, Grant, Limits, PeerAddress,
    PublicKey, Verdict,
};

/// 2027-01-31T12:00:00Z.
const NOON: u64 = 1_801_396_800;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// An Authenticator with a clock that the test sets, and its directory of certificates.
struct Server {
    auth: Authenticator,
    router: ZapRouter,
    clock: Arc<AtomicU64>,
    certificates: TempDir,
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32]).unwrap()
}

/// Writes a certificate file with any content.
fn write(directory: &Path, file: &str, key: PublicKey, metadata: &[(&str, &str)]) {
    let mut text = "metadata\n".to_owned();
    for (name, value) in metadata {
        text += &format!("    {name} = \"{value}\"\n");
    }
    text += &format!("curve\n    public-key = \"{}\"\n", key.to_z85());
    std::fs::write(directory.join(file), text).unwrap();
}

impl Server {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(NOON));
        let shown = Arc::clone(&clock);
        Self::with_clock(clock, move || at(shown.load(Ordering::SeqCst)))
    }

    fn with_clock(
        clock: Arc<AtomicU64>,
        shown: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let auth = Authenticator::with_clock(&Limits::default(), shown);
        let router = ZapRouter::new();
        router.bind("*", auth.clone()).unwrap();
        Self {
            auth,
            router,
            clock,
            certificates: tempfile::tempdir().unwrap(),
        }
    }

    fn set(&self, second: u64) {
        self.clock.store(second, Ordering::SeqCst);
    }

    /// Loads a directory with this one certificate.
    #[track_caller]
    fn certificate(&self, key: PublicKey, metadata: &[(&str, &str)]) {
        write(self.certificates.path(), "a.key", key, metadata);
        let report = self.load();
        assert!(report.problems.is_empty(), "{report:?}");
    }

    fn load(&self) -> zmtp_auth::cert::DirectoryReport {
        self.auth
            .configure_curve("*", self.certificates.path())
            .unwrap()
    }

    fn ask(&self, key: PublicKey) -> Result<Grant, Denied> {
        let address = PeerAddress::from_zap(b"::1");
        let request = AccessRequest::new(Domain::EMPTY, address, Credentials::Curve { key });
        match poll(self.router.authorize(&request)) {
            Poll::Ready(Verdict::Allow(approval)) => Ok(approval.grant.unwrap()),
            Poll::Ready(Verdict::Deny(denied)) => Err(denied),
            Poll::Pending => panic!("not decided"),
        }
    }

    #[track_caller]
    fn refused(&self, key: PublicKey, status: DenialStatus, reason: &str) {
        let denied = self.ask(key).unwrap_err();
        assert_eq!((denied.status, &denied.reason[..]), (status, reason));
    }
}

fn valid_until(grant: &Grant) -> Option<SystemTime> {
    grant.terms::<AdmissionTerms>().unwrap().valid_until()
}

const BEFORE: (&str, &str) = ("not-before", "2027-01-31T12:00:00Z");
/// Ten minutes later.
const AFTER: (&str, &str) = ("not-after", "2027-01-31T13:10:00+01:00");
const END: u64 = NOON + 600;

#[test]
fn a_key_is_admitted_from_its_first_moment_and_up_to_its_last() {
    let server = Server::new();
    server.certificate(key(1), &[BEFORE, AFTER]);
    server.set(NOON - 1);
    server.refused(key(1), DenialStatus::Temporary, "Key not valid yet");
    for second in [NOON, END - 1] {
        server.set(second);
        assert!(server.ask(key(1)).unwrap().still_valid());
    }
    for second in [END, END + 1_000_000] {
        server.set(second);
        server.refused(key(1), DenialStatus::Failure, "Key expired");
    }
    server.refused(key(2), DenialStatus::Failure, "Unknown key");
}

#[test]
fn either_end_may_be_open_and_without_dates_a_key_counts_for_ever() {
    let server = Server::new();
    server.set(NOON - 1);
    server.certificate(key(1), &[AFTER]);
    assert_eq!(valid_until(&server.ask(key(1)).unwrap()), Some(at(END)));
    server.certificate(key(1), &[BEFORE]);
    server.refused(key(1), DenialStatus::Temporary, "Key not valid yet");
    server.set(u64::from(u32::MAX));
    assert_eq!(valid_until(&server.ask(key(1)).unwrap()), None);
    server.certificate(key(1), &[("name", "ada")]);
    assert_eq!(valid_until(&server.ask(key(1)).unwrap()), None);
}

#[test]
fn a_certificate_with_a_bad_date_is_a_problem_and_admits_no_peer() {
    for (metadata, reason) in [
        (
            &[("not-after", "next year")][..],
            CertificateErrorKind::Date,
        ),
        (&[("not-before", "2027-01-31")], CertificateErrorKind::Date),
        (&[("not-after", "")], CertificateErrorKind::Date),
        (
            &[("notAfter", "2027-01-31T12:00:00Z")],
            CertificateErrorKind::ValidityLikeName,
        ),
        (
            &[("not-before", AFTER.1), ("not-after", BEFORE.1)],
            CertificateErrorKind::NeverValid,
        ),
    ] {
        let server = Server::new();
        write(server.certificates.path(), "bad.key", key(1), metadata);
        write(server.certificates.path(), "good.key", key(2), &[AFTER]);
        let report = server.load();
        assert_eq!(report.problems.len(), 1, "{metadata:?}");
        assert_eq!(
            report.problems[0].0,
            server.certificates.path().join("bad.key")
        );
        assert_eq!(report.problems[0].1.reason, reason, "{metadata:?}");
        server.refused(key(1), DenialStatus::Failure, "Unknown key");
        assert!(server.ask(key(2)).is_ok());
    }
}

#[test]
fn a_bad_date_in_the_file_that_counts_leaves_no_earlier_file_in_force() {
    let server = Server::new();
    write(server.certificates.path(), "a.key", key(1), &[]);
    write(
        server.certificates.path(),
        "b.key",
        key(1),
        &[("not-after", "soon")],
    );
    assert_eq!(server.load().problems.len(), 1);
    server.refused(key(1), DenialStatus::Failure, "Unknown key");
    write(server.certificates.path(), "c.key", key(1), &[AFTER]);
    server.load();
    assert_eq!(valid_until(&server.ask(key(1)).unwrap()), Some(at(END)));
}

#[test]
fn bad_dates_are_not_written_in_the_first_place() {
    let certificate = zmtp_auth::cert::Certificate::from(key(1));
    let dated = certificate.with_metadata(BEFORE.0, BEFORE.1).unwrap();
    assert_eq!(
        dated
            .clone()
            .with_metadata("not-after", "soon")
            .unwrap_err(),
        CertificateErrorKind::Date
    );
    assert_eq!(
        dated
            .clone()
            .with_metadata("not-after", BEFORE.1)
            .unwrap_err(),
        CertificateErrorKind::NeverValid
    );
    let validity = dated
        .with_metadata(AFTER.0, AFTER.1)
        .unwrap()
        .validity()
        .unwrap();
    assert_eq!(
        (validity.not_before, validity.not_after),
        (Some(at(NOON)), Some(at(END)))
    );
}

#[test]
fn an_admission_ends_with_the_validity_and_stays_ended_when_the_clock_is_set_back() {
    let server = Server::new();
    server.certificate(key(1), &[AFTER]);
    let grant = server.ask(key(1)).unwrap();
    let mut revoked = Box::pin(grant.revoked());
    assert!(poll(revoked.as_mut()).is_pending());
    server.set(END);
    assert!(!grant.still_valid());
    assert!(poll(revoked).is_ready());
    server.set(NOON);
    assert!(!grant.still_valid());
    assert!(server.ask(key(1)).unwrap().still_valid());
}

#[test]
fn a_renewed_certificate_keeps_its_peers_and_moves_their_end() {
    let server = Server::new();
    server.certificate(key(1), &[BEFORE, AFTER]);
    let grant = server.ask(key(1)).unwrap();
    let renewed = [
        ("not-before", "2027-01-31T11:59:00Z"),
        ("not-after", "2028-01-01T00:00:00Z"),
    ];
    server.certificate(key(1), &renewed);
    server.set(END);
    assert!(grant.still_valid());
    assert!(valid_until(&grant).unwrap() > at(END));
    server.certificate(key(1), &[]);
    assert!(grant.still_valid());
    assert_eq!(valid_until(&grant), None);
}

#[test]
fn a_renewal_after_the_end_comes_too_late_for_peers_that_were_admitted_before() {
    let server = Server::new();
    server.certificate(key(1), &[AFTER]);
    let grant = server.ask(key(1)).unwrap();
    server.set(END);
    server.certificate(key(1), &[]);
    assert!(!grant.still_valid());
    assert!(server.ask(key(1)).unwrap().still_valid());
}

#[test]
fn a_validity_that_is_cut_short_or_moved_ahead_ends_admissions_at_once() {
    for metadata in [
        [("not-after", "2027-01-31T11:00:00Z")],
        [("not-before", "2027-01-31T12:00:01Z")],
    ] {
        let server = Server::new();
        server.certificate(key(1), &[]);
        let grant = server.ask(key(1)).unwrap();
        let mut revoked = Box::pin(grant.revoked());
        assert!(poll(revoked.as_mut()).is_pending());
        server.certificate(key(1), &metadata);
        assert!(poll(revoked).is_ready());
    }
}

#[test]
fn a_clock_that_panics_admits_no_key_with_a_validity_and_spoils_nothing_else() {
    let server = Server::with_clock(Arc::default(), || panic!("no clock"));
    server.certificate(key(1), &[AFTER]);
    server.refused(key(1), DenialStatus::Internal, "Internal error");
    server.certificate(key(1), &[]);
    assert!(server.ask(key(1)).unwrap().still_valid());
}

#[cfg(feature = "tokio")]
mod timers {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use tokio::time::{Instant, sleep, timeout};
    use zmtp_auth::RevocationGuard;

    /// A server whose clock is the runtime's, which moves only with sleeps.
    fn server() -> Server {
        let (clock, start) = (Arc::new(AtomicU64::new(NOON)), Instant::now());
        let shown = Arc::clone(&clock);
        Server::with_clock(clock, move || {
            at(shown.load(Ordering::SeqCst)) + start.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_woken_at_the_end_of_the_validity() {
        let server = server();
        server.certificate(key(1), &[AFTER]);
        let grant = server.ask(key(1)).unwrap();
        let start = Instant::now();
        grant.revoked().await;
        let late = start.elapsed() - Duration::from_secs(600);
        assert!(late < Duration::from_millis(10), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_woken_at_the_new_end_if_it_has_moved() {
        for (not_after, seconds) in [
            ("2027-01-31T12:01:40Z", 100),
            ("2027-01-31T14:00:00Z", 7200),
        ] {
            let server = server();
            server.certificate(key(1), &[AFTER]);
            let grant = server.ask(key(1)).unwrap();
            let waiting = tokio::spawn(async move { grant.revoked().await });
            sleep(Duration::from_secs(50)).await;
            server.certificate(key(1), &[("not-after", not_after)]);
            let start = Instant::now();
            waiting.await.unwrap();
            let late = start.elapsed() + Duration::from_secs(50) - Duration::from_secs(seconds);
            assert!(late < Duration::from_millis(10), "{late:?}");
        }
    }

    /// Whether a function was called.
    fn hook(grant: &Grant) -> (Arc<AtomicBool>, RevocationGuard) {
        let called = Arc::new(AtomicBool::new(false));
        let guard = grant.on_revoked({
            let called = Arc::clone(&called);
            move || called.store(true, Ordering::SeqCst)
        });
        (called, guard)
    }

    /// A change from a thread without a runtime moves the end. The timer is the runtime's still.
    #[tokio::test(start_paused = true)]
    async fn a_function_is_called_at_the_new_end_though_nothing_awaits_it() {
        let server = server();
        server.certificate(key(1), &[AFTER]);
        let (called, _guard) = hook(&server.ask(key(1)).unwrap());
        std::thread::scope(|scope| {
            let change = || server.certificate(key(1), &[("not-after", "2027-01-31T12:01:40Z")]);
            scope.spawn(change).join().unwrap();
        });
        sleep(Duration::from_secs(99)).await;
        assert!(!called.load(Ordering::SeqCst));
        sleep(Duration::from_secs(2)).await;
        assert!(called.load(Ordering::SeqCst));
    }

    #[test]
    fn a_function_is_called_when_its_runtime_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let server = Server::new();
        server.certificate(key(1), &[AFTER]);
        let (called, _guard) = runtime.block_on(async { hook(&server.ask(key(1)).unwrap()) });
        assert!(!called.load(Ordering::SeqCst));
        drop(runtime);
        assert!(called.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_forward_is_noticed_within_a_minute() {
        let server = server();
        server.certificate(key(1), &[AFTER]);
        let grant = server.ask(key(1)).unwrap();
        server.set(END);
        timeout(Duration::from_secs(61), grant.revoked())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_end_there_is_nothing_to_wait_for() {
        let server = server();
        server.certificate(key(1), &[BEFORE]);
        let grant = server.ask(key(1)).unwrap();
        let year = Duration::from_secs(365 * 86400);
        assert!(timeout(year, grant.revoked()).await.is_err());
    }
}
