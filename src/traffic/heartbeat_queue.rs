//! Heartbeat commands that wait to be sent.
#![forbid(unsafe_code)]

use crate::wire::command::TrafficCommand;
use bytes::Bytes;
use std::collections::VecDeque;

/// Most PONGs that wait to be sent: 16, the number of frames that are opened together. A peer that
/// sends more PINGs without reading our answers is not read from until it reads them.
const MAX_PONGS: usize = 16;

/// Heartbeat commands that wait until the current message is sent.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    /// A PING of our own.
    pub(crate) ours: Option<TrafficCommand>,
    /// Contexts of the peer's PINGs, to be sent back in PONGs.
    to_answer: VecDeque<Bytes>,
    /// Whether processing of input stopped because [`MAX_PONGS`] answers waited.
    pub(crate) held_up_input: bool,
    /// Whether the peer takes nothing more.
    is_stopped: bool,
}

impl Pings {
    /// Whether there is room for one more answer.
    pub(crate) fn may_take_more(&self) -> bool {
        self.room() > 0
    }

    /// How many more answers there is room for.
    pub(crate) fn room(&self) -> usize {
        MAX_PONGS.saturating_sub(self.to_answer.len())
    }

    /// How many answers wait.
    pub(crate) fn answers(&self) -> usize {
        self.to_answer.len()
    }

    /// Whether processing of input stopped and can now go on.
    pub(crate) fn may_resume_input(&self) -> bool {
        self.held_up_input && self.may_take_more()
    }

    /// Whether heartbeats wait to be sent.
    pub(crate) fn are_waiting(&self) -> bool {
        self.ours.is_some() || !self.to_answer.is_empty()
    }

    /// Queues the answer to a PING. The context is copied, because it would keep the whole buffer
    /// that it was read into.
    pub(crate) fn answer(&mut self, context: &[u8]) {
        if !self.is_stopped {
            self.to_answer.push_back(Bytes::copy_from_slice(context));
        }
    }

    /// Drops what waits, and answers no more: the peer takes nothing more.
    pub(crate) fn stop(&mut self) {
        *self = Self {
            is_stopped: true,
            ..Self::default()
        };
    }

    /// Takes the next command to be sent. Answers come before our own PING.
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
    fn a_context_does_not_keep_the_buffer_that_it_was_read_into() {
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
