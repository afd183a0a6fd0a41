//! Commands: names, and the commands of traffic, which encode to the same bytes.
#![forbid(unsafe_code)]

use bytes::Bytes;
use zmtp_auth::wire::command::{Command, MAX_PING_CONTEXT, TrafficCommand};

/// All of `data` is a command's body.
pub fn run(data: &[u8]) {
    let split = data
        .split_first()
        .filter(|(len, _)| **len > 0)
        .and_then(|(&len, rest)| rest.split_at_checked(len.into()));
    let command = Command::parse(data);
    assert_eq!(
        command
            .as_ref()
            .ok()
            .map(|command| (command.name, command.data)),
        split
    );
    for name in ["READY", "HELLO", "ERROR"] {
        let expected = split.filter(|(found, _)| *found == name.as_bytes());
        let found = Command::expect(data, name);
        assert_eq!(found.as_ref().ok(), expected.map(|(_, data)| data).as_ref());
        if let Err(error) = found {
            assert!(!error.to_string().contains(char::is_control));
        }
    }
    let Ok(command) = command else {
        return;
    };
    let parsed = TrafficCommand::parse(&Bytes::copy_from_slice(data));
    let is_good = match command.name {
        b"PING" => (2..=2 + MAX_PING_CONTEXT).contains(&command.data.len()),
        b"PONG" => command.data.len() <= MAX_PING_CONTEXT,
        _ => true,
    };
    assert_eq!(parsed.is_ok(), is_good);
    if let Ok(parsed) = parsed {
        let is_known = matches!(command.name, b"PING" | b"PONG" | b"SUBSCRIBE" | b"CANCEL");
        assert_eq!(
            parsed.encode(),
            is_known.then(|| Bytes::copy_from_slice(data))
        );
    }
}
