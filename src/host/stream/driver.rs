//! Carries bytes between the machine of an `AuthStream` and the stream to the network.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::host::alarm::Alarm;
use crate::host::byte_stream::{ByteStream, is_hangup};
use crate::host::stream::ended::Ended;
use crate::host::stream::machine::Machine;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Most turns of one poll. A peer whose frames all come to nothing, such as unknown commands, would
/// otherwise keep the poll for as long as it sends.
const MAX_TURNS: usize = 32;

pub(crate) struct Driver {
    pub(crate) machine: Machine,
    alarm: Alarm,
    /// The peer's admission, if it can be revoked.
    grant: Option<Grant>,
    /// Why the network takes nothing more, if a write has failed.
    write_error: Option<Arc<io::Error>>,
    /// The stream has bytes that it was not told to flush.
    is_unflushed: bool,
    /// The host sends nothing more.
    is_closing: bool,
    /// The network was told so.
    is_shut_down: bool,
}

impl Driver {
    pub(crate) fn new(machine: Machine, alarm: Alarm, grant: Option<Grant>) -> Self {
        Self {
            machine,
            alarm,
            grant,
            write_error: None,
            is_unflushed: false,
            is_closing: false,
            is_shut_down: false,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.alarm.now()
    }

    /// Notes that the host sends nothing more.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        self.machine.end_host_input();
    }

    /// Whether everything that the host has written was sent and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.machine.is_sent() && !self.is_unflushed
    }

    /// Whether the network was told that nothing more follows.
    pub(crate) const fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    /// Why what the host has written does not reach the network.
    pub(crate) fn send_error(&self) -> Option<io::Error> {
        self.machine.error().or_else(|| {
            let error = Arc::clone(self.write_error.as_ref()?);
            Some(self.machine.error_of(&Ended::Io(error)))
        })
    }

    /// The peer's admission, if it can be revoked.
    pub(crate) const fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// Whether policy still admits the peer. No runtime is needed to notice the end of a validity here.
    pub(crate) fn is_admitted(&self) -> bool {
        self.grant.as_ref().is_none_or(Grant::still_valid)
    }

    /// Carries what can be carried in both directions, and does what is due. Returns whether the
    /// network has taken anything.
    ///
    /// At the end `cx` is registered with everything that can change the state: with the stream for
    /// each direction that waits for it, and with the alarm.
    pub(crate) fn drive(&mut self, stream: &mut impl ByteStream, cx: &mut Context<'_>) -> bool {
        let mut turns = 0;
        let mut has_sent = false;
        let now = loop {
            let now = self.now();
            self.machine.advance(now);
            let sent = self.send(stream, cx);
            has_sent |= sent;
            let received = self.receive(stream, cx, now);
            if !sent && !received {
                self.machine.before_wait(now);
                break now;
            }
            turns += 1;
            if turns == MAX_TURNS {
                cx.waker().wake_by_ref();
                break now;
            }
        };
        let mut due = self.machine.deadline(now);
        // What has arrived was read, so that an answer that came in time counts.
        if due.is_some_and(|due| due <= now) {
            self.machine.on_deadline(now);
            self.machine.advance(now);
            has_sent |= self.send(stream, cx);
            due = self.machine.deadline(now);
        }
        if due.is_some_and(|due| self.alarm.poll(due, cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
        has_sent
    }

    /// Writes once, or flushes, or shuts down. Returns whether anything was done.
    fn send(&mut self, stream: &mut impl ByteStream, cx: &mut Context<'_>) -> bool {
        if self.machine.has_network_output() {
            let written = match stream.poll_write(cx, &self.machine.network_output()) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => written,
            };
            match written {
                Ok(count) => {
                    self.is_unflushed = true;
                    self.machine.on_network_written(count);
                }
                Err(error) => self.fail_to_write(error),
            }
            return true;
        }
        if self.is_unflushed {
            let Poll::Ready(flushed) = stream.poll_flush(cx) else {
                return false;
            };
            self.is_unflushed = false;
            if let Err(error) = flushed {
                self.fail_to_write(error);
            }
            return true;
        }
        if self.is_closing && !self.is_shut_down && self.machine.is_finished() {
            // An error means that the peer is gone, and so has no need to be told.
            self.is_shut_down = stream.poll_shutdown_write(cx).is_ready();
            if self.is_shut_down {
                self.machine.end_network_output();
            }
            return self.is_shut_down;
        }
        false
    }

    /// The network takes nothing more. What its peer has sent before may have arrived, and is read.
    fn fail_to_write(&mut self, error: io::Error) {
        self.is_unflushed = false;
        self.machine.end_network_output();
        self.write_error.get_or_insert(Arc::new(error));
    }

    /// Reads once. Returns whether something has come, be it the end.
    fn receive(
        &mut self,
        stream: &mut impl ByteStream,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> bool {
        if !self.machine.wants_network_input() {
            return false;
        }
        match stream.poll_read(cx, &mut self.machine.network_room()) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.machine.end_network_input(),
            Poll::Ready(Ok(count)) => self.machine.on_network_read(count, now),
            // A close becomes a reset if the peer left bytes unread, so both mean the same during a
            // handshake.
            Poll::Ready(Err(error)) if is_hangup(&error) && !self.machine.is_established() => {
                self.machine.end_network_input();
            }
            Poll::Ready(Err(error)) => self.machine.lose_network(error),
        }
        true
    }
}
