//! `MessageReader` and `MessageWriter`: messages over the buffers of a host.

use crate::parties::*;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use zmtp_auth::host::{MessageReader, MessageWriter, RepliesReady, Secured, TrafficError};
use zmtp_auth::traffic::frames::FrameWriter;
use zmtp_auth::traffic::heartbeat::{HeartbeatExpired, HeartbeatSettings};
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
    half::<RepliesReady>();
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
async fn answers_stand_before_the_next_message_and_their_writer_is_woken() {
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
    assert_eq!(reader.read(&mut input), Ok(Some(message("behind"))));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "the writer is woken");
    assert!(writer.poll_replies_ready(cx).is_ready());
    let mut out = BytesMut::new();
    writer.write(Message::from("next"), &mut out).unwrap();
    let (answers, next) = out.split_at(20 * 8);
    assert_eq!(pongs(answers), (0..20).collect::<Vec<_>>());
    assert_eq!(next, b"\0\x04next");
    assert!(writer.poll_replies_ready(cx).is_pending());
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_fails_behind_its_messages() {
    let (mut peer, mut reader, mut writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    let mut input = BytesMut::new();
    peer.write(Flags::Last, b"first", &mut input).unwrap();
    for _ in 0..1000 {
        peer.write(Flags::Command, &ping(1), &mut input).unwrap();
    }
    assert_eq!(reader.read(&mut input), Ok(Some(message("first"))));
    assert_eq!(reader.read(&mut input), Ok(None));
    let mut out = BytesMut::new();
    writer.write_replies(&mut out).unwrap();
    assert_eq!(out.len(), 8 * 1000, "one that reads now and then");
    peer.write(Flags::Last, b"second", &mut input).unwrap();
    for _ in 0..1001 {
        peer.write(Flags::Command, &ping(1), &mut input).unwrap();
    }
    assert_eq!(reader.read(&mut input), Ok(Some(message("second"))));
    for _ in 0..2 {
        assert_eq!(reader.read(&mut input), Err(TrafficError::UnreadAnswers));
    }
}

/// A host with a single loop, as the guide shows it.
async fn echo(
    (mut reader, mut writer): (MessageReader, MessageWriter),
    stream: DuplexStream,
) -> std::io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut messages = VecDeque::new();
    let mut replies = writer.replies_ready_owned();
    loop {
        while let Some(incoming) = reader.read(&mut input)? {
            messages.extend(incoming.into_message_3_0());
        }
        if out.is_empty() {
            writer.write_replies(&mut out)?;
        }
        if out.is_empty()
            && let Some(message) = messages.pop_front()
        {
            writer.write(message, &mut out)?;
        }
        input.reserve(reader.wanted(&input).max(4096));
        tokio::select! {
            ready = &mut replies => ready?,
            read = from.read_buf(&mut input) => if read? == 0 {
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
async fn a_reader_without_its_writer_reads_on() {
    let (mut peer, mut reader, writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    drop(writer);
    let mut input = BytesMut::new();
    for _ in 0..1001 {
        peer.write(Flags::Command, &ping(1), &mut input).unwrap();
    }
    peer.write(Flags::Last, b"behind", &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("behind"))));
}

/// Our reader and writer with a heartbeat, and a peer whose frames are made by hand.
async fn beating(heartbeat: HeartbeatSettings) -> (FrameWriter, MessageReader, MessageWriter) {
    let (one, other) = secured(&null(SocketType::Push), &null(SocketType::Pull)).await;
    let (reader, writer) = other.into_messages_with(heartbeat);
    let peer = FrameWriter::new(one.into_established().sealer);
    (peer, reader, writer)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_ping_is_written_when_it_is_due_and_a_silent_peer_ends_the_connection() {
    let (_peer, mut reader, mut writer) =
        beating(HeartbeatSettings::every(SECOND).with_timeout(SECOND / 2)).await;
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let start = Instant::now();
    for (round, byte) in (1..).zip([0, 5, b'h']) {
        writer.replies_ready().await;
        assert_eq!(start.elapsed().as_secs(), round);
        writer.write_replies(&mut out).unwrap();
        assert_eq!(out.split()[..], *b"\x04\x07\x04PING\0\0");
        // Any byte is a sign of life, also one that makes no frame whole.
        input.extend_from_slice(&[byte]);
        assert_eq!(reader.read(&mut input), Ok(None));
    }
    writer.replies_ready().await;
    writer.write_replies(&mut out).unwrap();
    out.clear();
    // It is still listened to for a moment.
    writer.replies_ready().await;
    let silent = Err(TrafficError::Silent(HeartbeatExpired::NoAnswer));
    assert_eq!(writer.write_replies(&mut out), silent);
    assert_eq!(start.elapsed(), 4 * SECOND + SECOND / 2 + SECOND / 10);
    assert_eq!(writer.write(Message::from("late"), &mut out), silent);
    assert!(out.is_empty());
    // What had arrived after all is heard, and keeps the connection.
    input.extend_from_slice(b"ello");
    assert_eq!(reader.read(&mut input), Ok(Some(message("hello"))));
    assert_eq!(writer.write_replies(&mut out), Ok(()));
    let io = std::io::Error::from(TrafficError::Silent(HeartbeatExpired::NoAnswer));
    assert_eq!(io.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn silence_means_nothing_while_the_host_delivers_what_it_has_read() {
    let (mut peer, mut reader, mut writer) = beating(HeartbeatSettings::every(SECOND)).await;
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    peer.write(Flags::Last, b"slow", &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("slow"))));
    // The application takes its time, while PINGs go out.
    for _ in 0..10 {
        writer.replies_ready().await;
        writer.write_replies(&mut out).unwrap();
    }
    assert_eq!(out.len(), 10 * 9);
    // The host reads again, and the peer's time begins.
    assert_eq!(reader.read(&mut input), Ok(None));
    let start = Instant::now();
    let ended = loop {
        writer.replies_ready().await;
        if let Err(ended) = writer.write_replies(&mut out) {
            break ended;
        }
    };
    assert_eq!(ended, TrafficError::Silent(HeartbeatExpired::NoAnswer));
    assert_eq!(start.elapsed(), SECOND + SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_peers_ping_announces_is_kept_without_a_heartbeat_of_our_own() {
    let (one, other) = secured(&null(SocketType::Push), &null(SocketType::Pull)).await;
    let (mut reader, mut writer) = other.into_messages_with(None);
    let mut peer = FrameWriter::new(one.into_established().sealer);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    // The writer waits already when the PING comes.
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let cx = &mut Context::from_waker(&waker);
    assert!(writer.poll_replies_ready(cx).is_pending());
    let announces = b"\x04PING\0\x14";
    peer.write(Flags::Command, announces, &mut input).unwrap();
    let start = Instant::now();
    assert_eq!(reader.read(&mut input), Ok(None));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    writer.write_replies(&mut out).unwrap();
    writer.replies_ready().await;
    let silent = Err(TrafficError::Silent(HeartbeatExpired::TtlExpired));
    assert_eq!(writer.write_replies(&mut out), silent);
    assert_eq!(start.elapsed(), 2 * SECOND + SECOND / 10);
}

/// What `ready` tells within half a second.
async fn soon(ready: &mut RepliesReady) -> Option<Result<(), TrafficError>> {
    tokio::time::timeout(SECOND / 2, ready).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_its_own_tells_each_addition_once_and_then_the_end() {
    let auth = zmtp_auth::auth::Authenticator::new();
    auth.configure_curve_any("*");
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("*", auth.clone()).unwrap();
    let (push, pull) = curve_pair(router).await;
    let (mut reader, mut writer) = pull.into_messages_with(HeartbeatSettings::every(10 * SECOND));
    let (_, mut peer) = push.into_messages();
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut ready = writer.replies_ready_owned();
    for _ in 0..2 {
        peer.write_ping(Duration::ZERO, &mut input).unwrap();
        assert_eq!(reader.read(&mut input), Ok(None));
        assert_eq!(soon(&mut ready).await, Some(Ok(())));
        assert_eq!(soon(&mut ready).await, None, "told already");
    }
    writer.write_replies(&mut out).unwrap();
    assert_eq!((&mut ready).await, Ok(()), "our own PING is due");
    writer.write_replies(&mut out).unwrap();
    auth.deny(["192.0.2.1"]).unwrap();
    for _ in 0..2 {
        assert_eq!(soon(&mut ready).await, Some(Err(TrafficError::Revoked)));
    }
    writer.replies_ready().await;
    assert_eq!(writer.write_replies(&mut out), Err(TrafficError::Revoked));
    let ended = writer.replies_ready_owned().ended();
    assert_eq!(ended.await, TrafficError::Revoked);
    let mut never = RepliesReady::default();
    assert_eq!(soon(&mut never).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_write_loop_does_not_hide_the_silence_of_its_peer() {
    let (_peer, mut reader, writer) = beating(HeartbeatSettings::every(SECOND)).await;
    assert_eq!(reader.read(&mut BytesMut::new()), Ok(None));
    // Nothing is written, because the peer takes nothing.
    let ended = writer.replies_ready_owned().ended().await;
    assert_eq!(ended, TrafficError::Silent(HeartbeatExpired::NoAnswer));
}

#[tokio::test]
async fn the_writers_wait_and_one_of_its_own_are_both_woken() {
    let (mut peer, mut reader, mut writer) = by_hand(SocketType::Push, SocketType::Pull).await;
    let mut owned = writer.replies_ready_owned();
    let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
    let [one, other] = wakes.each_ref().map(|wakes| Waker::from(Arc::clone(wakes)));
    assert!(
        writer
            .poll_replies_ready(&mut Context::from_waker(&one))
            .is_pending()
    );
    assert!(
        owned
            .poll_ready(&mut Context::from_waker(&other))
            .is_pending()
    );
    let mut input = BytesMut::new();
    peer.write(Flags::Command, &ping(1), &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(None));
    assert_eq!(wakes.map(|wakes| wakes.0.load(Ordering::SeqCst)), [1, 1]);
}

#[tokio::test]
async fn frames_come_one_by_one_and_subscriptions_among_them_as_messages() {
    let (subscriber, publisher) = secured(&null(SocketType::Xsub), &null(SocketType::Xpub)).await;
    let (_, mut writer) = subscriber.into_messages();
    let (mut reader, _writer) = publisher.into_messages();
    let mut input = BytesMut::new();
    writer
        .write(Message::from(["a", "", "b"]), &mut input)
        .unwrap();
    let topic = Outgoing::Subscribe("topic".into());
    writer.write(topic, &mut input).unwrap();
    let mut frames = Vec::new();
    while let Some((frame, more)) = reader.read_frame(&mut input).unwrap() {
        frames.push((frame, more));
    }
    let expected = [("a", true), ("", true), ("b", false), ("\x01topic", false)];
    assert_eq!(frames, expected.map(|(frame, more)| (frame.into(), more)));
}

#[tokio::test]
async fn frames_of_a_message_that_has_begun_end_with_the_admission() {
    let admission = Admission::new();
    let (push, pull) = curve_pair(admission.router()).await;
    let (_, mut writer) = push.into_messages();
    let (mut reader, mut answers) = pull.into_messages();
    let mut input = BytesMut::new();
    writer.write(Message::from(["a", "b"]), &mut input).unwrap();
    let first = reader.read_frame(&mut input);
    assert_eq!(first, Ok(Some(("a".into(), true))));
    admission.end();
    assert_eq!(
        answers.write_replies(&mut input),
        Err(TrafficError::Revoked)
    );
    assert_eq!(reader.read_frame(&mut input), Err(TrafficError::Revoked));
}

#[tokio::test]
async fn a_host_that_handles_subscriptions_as_messages_says_so_once() {
    let (subscriber, publisher) = secured(&null(SocketType::Sub), &null(SocketType::Pub)).await;
    let (mut reader, mut writer) = subscriber.with_subscriptions_as_messages().into_messages();
    let (mut subscriptions, mut peer) = publisher.with_subscriptions_as_messages().into_messages();
    let mut input = BytesMut::new();
    writer
        .write(Message::from("\x01topic"), &mut input)
        .unwrap();
    assert_eq!(input[..], *b"\x04\x0f\x09SUBSCRIBEtopic");
    let subscription = subscriptions.read(&mut input);
    assert_eq!(subscription, Ok(Some(message("\x01topic"))));
    // A PUB sends what looks like one as data.
    peer.write(Message::from("\x01data"), &mut input).unwrap();
    assert_eq!(reader.read(&mut input), Ok(Some(message("\x01data"))));
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
