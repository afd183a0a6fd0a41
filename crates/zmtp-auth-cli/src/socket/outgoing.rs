//! The lines of standard input as messages.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::socket::frames::split;
use crate::socket::lines::{Line, Lines};
use crate::socket::stop::Stop;
use std::future::pending;
use std::time::Duration;
use tokio::time::timeout;
use zmtp_auth::net::Message;

/// How long the program still waits for the end of standard input after the peer has closed. If it
/// comes within this time, every line was sent. 1 s is much longer than a busy machine needs to read
/// an end that is there already.
const END_OF_STDIN: Duration = Duration::from_secs(1);

/// The lines of standard input as messages.
pub(crate) struct Outgoing {
    lines: Lines,
    max_line: usize,
    multipart: Option<String>,
    /// Whether the exchange is done at the end of standard input.
    ends: bool,
    has_ended: bool,
    /// Whether a message was taken that the socket has not taken yet, or a request without a reply.
    is_in_hand: bool,
}

impl Outgoing {
    pub(crate) fn of_stdin(max_line: usize, multipart: Option<String>) -> Self {
        Self {
            lines: Lines::of_stdin(max_line),
            max_line,
            multipart,
            ends: false,
            has_ended: false,
            is_in_hand: false,
        }
    }

    /// Ends the exchange at the end of standard input.
    pub(crate) fn ending(mut self, ends: bool) -> Self {
        self.ends = ends;
        self
    }

    /// The next message. Never completes after the end of standard input, unless the exchange ends
    /// there. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Message, Stop> {
        if !self.has_ended {
            match self.lines.next().await.map_err(Failure::stdin)? {
                Some(Line::Whole(line)) => {
                    self.is_in_hand = true;
                    return Ok(split(line, self.multipart.as_deref()).into());
                }
                Some(Line::TooLong) => return Err(Failure::long_line(self.max_line).into()),
                None => self.has_ended = true,
            }
        }
        if self.ends {
            return Err(Stop::Done);
        }
        pending().await
    }

    /// The socket has taken the message.
    pub(crate) const fn sent(&mut self) {
        self.is_in_hand = false;
    }

    /// Whether the socket has taken every line. Standard input may have ended without this being read
    /// yet.
    pub(crate) async fn is_all_taken(&mut self) -> bool {
        if !self.has_ended && !self.is_in_hand {
            let end = timeout(END_OF_STDIN, self.lines.next()).await;
            self.has_ended = matches!(end, Ok(Ok(None)));
        }
        self.has_ended && !self.is_in_hand
    }
}

/// The next line. Never completes without lines.
pub(crate) async fn next(lines: &mut Option<Outgoing>) -> Result<Message, Stop> {
    match lines {
        Some(lines) => lines.next().await,
        None => pending().await,
    }
}

/// The socket has taken the message of the latest line.
pub(crate) fn sent(lines: &mut Option<Outgoing>) {
    if let Some(lines) = lines {
        lines.sent();
    }
}
