//! Address lists for all domains and for one: how they combine, and how rules are removed.

use bytes::Bytes;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use zmtp_auth::auth::{AddressRule, AddressRuleError, Authenticator};
use zmtp_auth::{IpcPeer, PeerAddress};

/// The text of the reply to a NULL peer.
fn ask(auth: &Authenticator, domain: &str, address: &str) -> String {
    let frames = ["1.0", "1", domain, address, "", "NULL"];
    let frames = frames.map(|frame| Bytes::copy_from_slice(frame.as_bytes()));
    match pin!(auth.handle_zap_message(frames.into())).poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Some(reply)) => String::from_utf8(reply[3].to_vec()).unwrap(),
        _ => panic!("not decided"),
    }
}

#[track_caller]
fn check(auth: &Authenticator, domain: &str, open: &[&str], closed: &[&str]) {
    for address in open {
        assert_eq!(ask(auth, domain, address), "OK", "{domain:?} {address}");
    }
    for address in closed {
        assert_ne!(ask(auth, domain, address), "OK", "{domain:?} {address}");
    }
}

const INSIDE: &str = "10.0.0.1";
const OUTSIDE: &str = "192.0.2.1";
const IPC: &str = "localhost:1000:100:4711";

#[test]
fn an_allow_list_shrinks_rule_by_rule_and_emptied_it_admits_no_peer() {
    let auth = Authenticator::new();
    auth.allow(["10.0.0.0/8", OUTSIDE]).unwrap();
    let list = auth.addresses();
    assert_eq!(list.remove_allowed([OUTSIDE, "192.0.2.9"]), Ok(1));
    check(&auth, "", &[INSIDE], &[OUTSIDE, IPC]);
    // Only the block itself is a rule. An address inside it cannot be removed.
    assert_eq!(list.remove_allowed([INSIDE]), Ok(0));
    check(&auth, "", &[INSIDE], &[]);
    assert_eq!(list.remove_allowed(["10.0.0.0/8"]), Ok(1));
    check(&auth, "", &[], &[INSIDE, OUTSIDE, IPC]);
    assert_eq!(auth.deny([OUTSIDE]), Err(AddressRuleError::BothLists));

    list.clear();
    check(&auth, "", &[INSIDE, OUTSIDE, IPC], &[]);
    auth.deny([OUTSIDE]).unwrap();
    check(&auth, "", &[INSIDE, IPC], &[OUTSIDE]);
}

#[test]
fn a_deny_list_shrinks_rule_by_rule_and_emptied_it_is_gone() {
    let auth = Authenticator::new();
    auth.deny(["uid:1000", OUTSIDE]).unwrap();
    let list = auth.addresses();
    assert_eq!(list.remove_denied(["uid:1000"]), Ok(1));
    check(&auth, "", &[INSIDE, IPC], &[OUTSIDE]);
    assert_eq!(list.remove_allowed([OUTSIDE]), Ok(0));
    check(&auth, "", &[], &[OUTSIDE]);
    assert_eq!(list.remove_denied([OUTSIDE, OUTSIDE]), Ok(1));
    check(&auth, "", &[INSIDE, OUTSIDE, IPC], &[]);
    auth.allow([INSIDE]).unwrap();
    check(&auth, "", &[INSIDE], &[OUTSIDE]);
}

#[test]
fn a_rule_is_removed_by_any_spelling_that_makes_the_same_rule() {
    let auth = Authenticator::new();
    auth.deny(["127.0.0.1", "::ffff:10.0.0.0/104", "2001:db8::1"])
        .unwrap();
    let spelt = ["::ffff:127.0.0.1", "10.0.0.0/8", "2001:DB8:0:0::1"];
    assert_eq!(auth.addresses().remove_denied(spelt), Ok(3));
    check(&auth, "", &["127.0.0.1", INSIDE, "2001:db8::1"], &[]);
}

#[test]
fn a_mistyped_rule_takes_nothing_away() {
    let auth = Authenticator::new();
    auth.deny([OUTSIDE, INSIDE]).unwrap();
    let result = auth.addresses().remove_denied([OUTSIDE, "10.0.0.256"]);
    assert!(matches!(result, Err(AddressRuleError::Address(_))));
    check(&auth, "", &[], &[OUTSIDE, INSIDE]);
}

#[test]
fn a_domains_own_list_rules_that_domain_and_the_list_of_star_the_others() {
    let auth = Authenticator::new();
    auth.addresses_of("a").allow(["10.0.0.0/8"]).unwrap();
    auth.addresses_of("*").deny([INSIDE]).unwrap();
    check(&auth, "a", &[INSIDE], &[OUTSIDE]);
    for domain in ["", "b", "*"] {
        check(&auth, domain, &[OUTSIDE], &[INSIDE]);
    }
    // Without a list of its own, `a` follows the list of `*`.
    auth.addresses_of("a").clear();
    check(&auth, "a", &[OUTSIDE], &[INSIDE]);
}

#[test]
fn looking_for_a_rule_or_adding_none_gives_a_domain_no_list_of_its_own() {
    let auth = Authenticator::new();
    auth.addresses_of("*").deny([OUTSIDE]).unwrap();
    let list = auth.addresses_of("a");
    list.allow(Vec::<AddressRule>::new()).unwrap();
    assert_eq!(list.remove_denied([OUTSIDE]), Ok(0));
    assert_eq!(list.remove_allowed([OUTSIDE]), Ok(0));
    check(&auth, "a", &[INSIDE], &[OUTSIDE]);
    list.deny([INSIDE]).unwrap();
    assert_eq!(list.remove_denied([INSIDE]), Ok(1));
    check(&auth, "a", &[INSIDE], &[OUTSIDE]);
}

#[test]
fn the_list_for_all_comes_first_and_no_domains_list_opens_what_it_closes() {
    let auth = Authenticator::new();
    auth.deny([OUTSIDE]).unwrap();
    auth.addresses_of("a").allow([OUTSIDE, IPC]).unwrap();
    assert_eq!(ask(&auth, "a", OUTSIDE), "Address denied");
    assert_eq!(ask(&auth, "a", INSIDE), "Address not allowed");
    check(&auth, "a", &[IPC], &[]);
    check(&auth, "b", &[INSIDE, IPC], &[OUTSIDE]);
}

#[test]
fn one_list_excludes_the_other_in_each_scope_by_itself() {
    let auth = Authenticator::new();
    auth.deny([OUTSIDE]).unwrap();
    let list = auth.addresses_of("a");
    list.allow([INSIDE]).unwrap();
    assert_eq!(list.deny([INSIDE]), Err(AddressRuleError::BothLists));
    check(&auth, "a", &[INSIDE], &[OUTSIDE, IPC]);
}

#[test]
fn what_cannot_be_read_is_refused_wherever_a_deny_list_applies() {
    const UNREADABLE: [&str; 7] = [
        "192.0.2.66:5555",
        "192.0.2.66 ",
        "[2001:db8::66]",
        "192.0.2.066",
        "localhost:1000:100",
        "fe80::1%",
        "",
    ];
    let auth = Authenticator::new();
    check(&auth, "a", &UNREADABLE, &[]);
    auth.addresses_of("a").deny(["192.0.2.66"]).unwrap();
    check(&auth, "a", &[INSIDE, IPC], &UNREADABLE);
    check(&auth, "b", &UNREADABLE, &[]);
    auth.deny(["192.0.2.66"]).unwrap();
    for domain in ["a", "b", ""] {
        check(&auth, domain, &[INSIDE, IPC], &UNREADABLE);
        assert_eq!(ask(&auth, domain, ""), "Address denied");
    }
    // An exact rule still matches it.
    let exactly = PeerAddress::from_zap(b"elsewhere");
    auth.addresses().clear();
    auth.addresses_of("b").allow([exactly]).unwrap();
    check(&auth, "b", &["elsewhere"], &UNREADABLE);
}

#[cfg(target_os = "linux")]
#[test]
fn a_zone_by_name_is_the_zone_by_number_that_our_own_sockets_tell() {
    let peer = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 5555, 0, 1);
    let peer = PeerAddress::from(std::net::SocketAddr::from(peer));
    let (by_number, by_name) = (peer.to_string(), "fe80::1%lo".to_owned());
    for rule in [&by_number, &by_name] {
        let auth = Authenticator::new();
        auth.addresses_of("deny").deny([rule]).unwrap();
        auth.addresses_of("allow").allow([rule]).unwrap();
        for address in [&by_number, &by_name] {
            check(&auth, "deny", &[], &[address]);
            check(&auth, "allow", &[address], &[]);
        }
        check(
            &auth,
            "deny",
            &["fe80::1%2", "fe80::2%1"],
            &["fe80::1%no-such0", "fe80::1"],
        );
        check(
            &auth,
            "allow",
            &[],
            &["fe80::1%2", "fe80::1%no-such0", "fe80::1"],
        );
    }
}

#[test]
fn unconfigure_leaves_address_lists_alone() {
    let auth = Authenticator::new();
    auth.addresses_of("a").deny([OUTSIDE]).unwrap();
    auth.unconfigure("a");
    check(&auth, "a", &[INSIDE], &[OUTSIDE]);
}

#[test]
fn ipc_peers_are_told_apart_by_user_group_and_process_in_each_scope() {
    let auth = Authenticator::new();
    auth.addresses_of("user").allow(["uid:1000"]).unwrap();
    auth.addresses_of("group").allow(["gid:100"]).unwrap();
    auth.addresses_of("process").allow(["pid:4711"]).unwrap();
    let exactly = PeerAddress::Ipc(IpcPeer {
        uid: 1000,
        gid: 100,
        pid: None,
    });
    auth.addresses_of("exactly").allow([exactly]).unwrap();
    let other = "localhost:0:0:1";
    for domain in ["user", "group", "process"] {
        check(&auth, domain, &[IPC], &[other, "127.0.0.1", "uid:1000"]);
    }
    check(&auth, "exactly", &["localhost:1000:100:"], &[IPC, other]);
}
