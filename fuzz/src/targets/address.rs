//! Addresses of peers and address rules, text to value and back.
#![forbid(unsafe_code)]

use zmtp_auth::PeerAddress;
use zmtp_auth::auth::AddressRule;

/// `data` is an address frame, and the text of a rule.
pub fn run(data: &[u8]) {
    let address = PeerAddress::from_zap(data);
    assert_eq!(PeerAddress::from_zap(&address.to_zap()), address);
    assert!(!format!("{address}").contains(char::is_control));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let rule = match text.parse::<AddressRule>() {
        Ok(rule) => rule,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return;
        }
    };
    assert_eq!(
        rule.to_string().parse::<AddressRule>(),
        Ok(rule.clone()),
        "{rule}"
    );
    let is_several = text.contains('/')
        || ["uid:", "gid:", "pid:"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
    assert!(
        is_several || rule == AddressRule::exactly(address),
        "{rule}"
    );
}
