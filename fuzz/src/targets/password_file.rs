//! Password files: a file that loads admits exactly the users and passwords that it names.
#![forbid(unsafe_code)]

use crate::policy_model::now;
use crate::targets::file::Scratch;
use std::collections::HashMap;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::zap::{RequestId, ZapHandler, ZapRequest};
use zmtp_auth::{AccessRequest, Credentials, Domain, Password, PeerAddress, Status};

/// All of `data` is the content of a file.
pub fn run(data: &[u8]) {
    let auth = Authenticator::new();
    let loaded = Scratch::with(|scratch| {
        let path = scratch.write("passwords", data);
        auth.configure_plain_file("*", path)
    });
    let users = entries(data);
    // Verifying a hash takes too long here.
    if data.windows(2).any(|two| two == b"=$") {
        return;
    }
    match loaded {
        Err(error) => {
            assert_eq!(users, None, "{error}");
            let line = error.line.expect("the reason lies in a line");
            assert!(line <= data.split(|&byte| byte == b'\n').count());
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
        Ok(_) => assert!(users.is_some(), "what the model refuses"),
    }
    let users = users.unwrap_or_default();
    for (&name, &password) in users.iter().take(8) {
        assert!(admits(&auth, name, password));
        let wrong = [password, b"!"].concat();
        assert!(!admits(&auth, name, &wrong));
    }
    for name in [&b""[..], b"unknown", b"#", b"=", b" "] {
        let expected = users.get(name).is_some_and(|password| password.is_empty());
        assert_eq!(admits(&auth, name, b""), expected);
    }
}

fn admits(auth: &Authenticator, name: &[u8], password: &[u8]) -> bool {
    let credentials = Credentials::Plain {
        username: name.to_vec().into(),
        password: Password::new(password),
    };
    let address = PeerAddress::from_zap(b"127.0.0.1");
    let asked = AccessRequest::new(Domain::EMPTY, address, credentials);
    let reply = now(auth.handle(ZapRequest::new(RequestId::from(1), &asked)));
    reply.status == Status::Success
}

/// Names and passwords by a second implementation, or `None` if the file is not valid.
fn entries(data: &[u8]) -> Option<HashMap<&[u8], &[u8]>> {
    let mut users = HashMap::new();
    if data.starts_with(b"\xEF\xBB\xBF") {
        return None;
    }
    for line in data.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\r') || line.contains(&0) {
            return None;
        }
        if line.first() == Some(&b'#') || line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let equals = line.iter().position(|&byte| byte == b'=')?;
        let (name, password) = (&line[..equals], &line[equals + 1..]);
        let has_blank = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
        if has_blank(name.first()) || has_blank(name.last()) {
            return None;
        }
        if name.iter().any(u8::is_ascii_control) || name.len().max(password.len()) > 255 {
            return None;
        }
        if users.insert(name, password).is_some() {
            return None;
        }
    }
    Some(users)
}
