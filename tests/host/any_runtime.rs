//! `Security::conduct_on` without a runtime: a stream, a clock and an executor that know each other
//! alone.

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use zmtp_auth::PeerContext;
use zmtp_auth::host::{ByteStream, Clock, FailureKind};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Domain, Limits, PeerAddress, Security, SocketType, Stage};

/// Bytes on their way, and whether their sender has closed.
type Way = Rc<RefCell<(VecDeque<u8>, bool)>>;

/// One end of a connection. It takes one byte at a time.
struct End {
    from: Way,
    to: Way,
}

fn pair() -> (End, End) {
    let (one, other) = (Way::default(), Way::default());
    let (from, to) = (Rc::clone(&one), Rc::clone(&other));
    (
        End { from, to },
        End {
            from: other,
            to: one,
        },
    )
}

impl ByteStream for End {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        let (bytes, closed) = &mut *self.from.borrow_mut();
        match bytes.pop_front() {
            Some(byte) => {
                room.put_u8(byte);
                Poll::Ready(Ok(1))
            }
            None if *closed => Poll::Ready(Ok(0)),
            None => Poll::Pending,
        }
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let byte = parts.iter().find_map(|part| part.first());
        self.to.borrow_mut().0.extend(byte);
        Poll::Ready(Ok(usize::from(byte.is_some())))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.borrow_mut().1 = true;
        Poll::Ready(Ok(()))
    }
}

/// A clock that the executor sets. Its alarms need no wakers, because the executor polls all the time.
#[derive(Clone)]
struct Hands(Rc<Cell<Instant>>);

struct Alarm(Hands, Instant);

impl Clock for Hands {
    type Sleep = Alarm;

    fn now(&self) -> Instant {
        self.0.get()
    }

    fn sleep_until(&self, deadline: Instant) -> Alarm {
        Alarm(self.clone(), deadline)
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.now() < self.1 {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

/// Polls until the work is done. Each poll takes a millisecond.
fn run<T>(clock: &Hands, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        clock.0.set(clock.now() + Duration::from_millis(1));
    }
}

fn clock() -> Hands {
    Hands(Rc::new(Cell::new(Instant::now())))
}

fn context() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"192.0.2.1"))
}

fn client() -> Security {
    let config = Config::builder(SocketType::Push).plain_client("alice", "secret");
    config.finish().unwrap().into()
}

fn server(router: ZapRouter, limits: &Limits) -> Security {
    let builder = Config::builder(SocketType::Pull).limits(limits.clone());
    let config = builder.plain_server().authorize(Domain::EMPTY).finish();
    (config.unwrap(), router).into()
}

/// Polls both until both are done.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(cx)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(cx)
        {
            second = Some(done);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

#[test]
fn a_handshake_needs_no_runtime() {
    let router = ZapRouter::new();
    let allow = async |request: ZapRequest| request.allow("alice");
    router.bind("*", allow).unwrap();
    let (client, server) = (client(), server(router, &Limits::default()));
    let clock = clock();
    let (mut here, mut there) = pair();
    let (mut input, mut input_there) = (BytesMut::new(), BytesMut::new());
    let (push, pull) = run(
        &clock,
        both(
            client.conduct_on(context(), &mut here, &clock, &mut input),
            server.conduct_on(context(), &mut there, &clock, &mut input_there),
        ),
    );
    assert_eq!(
        push.unwrap().peer().claims.socket_type,
        Some(SocketType::Pull)
    );
    assert_eq!(pull.unwrap().peer().user_id().unwrap(), "alice");
}

/// The router has no clock here, so `conduct_on` bounds the time of the handler with its own.
#[test]
fn the_clock_that_is_handed_in_bounds_everything() {
    let limits = Limits::default()
        .with_greeting_timeout(Duration::from_millis(100))
        .with_verdict_timeout(Duration::from_millis(200))
        .with_handshake_timeout(Duration::from_millis(900))
        .with_linger_timeout(Duration::from_millis(400));
    let router = ZapRouter::with_limits(&limits);
    router.bind("*", |_| std::future::pending()).unwrap();
    let server = server(router.clone(), &limits);
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..17].copy_from_slice(b"PLAIN");
    let hello = b"\x04\x13\x05HELLO\x05alice\x06secret";
    for (sent, time, stage, kind) in [
        (vec![], 100, Stage::Greeting, FailureKind::TimedOut),
        (
            greeting.to_vec(),
            900,
            Stage::PlainHello,
            FailureKind::TimedOut,
        ),
        (
            [&greeting[..], hello].concat(),
            200,
            Stage::Verdict,
            FailureKind::Denied,
        ),
    ] {
        let clock = clock();
        let (mut here, there) = pair();
        there.to.borrow_mut().0.extend(sent);
        let (start, mut input) = (clock.now(), BytesMut::new());
        let failed = run(
            &clock,
            server.conduct_on(context(), &mut here, &clock, &mut input),
        );
        let failed = failed.unwrap_err();
        assert_eq!((failed.stage(), failed.kind()), (stage, kind));
        let late = clock.now() - start - Duration::from_millis(time);
        assert!(late < Duration::from_millis(5), "{stage}: {late:?}");
        assert_eq!(router.in_progress(), 0);
    }
}
