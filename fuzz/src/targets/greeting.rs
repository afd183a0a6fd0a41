//! The greeting, judged at every prefix.
#![forbid(unsafe_code)]

use zmtp_auth::wire::greeting::{GREETING_LEN, Greeting, mechanism_name};

/// All of `data` is what a peer has sent.
pub fn run(data: &[u8]) {
    let whole = Greeting::parse(data);
    for len in 0..data.len().min(GREETING_LEN) {
        match Greeting::parse(&data[..len]) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a greeting of {len} bytes"),
            Err(error) => {
                assert_eq!(whole, Err(error.clone()), "more bytes change the refusal");
                assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
    let Ok(Some(greeting)) = whole else {
        return;
    };
    assert!(
        data[0] == 0xFF && data[9] & 1 == 1 && data[10] >= 3,
        "not ZMTP 3"
    );
    for name in ["NULL", "PLAIN", "CURVE"] {
        let is_ours = greeting.require(name).is_ok();
        assert_eq!(is_ours, data[12..32] == mechanism_name(name));
        if let Err(error) = greeting.require(name) {
            assert!(!error.to_string().contains(char::is_control));
        }
    }
    assert_eq!(greeting.is_zmtp_3_0(), data[10..12] == [3, 0]);
}
