//! `MessageReader` and `MessageWriter`: messages over the buffers of a host.

use crate::parties::*;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use zmtp_auth::host::{MessageReader, MessageWriter, Secured, TrafficError};
use zmtp_auth::traffic::frames::FrameWriter;
use zmtp_auth::traffic::{Incoming, Message, Outgoing};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Error, LimitExceeded, Limits, Security, SocketType};

async fn secured(one: &Security, other: &Security) -> (Secured, Secured) {
    let (one, other) = both(one, other, 4096).await;
    (one.unwrap(), other.unwrap())
}

/// A PUSH with CURVE, and its PULL.
async fn curve_pair(router: zmtp_auth::zap::ZapRouter) -> (Secured, Secured) {
    let limits = Limits::default().with_max_message(10_000);
    let (client, server) = curve(router, &limits);
    secured(&client, &server).await
}

/// A peer whose frames are made by hand, and our reader and writer.
async fn by_hand(
    theirs: SocketType,
    ours: SocketType,
) -> (FrameWriter, MessageReader, MessageWriter) {
    let (one, other) = secured(&null(theirs), &null(ours)).await;
    let (reader, writer) = other.into_messages();
    (
        FrameWriter::new(one.into_established().sealer),
        reader,
        writer,
    )
}

fn message(text: &'static str) -> Incoming {
    Incoming::Message(text.into())
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_halves_may_be_in_different_tasks() {
    fn half<T: std::fmt::Debug + Send + Sync + 'static>() {}
    half::<MessageReader>();
    half::<MessageWriter>();
    half::<TrafficError>();
}

#[tokio::test]
async fn messages_cross_whole_wherever_the_bytes_are_cut() {
    for step in [1, 7, 100, usize::MAX] {
        let (push, pull) = curve_pair(admits()).await;
        let (_, mut writer) = push.into_messages();
        let (mut reader, _writer) = pull.into_messages();
        assert_eq!(writer.peer().claims.socket_type, Some(SocketType::Pull));
        assert_eq!(reader.peer().user_id().unwrap(), "alice");
        let mut sent = Vec::new();
        let mut out = BytesMut::new();
        for size in [0, 1, 60, 3000, 10_000] {
            let messages = [
                Message::from(vec![7; size]),
                ["a", "", "b"].into(),
                (0..40).map(|_| "part").collect(),
            ];
            sent.extend(messages.clone());
            writer.write_many(messages, &mut out).unwrap();
        }
        writer.write(Message::from("last"), &mut out).unwrap();
        sent.push("last".into());
        let mut got = Vec::new();
        let mut input = BytesMut::new();
        while !out.is_empty() {
            input.extend_from_slice(&out.split_to(step.min(out.len())));
            while let Some(incoming) = reader.read(&mut input).unwrap() {
                got.push(incoming.into_message().unwrap());
            }
        }
        assert_eq!(got, sent);
        assert!(input.is_empty());
    }
}

#[tokio::test]
async fn what_came_before_a_violation_is_read_and_its_cause_stays() {
    let (push, pull) = curve_pair(admits()).await;
    let (_, mut writer) = push.into_messages();
    let (mut reader, _writer) = pull.into_messages();
    let mut input = BytesMut::new();
    let good = std::iter::repeat_n(Message::from("good"), 20);
    writer.write_many(good, &mut input).unwrap();
    writer
        .write(Message::from(vec![7; 10_001]), &mut input)
        .unwrap();
    writer.write(Message::from("behind"), &mut input).unwrap();
    for _ in 0..20 {
        assert_eq!(reader.read(&mut input), Ok(Some(message("good"))));
    }
    for _ in 0..3 {
        let Err(TrafficError::Failed(Error::Limit(LimitExceeded::Message { limit, .. }))) =
            reader.read(&mut input)
        else {
            panic!("too long");
        };
        assert_eq!(limit, 10_000);
    }
}

#[tokio::test]
async fn a_forged_frame_fails_and_nothing_behind_it_is_read() {
    let (push, pull) = curve_pair(admits()).await;
    let (_, mut writer) = push.into_messages();
    let (mut reader, _writer) = pull.into_messages();
    let mut input = BytesMut::new();
    writer.write(Message::from("good"), &mut input).unwrap();
    writer.write(Message::from("forged"), &mut input).unwrap();
    *input.last_mut().unwrap() ^= 1;
    writer.write(Message::from("behind"), &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("good"))));
    for _ in 0..2 {
        let failed = reader.read(&mut input);
        assert!(
            matches!(failed, Err(TrafficError::Failed(Error::Crypto(_)))),
            "{failed:?}"
        );
    }
    let io = std::io::Error::from(reader.read(&mut input).unwrap_err());
    assert_eq!(io.kind(), std::io::ErrorKind::InvalidData);
}

/// The issuer of this grant tells no one, so the next batch finds the end.
#[tokio::test]
async fn a_revoked_peer_is_neither_heard_nor_answered() {
    let admission = Admission::new();
    let (push, pull) = curve_pair(admission.router()).await;
    let (_, mut writer) = push.into_messages();
    let (mut reader, mut answers) = pull.into_messages();
    let mut input = BytesMut::new();
    let many = std::iter::repeat_n(Message::from("queued"), 100);
    writer.write_many(many, &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("queued"))));
    admission.end();
    let mut heard = 0;
    while let Ok(incoming) = reader.read(&mut input) {
        assert!(incoming.is_some());
        heard += 1;
    }
    assert!(heard < 16, "the rest of one batch: {heard}");
    for _ in 0..2 {
        assert_eq!(reader.read(&mut input), Err(TrafficError::Revoked));
    }
    let mut out = BytesMut::new();
    let sent = answers.write(Message::from("answer"), &mut out);
    assert_eq!(sent, Err(TrafficError::Revoked));
    assert_eq!(answers.write_replies(&mut out), Err(TrafficError::Revoked));
    assert!(out.is_empty());
}

/// An Authenticator tells at once, so not even the rest of the batch is heard.
#[tokio::test]
async fn a_revocation_drops_messages_that_are_opened_already() {
    let auth = zmtp_auth::auth::Authenticator::new();
    auth.configure_curve_any("*");
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    let (push, pull) = curve_pair(router).await;
    let (_, mut writer) = push.into_messages();
    let (mut reader, answers) = pull.into_messages();
    let mut input = BytesMut::new();
    let many = std::iter::repeat_n(Message::from("queued"), 10);
    writer.write_many(many, &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("queued"))));
    assert!(input.is_empty(), "all of them are opened");
    auth.deny(["192.0.2.1"]).unwrap();
    assert_eq!(reader.read(&mut input), Err(TrafficError::Revoked));
    drop((reader, answers));
    assert_eq!(auth.live_grants(), 0);
}

fn ping(number: u8) -> [u8; 8] {
    [4, b'P', b'I', b'N', b'G', 0, 0, number]
}

/// The PONGs in these bytes, by the numbers of their PINGs.
fn pongs(out: &[u8]) -> Vec<u8> {
    let frames = out.chunks(8);
    frames
        .map(|frame| {
            assert_eq!(frame[..7], *b"\x04\x06\x04PONG");
            frame[7]
        })
        .collect()
}

#[tokio::test]
async fn a_peer_that_sends_pings_without_reading_the_answers_is_held_up() {
    let (mut peer, mut reader, mut writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    let mut input = BytesMut::new();
    for number in 0..20 {
        peer.write(Flags::Command, &ping(number), &mut input)
            .unwrap();
    }
    peer.write(Flags::Last, b"behind", &mut input).unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let cx = &mut Context::from_waker(&waker);
    assert!(writer.poll_replies_ready(cx).is_pending());
    assert!(reader.poll_not_held_up(cx).is_ready());
    assert_eq!(reader.read(&mut input), Ok(None));
    assert!(reader.is_held_up());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "the writer is woken");
    assert!(writer.poll_replies_ready(cx).is_ready());
    assert!(reader.poll_not_held_up(cx).is_pending());
    assert_eq!(reader.read(&mut input), Ok(None));

    let mut out = BytesMut::new();
    writer.write_replies(&mut out).unwrap();
    assert_eq!(pongs(&out), (0..16).collect::<Vec<_>>());
    assert_eq!(wakes.0.load(Ordering::SeqCst), 2, "the reader is woken");
    // A host that asks only now reads again, for there are frames in its buffer.
    assert!(reader.is_held_up());
    assert!(reader.poll_not_held_up(cx).is_ready());
    assert_eq!(reader.read(&mut input), Ok(Some(message("behind"))));
    assert!(!reader.is_held_up());
    out.clear();
    // The answers stand before the next message.
    writer.write(Message::from("next"), &mut out).unwrap();
    let (answers, next) = out.split_at(4 * 8);
    assert_eq!(pongs(answers), [16, 17, 18, 19]);
    assert_eq!(next, b"\0\x04next");
    assert!(writer.poll_replies_ready(cx).is_pending());
}

/// A host with a single loop, as the guide shows it.
async fn echo(
    (mut reader, mut writer): (MessageReader, MessageWriter),
    stream: DuplexStream,
) -> std::io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut messages = VecDeque::new();
    loop {
        while let Some(incoming) = reader.read(&mut input)? {
            messages.extend(incoming.into_message_3_0());
        }
        if out.is_empty() {
            writer.write_replies(&mut out)?;
            if reader.is_held_up() {
                continue;
            }
        }
        if out.is_empty()
            && let Some(message) = messages.pop_front()
        {
            writer.write(message, &mut out)?;
        }
        input.reserve(reader.wanted(&input).max(4096));
        tokio::select! {
            read = from.read_buf(&mut input), if !reader.is_held_up() => if read? == 0 {
                return Ok(());
            },
            written = to.write_buf(&mut out), if !out.is_empty() => { written?; }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_loop_answers_every_ping_of_a_peer_that_first_reads_none() {
    let (mut peer, reader, writer) = by_hand(SocketType::Dealer, SocketType::Dealer).await;
    let mut pings = BytesMut::new();
    for number in 0..200 {
        peer.write(Flags::Command, &ping(number), &mut pings)
            .unwrap();
    }
    peer.write(Flags::Last, b"behind", &mut pings).unwrap();
    let (ours, theirs) = tokio::io::duplex(64);
    let host = tokio::spawn(echo((reader, writer), ours));
    let (mut from, mut to) = tokio::io::split(theirs);
    // The host stops reading, because its answers are not taken.
    let stuck = tokio::time::timeout(Duration::from_millis(50), to.write_all_buf(&mut pings)).await;
    assert!(stuck.is_err(), "all was read");
    let mut answers = vec![0; 200 * 8 + 8];
    tokio::try_join!(to.write_all_buf(&mut pings), from.read_exact(&mut answers)).unwrap();
    let (answers, echoed) = answers.split_at(200 * 8);
    assert_eq!(pongs(answers), (0..200).collect::<Vec<_>>());
    assert_eq!(echoed, b"\0\x06behind");
    drop((from, to));
    host.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_ping_of_our_own_follows_the_answers_and_is_answered() {
    let (one, other) = secured(&null(SocketType::Push), &null(SocketType::Pull)).await;
    let (mut reader, mut writer) = one.into_messages();
    let (mut peer_reader, mut peer_writer) = other.into_messages();
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    let seconds = Duration::from_secs;
    for (ttl, announced) in [(seconds(0), 0), (seconds(3), 30), (seconds(100), 655)] {
        writer.write_ping(ttl, &mut there).unwrap();
        let [high, low] = u16::to_be_bytes(announced);
        assert_eq!(there[..], [4, 7, 4, b'P', b'I', b'N', b'G', high, low]);
        assert_eq!(peer_reader.read(&mut there), Ok(None));
        peer_writer.write_ping(ttl, &mut back).unwrap();
        assert!(back.starts_with(b"\x04\x05\x04PONG\x04\x07\x04PING"));
        assert_eq!(reader.read(&mut back), Ok(None));
        writer.write_replies(&mut there).unwrap();
        assert_eq!(there[..], *b"\x04\x05\x04PONG");
        assert_eq!(peer_reader.read(&mut there), Ok(None));
    }
}

#[tokio::test]
async fn a_reader_without_its_writer_is_never_held_up() {
    let (mut peer, mut reader, writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    let mut input = BytesMut::new();
    for number in 0..40 {
        peer.write(Flags::Command, &ping(number), &mut input)
            .unwrap();
    }
    peer.write(Flags::Last, b"behind", &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(None));
    {
        let mut waiting = pin!(reader.not_held_up());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = &mut Context::from_waker(&waker);
        assert!(waiting.as_mut().poll(cx).is_pending());
        drop(writer);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!(waiting.poll(cx), Poll::Ready(()));
    }
    assert_eq!(reader.read(&mut input), Ok(Some(message("behind"))));
}

#[tokio::test]
async fn a_command_between_the_frames_of_a_message_does_not_cut_it() {
    let (mut peer, mut reader, mut writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    let mut input = BytesMut::new();
    peer.write(Flags::More, b"a", &mut input).unwrap();
    peer.write(Flags::Command, &ping(1), &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(None));
    peer.write(Flags::Last, b"b", &mut input).unwrap();
    let whole = Incoming::Message(["a", "b"].into());
    assert_eq!(reader.read(&mut input), Ok(Some(whole)));
    let mut out = BytesMut::new();
    writer.write_replies(&mut out).unwrap();
    assert_eq!(pongs(&out), [1]);
}

#[tokio::test]
async fn subscriptions_cross_as_commands_and_as_messages_of_zmtp_3_0() {
    let (subscriber, publisher) = secured(&null(SocketType::Sub), &null(SocketType::Xpub)).await;
    let (_, mut writer) = subscriber.into_messages();
    let (mut reader, _writer) = publisher.into_messages();
    let mut input = BytesMut::new();
    // A host that handles subscriptions as messages.
    for frame in ["\x01topic", "\0topic"] {
        let outgoing = Outgoing::from_message_3_0(frame.into());
        writer.write(outgoing, &mut input).unwrap();
    }
    assert!(input.starts_with(b"\x04\x0f\x09SUBSCRIBEtopic"));
    let subscribed = reader.read(&mut input).unwrap().unwrap();
    assert_eq!(subscribed, Incoming::Subscribe(Bytes::from("topic")));
    assert_eq!(subscribed.into_message_3_0(), Some("\x01topic".into()));
    let unsubscribed = reader.read(&mut input).unwrap().unwrap();
    assert_eq!(unsubscribed.into_message_3_0(), Some("\0topic".into()));
    assert_eq!(reader.read(&mut input), Ok(None));
}

#[tokio::test]
async fn a_socket_that_receives_nothing_reads_nothing() {
    let (mut peer, mut reader, _writer) = by_hand(SocketType::Pull, SocketType::Push).await;
    let mut input = BytesMut::new();
    peer.write(Flags::More, b"x", &mut input).unwrap();
    peer.write(Flags::Last, b"y", &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(None));
    assert!(input.is_empty());
}
