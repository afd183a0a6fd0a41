//! The end of a connection. What the peer has sent before is still delivered, at the application's
//! pace.
#![forbid(unsafe_code)]

use crate::net::connection::driver::{End, Exchange, Loss, Read, State};
use crate::net::error::NetError;
use crate::net::socket::stream::Stream;
use std::future::Future;
use std::pin::Pin;
use tokio::time::sleep;

impl Exchange {
    /// # Errors
    /// Returns [`NetError::Revoked`] if the admission of the peer is withdrawn.
    pub(crate) fn require_admission(&self) -> Result<(), NetError> {
        match &self.grant {
            Some(grant) if !grant.still_valid() => Err(NetError::Revoked),
            _ => Ok(()),
        }
    }

    /// Delivers what has arrived, and returns why the connection has ended.
    ///
    /// ZMTP has no half-closed connections, and a peer that is gone looks like a peer that only
    /// receives. So when one direction ends, nothing more is sent. What has arrived can still be
    /// received, however long the application takes. Until then the connection holds one buffer and
    /// the queue, and the stream until its end was read. A peer that may be revoked also keeps its
    /// task and its permit until everything is received, because a revocation withdraws the rest.
    pub(crate) async fn end(
        &mut self,
        stream: Stream,
        end: End,
        revoked: Pin<&mut impl Future<Output = ()>>,
        may_be_revoked: bool,
    ) -> Loss {
        let (reason, is_read) = match end {
            End::Now(reason) => {
                let all_sent = self.confirm_sent() && self.to_send.is_finished();
                // The next connection may take over a kept queue as soon as the end is known.
                self.to_send.leave_kept();
                return Loss { reason, all_sent };
            }
            End::WriteFailed(reason) => (reason, false),
            End::InputEnded(reason) => (reason, true),
        };
        let all_sent = self.stop_sending(&reason);
        let delivered = async {
            if !is_read {
                self.read_to_end(&stream).await?;
            }
            drop(stream);
            self.deliver_rest().await?;
            if may_be_revoked {
                // Until everything is received, a revocation withdraws it.
                let _ = self.received.below(Some(0)).await;
            }
            Ok(())
        };
        let reason = tokio::select! {
            biased;
            () = revoked => NetError::Revoked,
            delivered = delivered => delivered.err().unwrap_or(reason),
        };
        Loss { reason, all_sent }
    }

    /// Tells an application that waits for it that the system has taken everything it has sent.
    /// Returns whether that is so for what was taken from its queue.
    pub(crate) fn confirm_sent(&mut self) -> bool {
        let is_sent = self.channel.is_sent();
        if is_sent {
            self.to_send.confirm_done();
        }
        is_sent
    }

    /// Tells the application that nothing more can be sent, and drops what is queued. Returns
    /// whether everything had been sent.
    fn stop_sending(&mut self, reason: &NetError) -> bool {
        let mut all_sent = self.confirm_sent();
        // The queue is refused while the state is locked. So a `send` that is refused finds the
        // reason, and a message that was queued just before counts as unsent.
        let mut refused = None;
        self.state.send_modify(|state| {
            let (was_empty, waiting) = self.to_send.refuse_without_waking();
            all_sent &= was_empty;
            refused = Some(waiting);
            let reason = reason.clone();
            *state = State::Ending(Loss { reason, all_sent });
        });
        // A waker is foreign code and may look at the state.
        if let Some(refused) = refused {
            refused.wake();
        }
        self.channel.end_output();
        all_sent
    }

    /// Reads what the peer has sent before a write to it failed.
    async fn read_to_end(&mut self, stream: &Stream) -> Result<(), NetError> {
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            if self.received.has_no_consumer() {
                return Ok(());
            }
            let wanted_level = self.wanted_level();
            let may_read = wanted_level.is_none();
            tokio::select! {
                biased;
                ready = stream.readable(), if may_read => {
                    // A reset means the same as a close here.
                    let is_open = ready.is_ok()
                        && matches!(self.read(stream), Ok(Read::Some | Read::NothingYet));
                    if !is_open {
                        return Ok(());
                    }
                }
                _ = self.received.below(wanted_level) => {}
                // No PING can be sent to find out whether the peer is still there.
                () = sleep(self.linger), if may_read => return Ok(()),
            }
        }
    }

    /// Delivers what has been read.
    async fn deliver_rest(&mut self) -> Result<(), NetError> {
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            let room = self.received.room();
            if !self.channel.is_full() || room.await.is_err() {
                return Ok(());
            }
        }
    }
}
