//! The `Debug` output of `host`'s types, without a runtime.

use crate::{Shown, plain};
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, Pending, pending};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use zmtp_auth::PeerContext;
use zmtp_auth::host::{ByteStream, Clock, Failed, Secured};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{PeerAddress, Security};

type Way = Rc<RefCell<VecDeque<u8>>>;

struct End {
    from: Way,
    to: Way,
}

impl ByteStream for End {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        match self.from.borrow_mut().pop_front() {
            Some(byte) => {
                room.put_u8(byte);
                Poll::Ready(Ok(1))
            }
            None => Poll::Pending,
        }
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().flat_map(|part| part.iter().copied());
        self.to.borrow_mut().extend(bytes);
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

/// A clock that stands still.
struct Stopped(Instant);

impl Clock for Stopped {
    type Sleep = Pending<()>;

    fn now(&self) -> Instant {
        self.0
    }

    fn sleep_until(&self, _: Instant) -> Pending<()> {
        pending()
    }
}

async fn conduct(security: &Security, mut stream: End) -> Result<Secured, Failed> {
    let context = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    let clock = Stopped(Instant::now());
    security
        .conduct_on(context, &mut stream, &clock, &mut BytesMut::new())
        .await
}

/// Both outcomes of a handshake with PLAIN.
fn meet(admits: bool) -> [Result<Secured, Failed>; 2] {
    let (client, server) = plain();
    let router = ZapRouter::new();
    let judge = move |request: ZapRequest| async move {
        if admits {
            request.allow("alice")
        } else {
            request.deny(zmtp_auth::DenialStatus::Failure, "no")
        }
    };
    router.bind("test", judge).unwrap();
    let (client, server) = (Security::from(client), Security::from((server, router)));
    let (one, other) = (Way::default(), Way::default());
    let (from, to) = (Rc::clone(&one), Rc::clone(&other));
    let mut client = pin!(conduct(&client, End { from, to }));
    let (from, to) = (other, one);
    let mut server = pin!(conduct(&server, End { from, to }));
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut first, mut second) = (None, None);
    loop {
        if first.is_none()
            && let Poll::Ready(done) = client.as_mut().poll(cx)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = server.as_mut().poll(cx)
        {
            second = Some(done);
        }
        (first, second) = match (first, second) {
            (Some(first), Some(second)) => return [first, second],
            waiting => waiting,
        };
    }
}

pub fn show(shown: &mut Shown) {
    for secured in meet(true) {
        let secured = secured.unwrap();
        shown.debug(&secured);
        let (reader, writer) = secured.into_messages();
        shown.debug(&reader);
        shown.debug(&writer.replies_ready_owned());
        shown.debug(&writer);
    }
    for failed in meet(false) {
        let failed = failed.unwrap_err();
        shown.debug(&failed);
        shown.error(&failed);
    }
}
