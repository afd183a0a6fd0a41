//! The end of a connection whose peer is gone, or half gone: what it had sent still comes to the
//! application, at its own pace.
#![forbid(unsafe_code)]

use crate::net::connection::driver::{End, Exchange, Loss, Read, State};
use crate::net::error::NetError;
use crate::net::socket::stream::Stream;
use std::future::Future;
use std::pin::Pin;
use tokio::time::sleep;

impl Exchange {
    /// Delivers what there is, and says why the connection has ended.
    ///
    /// ZMTP knows no half-closed connection, and a peer that has gone cannot be told from one that
    /// only listens. So when one direction has ended, nothing more is sent. What has arrived is
    /// received all the same, however long the application takes for it: nothing is held for it
    /// but one buffer and its queue, and until the peer's end is read, the stream.
    pub(crate) async fn end(
        &mut self,
        stream: Stream,
        end: End,
        revoked: Pin<&mut impl Future<Output = ()>>,
    ) -> Loss {
        let (reason, is_read) = match end {
            End::Now(reason) => {
                let all_sent = self.to_send.is_finished() && self.channel.is_sent();
                return Loss { reason, all_sent };
            }
            End::TakesNoMore(reason) => (reason, false),
            End::SendsNoMore(reason) => (reason, true),
        };
        let all_sent = self.stop_sending(&reason);
        let delivered = async {
            if !is_read {
                self.hear_out(&stream).await?;
            }
            drop(stream);
            self.deliver_rest().await
        };
        let reason = tokio::select! {
            biased;
            () = revoked => NetError::Revoked,
            delivered = delivered => delivered.err().unwrap_or(reason),
        };
        Loss { reason, all_sent }
    }

    /// Tells the application that nothing more can be sent, and forgets what was to be. Gives
    /// whether there was none.
    fn stop_sending(&mut self, reason: &NetError) -> bool {
        let mut all_sent = self.channel.is_sent();
        // Together: a sender that is refused finds the reason, and what is queued is seen.
        self.state.send_modify(|state| {
            all_sent &= self.to_send.refuse();
            let reason = reason.clone();
            *state = State::Ending(Loss { reason, all_sent });
        });
        self.channel.end_output();
        all_sent
    }

    /// Reads what a peer had sent that takes nothing more.
    async fn hear_out(&mut self, stream: &Stream) -> Result<(), NetError> {
        loop {
            tokio::task::coop::consume_budget().await;
            self.take_input()?;
            if self.received.is_unheard() {
                return Ok(());
            }
            let wanted_level = self.wanted_level();
            let may_read = wanted_level.is_none();
            tokio::select! {
                biased;
                ready = stream.readable(), if may_read => {
                    // Whether it was closed or reset does not matter now.
                    let is_open = ready.is_ok()
                        && matches!(self.read(stream), Ok(Read::Some | Read::NothingYet));
                    if !is_open {
                        return Ok(());
                    }
                }
                _ = self.received.below(wanted_level) => {}
                // It cannot be asked whether it lives.
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
