//! pyzmq's `tests/test_auth.py` for our listener and Authenticator with libzmq clients. Then the
//! cases that it leaves out: named domains, unknown keys, load errors, restarts, failing providers,
//! malformed requests, ipc and IPv6.

use crate::peer;

use bytes::Bytes;
use peer::{CLIENT_PUBLIC, Context, Options, SERVER_PUBLIC, SERVER_SECRET, Security};
use std::future::{Future, ready};
use std::path::Path;
use zmtp_auth::auth::{Authenticator, CurveQuestion, PlainQuestion};
use zmtp_auth::cert::{create_certificates, load_certificate};
use zmtp_auth::net::{Event, Listener};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    Authorizing, Config, DenialStatus, Domain, Error, KeyPair, PublicKey, SecretKey, SocketType,
};

const TCP: &str = "tcp://127.0.0.1:*";

/// A client's outcome: its user id, or the status and the reason in our log.
type Outcome = Result<String, (DenialStatus, String)>;

fn admitted(user_id: &str) -> Outcome {
    Ok(user_id.to_owned())
}

fn refused(reason: &str) -> Outcome {
    Err((DenialStatus::Failure, reason.to_owned()))
}

fn failed() -> Outcome {
    Err((DenialStatus::Temporary, "Provider failed".to_owned()))
}

#[derive(Clone, Copy)]
enum Mechanism {
    Null,
    Plain,
    Curve,
}

fn config(mechanism: Mechanism, domain: &str) -> Config<Authorizing> {
    let builder = Config::builder(SocketType::Pull);
    let domain = Domain::new(Bytes::copy_from_slice(domain.as_bytes()));
    match mechanism {
        Mechanism::Null => builder.null().authorize(domain),
        Mechanism::Plain => builder.plain_server().authorize(domain),
        Mechanism::Curve => {
            let secret = SecretKey::from_z85(SERVER_SECRET).unwrap();
            let keys = KeyPair::from_secret(secret);
            builder.curve_server(keys).authorize(domain)
        }
    }
    .finish()
    .unwrap()
}

async fn bind(auth: &Authenticator, mechanism: Mechanism, domain: &str, to: &str) -> Listener {
    let router = ZapRouter::new();
    router.bind(Domain::ALL, auth.clone()).unwrap();
    Listener::bind(to, (config(mechanism, domain), router))
        .await
        .unwrap()
}

/// Connects a libzmq client. An admitted client gets a message through.
async fn knock_at(listener: &Listener, security: Security<'_>) -> Outcome {
    let context = Context::new().await;
    let options = Options::new(security).set("IPV6", 1);
    let endpoint = listener.local_endpoint().to_string();
    let push = context.connected("PUSH", options, &endpoint).await;
    match listener.next_event().await.unwrap() {
        Event::Accepted(mut connection) => {
            push.send(&["hello".into()]).await;
            let message = connection.recv_message().await.unwrap();
            assert_eq!(message.frames(), [Bytes::from("hello")]);
            let peer = connection.peer().authenticated.clone().unwrap();
            Ok(String::from_utf8(peer.user_id.to_vec()).unwrap())
        }
        Event::Refused(refusal) => match refusal.error.protocol() {
            Some(Error::Denied(denied)) => Err((denied.status, denied.reason.clone())),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn knock(auth: &Authenticator, mechanism: Mechanism, security: Security<'_>) -> Outcome {
    knock_at(&bind(auth, mechanism, "", TCP).await, security).await
}

async fn plain(auth: &Authenticator, username: &str, password: &str) -> Outcome {
    let security = Security::PlainClient { username, password };
    knock(auth, Mechanism::Plain, security).await
}

async fn curve(auth: &Authenticator) -> Outcome {
    knock(auth, Mechanism::Curve, Security::CURVE_CLIENT).await
}

fn client_key() -> PublicKey {
    PublicKey::from_z85(CLIENT_PUBLIC).unwrap()
}

/// A directory with the certificate of the client whose keys are in libzmq's manual.
fn with_client(directory: &Path) {
    let text = format!("metadata\ncurve\n    public-key = \"{CLIENT_PUBLIC}\"\n");
    std::fs::write(directory.join("client.key"), text).unwrap();
}

/// The cases of `test_auth.py`, in its order.
mod as_in_pyzmq {
    use super::*;

    #[tokio::test]
    async fn null_is_admitted_where_nothing_is_configured_and_with_a_domain() {
        let auth = Authenticator::new();
        for domain in ["", "global"] {
            let listener = bind(&auth, Mechanism::Null, domain, TCP).await;
            assert_eq!(
                knock_at(&listener, Security::Null).await,
                admitted("anonymous")
            );
        }
    }

    #[tokio::test]
    async fn a_deny_list_refuses_the_address() {
        let auth = Authenticator::new();
        auth.deny(["127.0.0.1"]).unwrap();
        let outcome = knock(&auth, Mechanism::Null, Security::Null).await;
        assert_eq!(outcome, refused("Address denied"));
    }

    #[tokio::test]
    async fn an_allow_list_admits_the_address_and_excludes_a_deny_list() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1"]).unwrap();
        assert!(auth.deny(["127.0.0.2"]).is_err());
        let outcome = knock(&auth, Mechanism::Null, Security::Null).await;
        assert_eq!(outcome, admitted("anonymous"));
    }

    #[tokio::test]
    async fn plain_refuses_every_peer_before_it_is_configured() {
        let outcome = plain(&Authenticator::new(), "admin", "Password").await;
        assert_eq!(outcome, refused("No passwords defined"));
    }

    #[tokio::test]
    async fn plain_admits_the_right_password() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "Password")]).unwrap();
        assert_eq!(plain(&auth, "admin", "Password").await, admitted("admin"));
    }

    #[tokio::test]
    async fn plain_refuses_a_bogus_password() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "Password")]).unwrap();
        assert_eq!(
            plain(&auth, "admin", "Bogus").await,
            refused("Invalid password")
        );
    }

    #[tokio::test]
    async fn curve_refuses_every_peer_before_it_is_configured() {
        assert_eq!(
            curve(&Authenticator::new()).await,
            refused("Unknown domain")
        );
    }

    #[tokio::test]
    async fn curve_admits_any_key_where_any_is_allowed() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        assert_eq!(curve(&auth).await, admitted(CLIENT_PUBLIC));
    }

    #[tokio::test]
    async fn curve_admits_a_certificate_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        with_client(dir.path());
        let auth = Authenticator::new();
        auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(curve(&auth).await, admitted(CLIENT_PUBLIC));
    }

    #[tokio::test]
    async fn curve_refuses_a_key_that_is_not_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Authenticator::new();
        auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(curve(&auth).await, refused("Unknown key"));
    }

    #[tokio::test]
    async fn a_provider_admits_and_refuses_be_it_async_or_not() {
        for (known, outcome) in [
            (client_key(), admitted(CLIENT_PUBLIC)),
            (
                PublicKey::from_z85(SERVER_PUBLIC).unwrap(),
                refused("Unknown key"),
            ),
        ] {
            let auth = Authenticator::new();
            auth.configure_curve_callback("*", move |question: CurveQuestion| async move {
                tokio::task::yield_now().await;
                question.key == known
            });
            assert_eq!(curve(&auth).await, outcome);
            auth.configure_curve_callback_blocking("*", move |question: CurveQuestion| {
                question.key == known
            });
            assert_eq!(curve(&auth).await, outcome);
        }
    }

    #[tokio::test]
    async fn the_user_id_is_the_key_or_what_the_mapping_says() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        assert_eq!(curve(&auth).await, admitted(CLIENT_PUBLIC));
        auth.set_curve_user_id(|key: &PublicKey| format!("user of {}", key.to_z85()));
        let expected = format!("user of {CLIENT_PUBLIC}");
        assert_eq!(curve(&auth).await, admitted(&expected));
    }
}

/// What `test_auth.py` leaves out.
mod beyond_pyzmq {
    use super::*;

    #[tokio::test]
    async fn a_named_domain_is_ruled_by_its_own_configuration() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("star", "s")]).unwrap();
        auth.configure_plain("own", [("ada", "a")]).unwrap();
        let (star, ada) = (("star", "s"), ("ada", "a"));
        for (domain, (username, password), outcome) in [
            ("own", ada, admitted("ada")),
            ("own", star, refused("Invalid username")),
            ("other", star, admitted("star")),
            ("other", ada, refused("Invalid username")),
        ] {
            let listener = bind(&auth, Mechanism::Plain, domain, TCP).await;
            let security = Security::PlainClient { username, password };
            assert_eq!(
                knock_at(&listener, security).await,
                outcome,
                "{domain} {username}"
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_key_becomes_known_when_its_directory_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let (other, _) = create_certificates(dir.path(), "other", &[]).unwrap();
        assert!(load_certificate(other).is_ok());
        let auth = Authenticator::new();
        auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(curve(&auth).await, refused("Unknown key"));
        with_client(dir.path());
        auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(curve(&auth).await, admitted(CLIENT_PUBLIC));
    }

    #[tokio::test]
    async fn a_domain_whose_directory_cannot_be_loaded_admits_no_peer() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        assert!(auth.configure_curve("", dir.path().join("absent")).is_err());
        assert_eq!(curve(&auth).await, refused("Unknown key"));
    }

    #[tokio::test]
    async fn a_directory_with_a_bad_file_admits_the_good_ones() {
        let dir = tempfile::tempdir().unwrap();
        with_client(dir.path());
        std::fs::write(dir.path().join("bad.key"), "curve\n").unwrap();
        let auth = Authenticator::new();
        let report = auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(report.problems.len(), 1);
        assert_eq!(curve(&auth).await, admitted(CLIENT_PUBLIC));
    }

    #[tokio::test]
    async fn a_stopped_authenticator_refuses_and_a_restarted_one_admits_the_same_client() {
        let auth = Authenticator::new();
        auth.stop();
        let stopped = Err((DenialStatus::Temporary, "Authenticator stopped".to_owned()));
        let listener = bind(&auth, Mechanism::Null, "", TCP).await;
        assert_eq!(knock_at(&listener, Security::Null).await, stopped);
        auth.start();
        assert_eq!(
            knock_at(&listener, Security::Null).await,
            admitted("anonymous")
        );
    }

    async fn fails_for_one_and_serves_the_next<F>(auth: &Authenticator, ask: impl Fn() -> F)
    where
        F: Future<Output = Outcome>,
    {
        assert_eq!(ask().await, failed());
        auth.configure_curve_any("*");
        auth.configure_plain("*", [("ada", "a")]).unwrap();
        assert!(ask().await.is_ok());
    }

    #[tokio::test]
    async fn a_provider_that_fails_or_panics_costs_that_client_alone() {
        let auth = Authenticator::new();
        auth.configure_curve_callback("*", |_: CurveQuestion| {
            ready(Err::<bool, _>("the database is away"))
        });
        fails_for_one_and_serves_the_next(&auth, || curve(&auth)).await;
        auth.configure_plain_callback("*", |question: PlainQuestion| async move {
            assert!(question.username != "ada", "deliberate");
            true
        });
        fails_for_one_and_serves_the_next(&auth, || plain(&auth, "ada", "a")).await;
    }

    #[tokio::test]
    async fn a_malformed_request_is_answered_and_the_next_client_served() {
        let auth = Authenticator::new();
        let listener = bind(&auth, Mechanism::Null, "", TCP).await;
        for request in [
            &["1.0"][..],
            &["1.0", "1", ""],
            &["2.0", "1", "", "::1", "", "NULL"],
        ] {
            let frames = request.iter().copied().map(Bytes::from).collect();
            let reply = auth.handle_zap_message(frames).await;
            assert!(reply.is_none_or(|reply| reply[2] == "400"));
        }
        assert_eq!(
            knock_at(&listener, Security::Null).await,
            admitted("anonymous")
        );
    }

    #[tokio::test]
    async fn an_ipv6_client_is_matched_by_its_address() {
        let auth = Authenticator::new();
        let listener = bind(&auth, Mechanism::Null, "", "tcp://[::1]:*").await;
        auth.allow(["::1"]).unwrap();
        assert_eq!(
            knock_at(&listener, Security::Null).await,
            admitted("anonymous")
        );
        let auth = Authenticator::new();
        let listener = bind(&auth, Mechanism::Null, "", "tcp://[::1]:*").await;
        auth.deny(["::/64"]).unwrap();
        assert_eq!(
            knock_at(&listener, Security::Null).await,
            refused("Address denied")
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_ipc_client_is_matched_by_its_user() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let user = std::fs::metadata(dir.path()).unwrap().uid();
        for (number, (rule, outcome)) in [
            (format!("uid:{user}"), admitted("anonymous")),
            (format!("uid:{}", user + 1), refused("Address not allowed")),
        ]
        .into_iter()
        .enumerate()
        {
            let auth = Authenticator::new();
            auth.allow([rule]).unwrap();
            let endpoint = format!("ipc://{}/{number}", dir.path().display());
            let listener = bind(&auth, Mechanism::Null, "", &endpoint).await;
            assert_eq!(knock_at(&listener, Security::Null).await, outcome);
        }
    }

    #[tokio::test]
    async fn a_hashed_password_admits_a_libzmq_client() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwords");
        // The password `secret`, hashed by the reference implementation of argon2.
        let hash = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5LzeVGGgdolhHzjGHA6qSDNYHLw5RyGqPPxPFSSG6tI";
        std::fs::write(&file, format!("ada={hash}\n")).unwrap();
        let auth = Authenticator::new();
        auth.configure_plain_file("*", &file).unwrap();
        assert_eq!(plain(&auth, "ada", "secret").await, admitted("ada"));
        assert_eq!(plain(&auth, "ada", hash).await, refused("Invalid password"));
    }
}
