//! Reads lines of standard input as bytes, of any content and up to a length limit.
#![forbid(unsafe_code)]

use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Stdin};

/// One line, without its `\n`. A `\r` before it belongs to the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole(Vec<u8>),
    /// The line was longer than the limit and was skipped.
    TooLong,
}

/// Reads lines. A line that was read in part is kept across calls.
pub(crate) struct Lines<R = Stdin> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// The longest line in bytes.
    max: usize,
    too_long: bool,
}

impl Lines {
    pub(crate) fn of_stdin(max: usize) -> Self {
        Self::new(tokio::io::stdin(), max)
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(input: R, max: usize) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            max,
            too_long: false,
        }
    }

    /// The next line, or `None` at the end. The last line needs no `\n`. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let chunk = self.input.fill_buf().await?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let at_end = chunk.is_empty();
            if self.line.len() + part.len() > self.max {
                self.too_long = true;
                self.line = Vec::new();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            if at_end && self.line.is_empty() && !self.too_long {
                return Ok(None);
            }
            if at_end || end.is_some() {
                return Ok(Some(match std::mem::take(&mut self.too_long) {
                    true => Line::TooLong,
                    false => Line::Whole(std::mem::take(&mut self.line)),
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_keep_their_bytes_and_their_bound() {
        let long = vec![b'x'; 100_000];
        let input = [b"a\r\n\xff\n\n".as_slice(), &long, b"\nlast"].concat();
        let mut lines = Lines::new(input.as_slice(), 10);
        for expected in [
            Line::Whole(b"a\r".to_vec()),
            Line::Whole(b"\xff".to_vec()),
            Line::Whole(Vec::new()),
            Line::TooLong,
            Line::Whole(b"last".to_vec()),
        ] {
            assert_eq!(lines.next().await.unwrap(), Some(expected));
            assert!(lines.line.capacity() <= 16);
        }
        assert_eq!(lines.next().await.unwrap(), None);
    }
}
