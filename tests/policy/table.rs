//! The Authenticator decides by every row of pyzmq's table, with its texts, and follows pyzmq's
//! documentation where its code differs.

use crate::log_lines;
use crate::poll_once::{now, poll};
use bytes::Bytes;
use proptest::strategy::Strategy;
use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::Level;
use zmtp_auth::auth::{AddressRuleError, Authenticator, CurveQuestion, ProviderAnswer};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    AccessRequest, Credentials, DenialStatus, Domain, Limits, Metadata, Password, PeerAddress,
    PublicKey, Verdict,
};

const KEY: &[u8] = &[7; 32];
const OTHER_KEY: &[u8] = &[8; 32];

fn key(bytes: &[u8]) -> PublicKey {
    PublicKey::from_bytes(bytes.try_into().unwrap()).unwrap()
}

/// A request from `address` in `domain`; `rest` is mechanism and credentials.
fn frames(domain: &[u8], address: &[u8], rest: &[&[u8]]) -> Vec<Bytes> {
    [&b"1.0"[..], b"42", domain, address, b"identity"]
        .iter()
        .chain(rest)
        .map(|frame| Bytes::copy_from_slice(frame))
        .collect()
}

fn raw(auth: &Authenticator, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
    now(auth.handle_zap_message(frames))
}

type Reply = (String, String, Bytes);

fn reply(frames: [Bytes; 6]) -> Reply {
    let [version, id, status, text, user_id, _metadata] = frames;
    assert_eq!((&version[..], &id[..]), (&b"1.0"[..], &b"42"[..]));
    let string = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (string(status), string(text), user_id)
}

fn ask_from(auth: &Authenticator, address: &[u8], domain: &[u8], rest: &[&[u8]]) -> Reply {
    reply(raw(auth, frames(domain, address, rest)).unwrap())
}

fn ask(auth: &Authenticator, domain: &str, rest: &[&[u8]]) -> Reply {
    ask_from(auth, b"127.0.0.1", domain.as_bytes(), rest)
}

fn null(auth: &Authenticator, address: &str) -> Reply {
    ask_from(auth, address.as_bytes(), b"", &[b"NULL"])
}

fn plain(auth: &Authenticator, domain: &str, name: &str, password: &str) -> Reply {
    ask(
        auth,
        domain,
        &[b"PLAIN", name.as_bytes(), password.as_bytes()],
    )
}

fn curve(auth: &Authenticator, domain: &str, key: &[u8]) -> Reply {
    ask(auth, domain, &[b"CURVE", key])
}

fn allowed(user_id: impl Into<Bytes>) -> Reply {
    ("200".into(), "OK".into(), user_id.into())
}

fn refused(text: &str) -> Reply {
    ("400".into(), text.into(), Bytes::new())
}

fn failed(status: &str, text: &str) -> Reply {
    (status.into(), text.into(), Bytes::new())
}

fn z85(key_bytes: &[u8]) -> String {
    key(key_bytes).to_z85()
}

/// Makes a certificate in `directory`. Returns its public key.
fn certificate(directory: &std::path::Path, name: &str) -> PublicKey {
    let (public, _secret) =
        zmtp_auth::cert::create_certificates(directory, name, &[("name", name)]).unwrap();
    zmtp_auth::cert::load_certificate(public)
        .unwrap()
        .public_key()
}

mod rows_of_the_table {
    use super::*;

    #[test]
    fn row_1_fewer_than_two_frames_get_no_reply_and_the_service_goes_on() {
        let auth = Authenticator::new();
        assert_eq!(raw(&auth, vec![]), None);
        assert_eq!(raw(&auth, vec!["1.0".into()]), None);
        assert_eq!(null(&auth, "127.0.0.1"), allowed("anonymous"));
    }

    #[test]
    fn row_2_two_to_five_frames_are_not_enough() {
        let auth = Authenticator::new();
        let whole = frames(b"", b"127.0.0.1", &[]);
        for count in 2..=5 {
            let short = whole[..count].to_vec();
            assert_eq!(
                reply(raw(&auth, short).unwrap()),
                refused("Not enough frames")
            );
        }
    }

    #[test]
    fn row_3_other_versions_are_invalid() {
        let auth = Authenticator::new();
        for version in ["", "1.1", "1.0 ", "2.0"] {
            let mut frames = frames(b"", b"127.0.0.1", &[b"NULL"]);
            frames[0] = version.into();
            assert_eq!(
                reply(raw(&auth, frames).unwrap()),
                refused("Invalid version")
            );
        }
    }

    #[test]
    fn row_4_an_address_that_is_not_on_the_allow_list_is_refused() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1"]).unwrap();
        assert_eq!(null(&auth, "127.0.0.2"), refused("Address not allowed"));
        assert_eq!(null(&auth, "127.0.0.1"), allowed("anonymous"));
    }

    #[test]
    fn row_5_an_address_on_the_deny_list_is_refused() {
        let auth = Authenticator::new();
        auth.deny(["127.0.0.1"]).unwrap();
        assert_eq!(null(&auth, "127.0.0.1"), refused("Address denied"));
        assert_eq!(null(&auth, "127.0.0.2"), allowed("anonymous"));
    }

    #[test]
    fn row_6_null_is_anonymous() {
        assert_eq!(
            null(&Authenticator::new(), "127.0.0.1"),
            allowed("anonymous")
        );
    }

    #[test]
    fn row_7_another_number_of_credentials_is_invalid() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("a", "b")]).unwrap();
        auth.configure_curve_any("*");
        for rest in [
            &[&b"PLAIN"[..]][..],
            &[b"PLAIN", b"a"],
            &[b"PLAIN", b"a", b"b", b"c"],
            &[b"CURVE"],
            &[b"CURVE", KEY, KEY],
            &[b"GSSAPI"],
            &[b"GSSAPI", b"a", b"b"],
        ] {
            assert_eq!(
                ask(&auth, "", rest),
                refused("Invalid credentials"),
                "{rest:?}"
            );
        }
    }

    #[test]
    fn rows_8_and_9_plain_tells_what_is_wrong_and_names_the_user() {
        let auth = Authenticator::new();
        assert_eq!(
            plain(&auth, "a", "admin", "secret"),
            refused("No passwords defined")
        );
        auth.configure_plain("a", [("admin", "secret")]).unwrap();
        assert_eq!(
            plain(&auth, "b", "admin", "secret"),
            refused("Invalid domain")
        );
        assert_eq!(
            plain(&auth, "a", "root", "secret"),
            refused("Invalid username")
        );
        assert_eq!(
            plain(&auth, "a", "admin", "wrong"),
            refused("Invalid password")
        );
        assert_eq!(plain(&auth, "a", "admin", "secret"), allowed("admin"));
    }

    #[test]
    fn row_10_any_key_is_admitted_where_any_is_allowed() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        assert_eq!(curve(&auth, "a", KEY), allowed(z85(KEY)));
    }

    #[test]
    fn rows_11_and_13_a_provider_decides_for_its_domain() {
        let auth = Authenticator::new();
        auth.configure_curve_callback("a", |question: CurveQuestion| {
            ready(question.key == key(KEY))
        });
        assert_eq!(curve(&auth, "a", KEY), allowed(z85(KEY)));
        assert_eq!(curve(&auth, "a", OTHER_KEY), refused("Unknown key"));
        assert_eq!(curve(&auth, "b", KEY), refused("Unknown domain"));
    }

    #[test]
    fn rows_12_and_13_a_table_of_keys_rules_its_domain() {
        let auth = Authenticator::new();
        assert_eq!(curve(&auth, "", KEY), refused("Unknown domain"));
        auth.configure_curve_keys("a", [key(KEY)]);
        assert_eq!(curve(&auth, "a", KEY), allowed(z85(KEY)));
        assert_eq!(curve(&auth, "a", OTHER_KEY), refused("Unknown key"));
        assert_eq!(curve(&auth, "b", KEY), refused("Unknown domain"));
    }

    #[test]
    fn rows_12_and_13_a_directory_of_certificates_rules_its_domain_and_gives_metadata() {
        let auth = Authenticator::new();
        let dir = tempfile::tempdir().unwrap();
        let ada = certificate(dir.path(), "ada");
        auth.configure_curve("a", dir.path()).unwrap();
        let asked = frames(b"a", b"127.0.0.1", &[b"CURVE", ada.as_bytes()]);
        let [_, _, status, _, user_id, metadata] = raw(&auth, asked).unwrap();
        assert_eq!((&status[..], user_id), (&b"200"[..], ada.to_z85().into()));
        assert_eq!(metadata, &b"\x04name\0\0\0\x03ada"[..]);
        assert_eq!(curve(&auth, "a", KEY), refused("Unknown key"));
        assert_eq!(curve(&auth, "b", ada.as_bytes()), refused("Unknown domain"));
    }

    #[test]
    fn row_14_gssapi_admits_its_principal() {
        let auth = Authenticator::new();
        auth.configure_gssapi("*");
        assert_eq!(
            ask(&auth, "", &[b"GSSAPI", b"host@EXAMPLE"]),
            allowed("host@EXAMPLE")
        );
    }

    #[test]
    fn row_15_any_other_mechanism_has_no_access() {
        let auth = Authenticator::new();
        for mechanism in [&b""[..], b"null", b"EXTERNAL", b"CURVE\0"] {
            assert_eq!(ask(&auth, "", &[mechanism]), refused("NO ACCESS"));
            assert_eq!(ask(&auth, "", &[mechanism, KEY]), refused("NO ACCESS"));
        }
    }
}

mod order {
    use super::*;

    #[test]
    fn frames_then_version_then_address_then_credentials_then_policy() {
        let auth = Authenticator::new();
        auth.deny(["192.0.2.1"]).unwrap();
        let mut short = frames(b"", b"192.0.2.1", &[]);
        short[0] = "9.9".into();
        assert_eq!(
            reply(raw(&auth, short.clone()).unwrap()),
            refused("Not enough frames")
        );
        short.push("PLAIN".into());
        assert_eq!(
            reply(raw(&auth, short.clone()).unwrap()),
            refused("Invalid version")
        );
        short[0] = "1.0".into();
        assert_eq!(
            reply(raw(&auth, short.clone()).unwrap()),
            refused("Address denied")
        );
        short[3] = "192.0.2.2".into();
        assert_eq!(
            reply(raw(&auth, short.clone()).unwrap()),
            refused("Invalid credentials")
        );
        short.extend(["a".into(), "b".into()]);
        assert_eq!(
            reply(raw(&auth, short).unwrap()),
            refused("No passwords defined")
        );
    }

    #[test]
    fn a_refused_address_never_reaches_a_provider() {
        let auth = Authenticator::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        auth.configure_curve_callback("*", move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            ready(true)
        });
        auth.deny(["127.0.0.1"]).unwrap();
        assert_eq!(curve(&auth, "", KEY), refused("Address denied"));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_listed_address_must_still_authenticate() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1"]).unwrap();
        assert_eq!(plain(&auth, "", "a", "b"), refused("No passwords defined"));
        assert_eq!(curve(&auth, "", KEY), refused("Unknown domain"));
        assert_eq!(ask(&auth, "", &[b"GSSAPI"]), refused("Invalid credentials"));
    }

    #[test]
    fn allow_after_deny_or_the_reverse_is_an_error_and_the_first_list_stays() {
        let denying = Authenticator::new();
        denying.deny(["127.0.0.1"]).unwrap();
        assert_eq!(
            denying.allow(["127.0.0.1"]),
            Err(AddressRuleError::BothLists)
        );
        assert_eq!(null(&denying, "127.0.0.1"), refused("Address denied"));

        let allowing = Authenticator::new();
        allowing.allow(["127.0.0.1"]).unwrap();
        assert_eq!(
            allowing.deny(["127.0.0.1"]),
            Err(AddressRuleError::BothLists)
        );
        assert_eq!(null(&allowing, "127.0.0.1"), allowed("anonymous"));
        assert_eq!(null(&allowing, "::1"), refused("Address not allowed"));
    }

    #[test]
    fn a_list_with_one_bad_rule_is_not_taken_in_part() {
        let auth = Authenticator::new();
        let result = auth.deny(["127.0.0.1", "127.0.0.256"]);
        assert!(matches!(result, Err(AddressRuleError::Address(_))));
        assert_eq!(null(&auth, "127.0.0.1"), allowed("anonymous"));
    }

    #[test]
    fn lists_grow_with_each_call() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1"]).unwrap();
        auth.allow(["127.0.0.2".to_owned()]).unwrap();
        for address in ["127.0.0.1", "127.0.0.2"] {
            assert_eq!(null(&auth, address), allowed("anonymous"));
        }
    }
}

mod divergences {
    use super::*;

    #[test]
    fn claimed_domains_an_emptied_domain_admits_no_peer_until_it_is_unconfigured() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "secret")]).unwrap();
        auth.configure_curve_any("*");
        auth.configure_plain("a", [("admin", "secret")]).unwrap();
        auth.configure_curve_keys("a", [key(KEY)]);

        auth.configure_plain("a", HashMap::<String, String>::new())
            .unwrap();
        auth.configure_curve_keys("a", []);
        assert_eq!(
            plain(&auth, "a", "admin", "secret"),
            refused("Invalid username")
        );
        assert_eq!(curve(&auth, "a", KEY), refused("Unknown key"));

        auth.unconfigure("a");
        assert_eq!(plain(&auth, "a", "admin", "secret"), allowed("admin"));
        assert_eq!(curve(&auth, "a", KEY), allowed(z85(KEY)));
    }

    #[test]
    fn claimed_domains_a_claim_is_for_one_mechanism() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "secret")]).unwrap();
        auth.configure_curve_keys("a", []);
        assert_eq!(plain(&auth, "a", "admin", "secret"), allowed("admin"));
    }

    #[test]
    fn empty_table_admits_no_peer() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("", ""); 0]).unwrap();
        assert_eq!(plain(&auth, "", "", ""), refused("Invalid username"));
    }

    #[test]
    fn principal_bytes_are_echoed() {
        let auth = Authenticator::new();
        assert_eq!(
            ask(&auth, "", &[b"GSSAPI", b"\xFF\xFE"]),
            allowed(&b"\xFF\xFE"[..])
        );
    }

    #[test]
    fn star_covers_all_that_is_not_configured_itself_the_empty_domain_too() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("star", "s")]).unwrap();
        auth.configure_plain("a", [("own", "o")]).unwrap();
        auth.configure_curve_keys("*", [key(KEY)]);
        auth.configure_curve_keys("a", [key(OTHER_KEY)]);
        for domain in ["", "*", "b"] {
            assert_eq!(plain(&auth, domain, "star", "s"), allowed("star"));
            assert_eq!(curve(&auth, domain, KEY), allowed(z85(KEY)));
        }
        assert_eq!(plain(&auth, "a", "own", "o"), allowed("own"));
        assert_eq!(plain(&auth, "a", "star", "s"), refused("Invalid username"));
        assert_eq!(curve(&auth, "a", KEY), refused("Unknown key"));
    }

    #[test]
    fn allow_any_per_domain_opens_that_domain_alone() {
        let auth = Authenticator::new();
        auth.configure_curve_any("open");
        assert_eq!(curve(&auth, "open", KEY), allowed(z85(KEY)));
        assert_eq!(curve(&auth, "closed", KEY), refused("Unknown domain"));
        assert_eq!(curve(&auth, "", KEY), refused("Unknown domain"));
    }

    #[test]
    fn provider_per_domain_leaves_other_domains_alone_and_the_last_call_rules() {
        let auth = Authenticator::new();
        auth.configure_curve_keys("keys", [key(KEY)]);
        auth.configure_curve_callback("asks", |_| ready(false));
        assert_eq!(curve(&auth, "keys", KEY), allowed(z85(KEY)));
        assert_eq!(curve(&auth, "asks", KEY), refused("Unknown key"));
        auth.configure_curve_keys("asks", [key(KEY)]);
        assert_eq!(curve(&auth, "asks", KEY), allowed(z85(KEY)));
        auth.configure_curve_callback("keys", |_| ready(false));
        assert_eq!(curve(&auth, "keys", KEY), refused("Unknown key"));
    }

    #[test]
    fn unknown_mechanism_is_refused_though_an_address_list_passes() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1"]).unwrap();
        assert_eq!(ask(&auth, "", &[b"EXTERNAL"]), refused("NO ACCESS"));
    }

    #[test]
    fn key_length_other_than_32_is_invalid() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        for len in [0, 1, 28, 31, 33, 40, 64] {
            assert_eq!(
                curve(&auth, "", &vec![7; len]),
                refused("Invalid credentials")
            );
        }
    }

    #[test]
    fn canonical_key_another_encoding_of_a_key_is_invalid_though_any_key_may_come() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        let mut key: [u8; 32] = KEY.try_into().unwrap();
        assert_eq!(curve(&auth, "", &key), allowed(z85(&key)));
        key[31] |= 0x80;
        assert_eq!(curve(&auth, "", &key), refused("Invalid credentials"));
        // p + 2, a second encoding, and the point 0, whose shared secret is public.
        let mut number = [0xFF; 32];
        (number[0], number[31]) = (0xEF, 0x7F);
        for key in [number, [0; 32]] {
            assert_eq!(curve(&auth, "", &key), refused("Invalid credentials"));
        }
    }

    #[test]
    fn null_credentials_are_invalid() {
        let auth = Authenticator::new();
        for rest in [&[&b"NULL"[..], b""][..], &[b"NULL", b"a", b"b"]] {
            assert_eq!(ask(&auth, "", rest), refused("Invalid credentials"));
        }
    }

    #[test]
    fn provider_error_is_300_for_that_request_and_the_service_goes_on() {
        let auth = Authenticator::new();
        auth.configure_curve_callback("fails", |_| ready(Err::<bool, _>("database is away")));
        auth.configure_curve_callback("later", |_| ready(ProviderAnswer::TemporaryFailure));
        auth.configure_curve_callback("panics", |question: CurveQuestion| {
            assert!(question.key != key(KEY), "in the call");
            async move {
                assert!(question.key != key(OTHER_KEY), "while polled");
                true
            }
        });
        for (domain, asked, text) in [
            ("fails", KEY, "Provider failed"),
            ("later", KEY, "Provider cannot decide now"),
            ("panics", KEY, "Provider failed"),
            ("panics", OTHER_KEY, "Provider failed"),
        ] {
            assert_eq!(curve(&auth, domain, asked), failed("300", text));
        }
        assert_eq!(curve(&auth, "panics", &[9; 32]), allowed(z85(&[9; 32])));
    }

    #[test]
    fn exceptions_are_500_for_that_request_and_the_service_goes_on() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        auth.set_curve_user_id(|asked: &PublicKey| -> String {
            assert!(*asked != key(KEY), "in the mapping");
            "mapped".into()
        });
        assert_eq!(curve(&auth, "", KEY), failed("500", "Internal error"));
        assert_eq!(auth.curve_user_id(&key(KEY)), None);
        assert_eq!(curve(&auth, "", OTHER_KEY), allowed("mapped"));
    }

    #[test]
    fn load_failure_is_an_error_and_the_domain_keeps_its_keys_at_first_none() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs");
        assert!(auth.configure_curve("a", &certs).is_err());
        assert_eq!(curve(&auth, "a", KEY), refused("Unknown key"));

        std::fs::create_dir(&certs).unwrap();
        let ada = certificate(&certs, "ada");
        assert!(
            auth.configure_curve("a", &certs)
                .unwrap()
                .problems
                .is_empty()
        );
        assert_eq!(curve(&auth, "a", ada.as_bytes()), allowed(ada.to_z85()));

        std::fs::remove_dir_all(&certs).unwrap();
        assert!(auth.configure_curve("a", &certs).is_err());
        assert_eq!(curve(&auth, "a", ada.as_bytes()), allowed(ada.to_z85()));
    }

    #[test]
    fn load_failure_of_one_file_is_reported_and_the_others_count() {
        let auth = Authenticator::new();
        let dir = tempfile::tempdir().unwrap();
        let ada = certificate(dir.path(), "ada");
        std::fs::write(dir.path().join("bad.key"), "no certificate").unwrap();
        let report = auth.configure_curve("*", dir.path()).unwrap();
        assert_eq!(report.problems[0].0, dir.path().join("bad.key"));
        assert_eq!(curve(&auth, "", ada.as_bytes()), allowed(ada.to_z85()));
    }

    #[test]
    fn allow_any_a_directory_that_is_called_star_opens_nothing() {
        let auth = Authenticator::new();
        assert!(auth.configure_curve("*", "*").is_err());
        assert_eq!(curve(&auth, "", KEY), refused("Unknown key"));
    }

    #[test]
    fn after_stop_everyone_is_refused_until_the_next_start() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        auth.configure_plain("*", [("a", "b")]).unwrap();
        auth.stop();
        let stopped = failed("300", "Authenticator stopped");
        assert_eq!(null(&auth, "127.0.0.1"), stopped);
        assert_eq!(curve(&auth, "", KEY), stopped);
        assert_eq!(plain(&auth, "", "a", "b"), stopped);
        assert_eq!(ask(&auth, "", &[b"GSSAPI", b"a"]), stopped);
        auth.start();
        assert_eq!(curve(&auth, "", KEY), allowed(z85(KEY)));
    }

    #[test]
    fn serial_no_more_a_hanging_provider_holds_up_no_other_and_is_bounded() {
        let mut limits = Limits::default();
        limits.max_pending_verdicts = 1;
        let auth = Authenticator::with_limits(&limits);
        auth.configure_curve_callback("hangs", |_| pending::<bool>());
        auth.configure_curve_any("quick");
        let asked = frames(b"hangs", b"127.0.0.1", &[b"CURVE", KEY]);
        let mut hanging = Box::pin(auth.handle_zap_message(asked));
        assert!(poll(hanging.as_mut()).is_pending());
        assert_eq!(curve(&auth, "quick", KEY), allowed(z85(KEY)));
        assert_eq!(
            curve(&auth, "hangs", KEY),
            failed("300", "Too many requests")
        );
        drop(hanging);
        let asked = frames(b"hangs", b"127.0.0.1", &[b"CURVE", KEY]);
        assert!(poll(auth.handle_zap_message(asked)).is_pending());
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn serial_no_more_a_provider_that_takes_too_long_is_300() {
        let auth = Authenticator::new();
        auth.configure_curve_callback("*", |_| pending::<bool>());
        let asked = frames(b"", b"127.0.0.1", &[b"CURVE", KEY]);
        let frames = auth.handle_zap_message(asked).await.unwrap();
        assert_eq!(reply(frames), failed("300", "Provider timed out"));
    }

    #[test]
    fn lossy_text_no_more_names_and_domains_are_bytes() {
        let auth = Authenticator::new();
        auth.configure_plain(Domain::new(&b"\xFF"[..]), [(&b"\xFE"[..], &b"\xFD"[..])])
            .unwrap();
        let ask = |domain: &[u8], name: &[u8], password: &[u8]| {
            ask_from(&auth, b"127.0.0.1", domain, &[b"PLAIN", name, password])
        };
        let replacement = "\u{FFFD}".as_bytes();
        assert_eq!(ask(b"\xFF", b"\xFE", b"\xFD"), allowed(&b"\xFE"[..]));
        assert_eq!(ask(b"\xFE", b"\xFE", b"\xFD"), refused("Invalid domain"));
        assert_eq!(
            ask(replacement, b"\xFE", b"\xFD"),
            refused("Invalid domain")
        );
        assert_eq!(
            ask(b"\xFF", replacement, b"\xFD"),
            refused("Invalid username")
        );
        assert_eq!(
            ask(b"\xFF", b"\xFE", replacement),
            refused("Invalid password")
        );
    }

    #[test]
    fn addresses_are_parsed() {
        let auth = Authenticator::new();
        auth.allow(["127.0.0.1", "10.0.0.0/8", "uid:1000"]).unwrap();
        for address in [
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "10.1.2.3",
            "::ffff:10.1.2.3",
            "localhost:1000:1:2",
        ] {
            assert_eq!(null(&auth, address), allowed("anonymous"), "{address}");
        }
        for address in [
            "127.0.0.2",
            "11.0.0.1",
            "localhost:0:1000:1000",
            "",
            "uid:1000",
        ] {
            assert_eq!(
                null(&auth, address),
                refused("Address not allowed"),
                "{address}"
            );
        }
    }
}

/// All `tracing` events of `run`.
fn logged(run: impl FnOnce()) -> String {
    log_lines::listen();
    run();
    log_lines::take(Level::TRACE).concat()
}

mod further {
    use super::*;

    #[test]
    fn a_provider_sees_the_whole_request_and_may_name_the_user() {
        let auth = Authenticator::new();
        auth.configure_curve_callback("a", |question: CurveQuestion| async move {
            assert_eq!(question.domain, Domain::from("a"));
            assert_eq!(question.address, PeerAddress::from_zap(b"127.0.0.1"));
            assert_eq!(question.identity, "identity");
            let mut metadata = Metadata::new();
            metadata.push("department", "7")?;
            Ok::<_, zmtp_auth::PropertyError>(ProviderAnswer::YesAs {
                user_id: "ada".into(),
                metadata,
            })
        });
        let asked = frames(b"a", b"127.0.0.1", &[b"CURVE", KEY]);
        let [_, _, status, _, user_id, metadata] = raw(&auth, asked).unwrap();
        assert_eq!((&status[..], &user_id[..]), (&b"200"[..], &b"ada"[..]));
        assert_eq!(metadata, &b"\x0adepartment\0\0\0\x017"[..]);
    }

    #[test]
    fn what_no_reply_may_carry_is_500() {
        let auth = Authenticator::new();
        auth.configure_curve_any("*");
        auth.set_curve_user_id(|_| vec![b'u'; 256]);
        assert_eq!(curve(&auth, "", KEY), failed("500", "Internal error"));

        auth.configure_curve_callback("*", |_| async {
            let mut metadata = Metadata::new();
            metadata.push("Socket-Type", "PUB").unwrap();
            ProviderAnswer::YesAs {
                user_id: "u".into(),
                metadata,
            }
        });
        assert_eq!(curve(&auth, "", KEY), failed("500", "Internal error"));
    }

    #[test]
    fn user_ids_of_keys_can_be_mapped() {
        let auth = Authenticator::new();
        assert_eq!(auth.curve_user_id(&key(KEY)).unwrap(), z85(KEY));
        auth.configure_curve_keys("*", [key(KEY)]);
        auth.set_curve_user_id(|key: &PublicKey| format!("user-{}", key.as_bytes()[0]));
        assert_eq!(curve(&auth, "", KEY), allowed("user-7"));
        assert_eq!(curve(&auth, "", OTHER_KEY), refused("Unknown key"));
        assert_eq!(auth.curve_user_id(&key(OTHER_KEY)).unwrap(), "user-8");
    }

    #[test]
    fn an_envelope_comes_back_in_front_of_the_reply() {
        let auth = Authenticator::new();
        let mut message: Vec<Bytes> = vec!["proxy".into(), "socket".into(), "".into()];
        message.extend(frames(b"", b"127.0.0.1", &[b"NULL"]));
        let answer = now(auth.handle_zap_envelope(message)).unwrap();
        assert_eq!(answer[..3], ["proxy", "socket", ""]);
        assert_eq!(answer[3..7], ["1.0", "42", "200", "OK"]);
        assert_eq!(answer.len(), 9);

        assert_eq!(now(auth.handle_zap_envelope(vec!["1.0".into()])), None);
        assert_eq!(
            now(auth.handle_zap_envelope(vec!["".into(), "1.0".into()])),
            None
        );
    }

    #[test]
    fn through_the_router_the_verdict_is_that_of_the_table() {
        let auth = Authenticator::new();
        auth.configure_plain("a", [("admin", "secret")]).unwrap();
        let router = ZapRouter::new();
        router.bind("*", auth.clone()).unwrap();
        let ask = |password: &str| {
            let credentials = Credentials::Plain {
                username: "admin".into(),
                password: Password::from(password),
            };
            let address = PeerAddress::from_zap(b"127.0.0.1");
            now(router.authorize(&AccessRequest::new("a", address, credentials)))
        };
        match ask("secret") {
            Verdict::Allow(approval) => assert_eq!(approval.user_id, "admin"),
            Verdict::Deny(denied) => panic!("{denied}"),
        }
        match ask("wrong") {
            Verdict::Deny(denied) => {
                assert_eq!(denied.status, DenialStatus::Failure);
                assert_eq!(denied.reason, "Invalid password");
            }
            Verdict::Allow(_) => panic!("admitted"),
        }
    }

    #[test]
    fn a_provider_may_change_the_policy_even_when_it_is_dropped() {
        struct Reopens(Authenticator);
        impl Drop for Reopens {
            fn drop(&mut self) {
                self.0.configure_curve_any("reopened");
            }
        }
        let auth = Authenticator::new();
        let reopens = Reopens(auth.clone());
        auth.configure_curve_callback("a", move |_| {
            let _held = &reopens;
            ready(false)
        });
        auth.unconfigure("a");
        assert_eq!(curve(&auth, "reopened", KEY), allowed(z85(KEY)));
    }

    #[test]
    fn plaintext_log_no_more_events_show_no_password_and_no_name_of_the_refused() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "hunter2")]).unwrap();
        let log = logged(|| {
            assert_eq!(plain(&auth, "", "admin", "hunter2"), allowed("admin"));
            assert_eq!(
                plain(&auth, "", "admin", "hunter3"),
                refused("Invalid password")
            );
            assert_eq!(
                plain(&auth, "", "hunter2", "admin"),
                refused("Invalid username")
            );
            assert_eq!(
                ask(&auth, "", &[b"PLAIN", b"hunter2"]),
                refused("Invalid credentials")
            );
        });
        assert!(log.contains("peer allowed") && log.contains("Invalid username"));
        assert!(!log.contains("hunter"), "{log}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "hunter2")]).unwrap();
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_frames_never_panic_and_never_admit_a_stranger(
        frames in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::prelude::Just(Bytes::from_static(b"1.0")),
                proptest::prelude::Just(Bytes::from_static(b"PLAIN")),
                proptest::prelude::Just(Bytes::from_static(b"CURVE")),
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)
                    .prop_map(Bytes::from),
            ],
            0..10,
        ),
    ) {
        use proptest::prelude::*;
        let auth = Authenticator::new();
        auth.configure_plain("*", [("admin", "secret")]).unwrap();
        auth.configure_curve_keys("*", [key(KEY)]);
        let id = frames.get(1).cloned();
        if let Some(reply) = raw(&auth, frames) {
            prop_assert_eq!(Some(&reply[1]), id.as_ref());
            prop_assert_eq!(&reply[2][..], &b"400"[..]);
        }
    }
}
