//! Keys, domains, address rules and mechanisms as serde reads and writes them.

use proptest::prelude::*;
use zmtp_auth::auth::AddressRule;
use zmtp_auth::{Domain, KeyPair, MechanismKind, PeerAddress, PublicKey};

fn read_back<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn keys_rules_and_mechanisms_are_their_texts() {
    let key = KeyPair::generate().unwrap().public_key();
    assert_eq!(serde_json::to_value(key).unwrap(), key.to_z85());
    assert_eq!(read_back(&key), key);
    for text in [
        "192.0.2.1",
        "10.0.0.0/8",
        "fe80::1%eth0",
        "uid:1000",
        "localhost:1:2:3",
    ] {
        let rule: AddressRule = text.parse().unwrap();
        assert_eq!(serde_json::to_value(&rule).unwrap(), text);
        assert_eq!(read_back(&rule), rule);
    }
    for kind in [
        MechanismKind::Null,
        MechanismKind::Plain,
        MechanismKind::Curve,
        MechanismKind::Gssapi,
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        assert_eq!(read_back(&kind), kind);
        assert_eq!(kind.name().parse(), Ok(kind));
    }
}

#[test]
fn bad_input_is_an_error_that_says_what_is_expected() {
    fn error<T: serde::de::DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        serde_json::from_str::<T>(json).unwrap_err().to_string()
    }
    assert!(error::<PublicKey>("\"short\"").contains("40"));
    assert!(error::<PublicKey>(&format!("\"{}\"", "0".repeat(40))).contains("low order"));
    assert!(error::<AddressRule>("\"10.0.0.1/8\"").contains("10.0.0.0/8"));
    assert!(error::<AddressRule>("\"localhost\"").contains("no host name"));
    assert!(error::<MechanismKind>("\"null\"").contains("NULL"));
    assert!(error::<Domain>("\"a\\\\n\"").contains("backslash"));
    assert!(error::<Domain>("7").contains("string"));
}

#[test]
fn a_rule_without_a_text_is_not_written_as_another_rule() {
    for address in [&b"\xFF"[..], b"10.0.0.1:80", b"a\nb", b""] {
        let rule = AddressRule::exactly(PeerAddress::from_zap(address));
        assert!(serde_json::to_string(&rule).is_err(), "{rule:?}");
    }
}

proptest! {
    #[test]
    fn every_domain_reads_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        let domain = Domain::from(name);
        prop_assert_eq!(read_back(&domain), domain);
    }
}
