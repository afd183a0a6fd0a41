//! Heartbeat commands of a connection that wait to be sent.
#![forbid(unsafe_code)]

use crate::wire::command::TrafficCommand;
use bytes::Bytes;
use std::collections::VecDeque;

/// PINGs whose answers wait to be sent. A peer that sends more without reading our answers is
/// not read from until it does.
const MAX_PONGS: usize = 16;

/// Heartbeat commands that wait for the end of a message under way.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    /// A PING of our own.
    pub(crate) ours: Option<TrafficCommand>,
    /// Contexts of the peer's PINGs, to be sent back.
    to_answer: VecDeque<Bytes>,
    /// Whether there were too many of them to go on with what has arrived.
    pub(crate) held_up_input: bool,
    /// Whether none can be sent any longer.
    are_over: bool,
}

impl Pings {
    /// Whether more may come before these are answered.
    pub(crate) fn may_take_more(&self) -> bool {
        self.room() > 0
    }

    /// How many more may come before they are answered.
    pub(crate) fn room(&self) -> usize {
        MAX_PONGS.saturating_sub(self.to_answer.len())
    }

    /// Whether input that was held up can be gone on with.
    pub(crate) fn may_go_on(&self) -> bool {
        self.held_up_input && self.may_take_more()
    }

    /// Whether there are any to be sent.
    #[cfg(feature = "tokio")]
    #[cfg(feature = "tokio")]
    pub(crate) fn are_waiting(&self) -> bool {
        self.ours.is_some() || !self.to_answer.is_empty()
    }

    /// Takes the context of a PING, to be sent back. It is copied, for it would hold all of the
    /// buffer that it was read into.
    pub(crate) fn answer(&mut self, context: &[u8]) {
        if !self.are_over {
            self.to_answer.push_back(Bytes::copy_from_slice(context));
        }
    }

    /// Answers no more, and forgets what waits: the peer takes nothing.
    pub(crate) fn stop(&mut self) {
        *self = Self {
            are_over: true,
            ..Self::default()
        };
    }

    /// The next command to be sent: answers first.
    pub(crate) fn take(&mut self) -> Option<TrafficCommand> {
        let answer = self.to_answer.pop_front();
        answer
            .map(|context| TrafficCommand::Pong { context })
            .or_else(|| self.ours.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_holds_no_more_memory_than_its_own() {
        let read = Bytes::from(vec![7; 1024 * 1024]);
        let mut pings = Pings::default();
        pings.answer(&read.slice(100..116));
        drop(pings.take());
        pings.answer(&read.slice(100..116));
        let Some(TrafficCommand::Pong { context }) = pings.take() else {
            panic!("an answer");
        };
        assert_eq!(context, read.slice(100..116));
        assert_ne!(context.as_ptr(), read[100..].as_ptr());
    }
}
