//! What the host's polls do.
//!
//! There is no task. Each poll of either half carries what can be carried in both directions, and the
//! stream to the network, the alarm and a revocation wake both halves. So it does not matter which
//! half the host polls: one that only writes still answers PINGs, and one that only reads still
//! sends what it has written.
#![forbid(unsafe_code)]

use crate::access::revoked::RevocationGuard;
use crate::host::byte_stream::ByteStream;
use crate::host::stream::driver::Driver;
use crate::host::stream::link::{Half, Link};
use bytes::BufMut;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A stream of type `S` as a [`ByteStream`], for the time of one poll.
pub(crate) trait Adapter<S> {
    type Stream<'a>: ByteStream
    where
        S: 'a;

    fn adapt(stream: &mut S) -> Self::Stream<'_>;
}

pub(crate) struct Engine<S> {
    link: Arc<Link<S>>,
    /// Wakes both halves.
    waker: Waker,
    driver: Driver,
    /// Closes the stream when policy revokes the peer's admission, although the host may do nothing.
    _revocation: Option<RevocationGuard>,
}

impl<S: Send + 'static> Engine<S> {
    pub(crate) fn new(stream: S, driver: Driver) -> Self {
        let link = Link::new(stream);
        let revocation = driver.grant().map(|grant| {
            let link = Arc::clone(&link);
            grant.on_revoked(move || link.revoke())
        });
        Self {
            waker: Waker::from(Arc::clone(&link)),
            link,
            driver,
            _revocation: revocation,
        }
    }

    pub(crate) const fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn link(&self) -> &Link<S> {
        &self.link
    }

    /// Reads for the host. Returns how many bytes it has got; 0 is the end.
    pub(crate) fn poll_read<A: Adapter<S>>(
        &mut self,
        cx: &Context<'_>,
        room: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        self.link.wait(Half::Read, cx);
        // A revocation wakes, so that nothing is read after it.
        if self.link.take_woken() || !self.driver.machine.has_host_output() {
            self.drive::<A>(Half::Read);
        }
        let read = self.give_to_host(room);
        let machine = &self.driver.machine;
        let outcome = match machine.error() {
            _ if read > 0 || !room.has_remaining_mut() => Ok(read),
            Some(error) => Err(error),
            None if machine.is_at_end() => Ok(0),
            None => return Poll::Pending,
        };
        self.link.goes_on(Half::Read);
        Poll::Ready(outcome)
    }

    fn give_to_host(&mut self, room: &mut impl BufMut) -> usize {
        let mut read = 0;
        while room.has_remaining_mut() && self.driver.machine.has_host_output() {
            let machine = &mut self.driver.machine;
            let mut count = 0;
            for part in machine.host_output() {
                let fits = part.len().min(room.remaining_mut());
                room.put_slice(&part[..fits]);
                count += fits;
            }
            machine.on_host_read(count);
            read += count;
            let now = self.driver.now();
            self.driver.machine.advance(now);
        }
        read
    }

    /// Takes what the host writes, as much as there is room for.
    pub(crate) fn poll_write<A: Adapter<S>>(
        &mut self,
        cx: &Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.wait(Half::Write, cx);
        let mut taken = self.take_from_host(parts);
        self.drive::<A>(Half::Write);
        if taken == 0 {
            taken = self.take_from_host(parts);
            if taken > 0 {
                self.drive::<A>(Half::Write);
            }
        }
        let outcome = match self.driver.send_error() {
            _ if taken > 0 || parts.iter().all(|part| part.is_empty()) => Ok(taken),
            Some(error) => Err(error),
            None if !self.driver.machine.network_takes() => Err(io::ErrorKind::BrokenPipe.into()),
            None => return Poll::Pending,
        };
        self.link.goes_on(Half::Write);
        Poll::Ready(outcome)
    }

    fn take_from_host(&mut self, parts: &[IoSlice<'_>]) -> usize {
        if self.driver.send_error().is_some() || !self.driver.machine.network_takes() {
            return 0;
        }
        let now = self.driver.now();
        let mut taken = 0;
        for part in parts {
            let count = self.driver.machine.take_from_host(part, now);
            taken += count;
            if count < part.len() {
                break;
            }
        }
        taken
    }

    /// Sends what the host has written, and flushes the stream to the network.
    pub(crate) fn poll_flush<A: Adapter<S>>(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent::<A>(cx, Driver::is_flushed)
    }

    /// Sends what the host has written, and tells the network that nothing more follows.
    pub(crate) fn poll_shutdown<A: Adapter<S>>(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.driver.close();
        self.poll_sent::<A>(cx, Driver::is_shut_down)
    }

    fn poll_sent<A: Adapter<S>>(
        &mut self,
        cx: &Context<'_>,
        is_done: fn(&Driver) -> bool,
    ) -> Poll<io::Result<()>> {
        self.link.wait(Half::Write, cx);
        self.drive::<A>(Half::Write);
        let outcome = match self.driver.send_error() {
            Some(error) => Err(error),
            None if is_done(&self.driver) => Ok(()),
            None => return Poll::Pending,
        };
        self.link.goes_on(Half::Write);
        Poll::Ready(outcome)
    }

    /// Carries what can be carried. Wakes the other half than the one that is polled, if there is
    /// something for it.
    fn drive<A: Adapter<S>>(&mut self, polled: Half) {
        let Self {
            link,
            waker,
            driver,
            ..
        } = self;
        let cx = &mut Context::from_waker(waker);
        // What changes from here on wakes again.
        link.take_woken();
        let was_established = driver.machine.is_established();
        let mut borrowed = link.borrow();
        if link.is_revoked() || !driver.is_admitted() {
            driver.machine.revoke();
        }
        let mut has_sent = false;
        if let Some(stream) = borrowed.get_mut()
            && !driver.machine.is_network_lost()
        {
            has_sent = driver.drive(&mut A::adapt(stream), cx);
        }
        let is_lost = driver.machine.is_network_lost();
        if is_lost {
            borrowed.close();
        }
        drop(borrowed);
        match polled {
            Half::Read => {
                // Room for the host comes from what was sent.
                let is_new = was_established != driver.machine.is_established();
                if has_sent || is_new || is_lost {
                    link.wake_half(Half::Write);
                }
            }
            Half::Write => {
                if driver.machine.has_host_output() || driver.machine.is_at_end() || is_lost {
                    link.wake_half(Half::Read);
                }
            }
        }
    }
}

impl<S> Drop for Engine<S> {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl<S> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("link", &self.link)
            .field("machine", &self.driver.machine)
            .finish_non_exhaustive()
    }
}
