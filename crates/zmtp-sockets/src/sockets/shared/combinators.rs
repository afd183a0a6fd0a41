//! `Stream` and `Sink` for sockets and their halves.
#![forbid(unsafe_code)]

/// Makes streams of what sockets and halves receive. They have a method `poll_recv`.
macro_rules! stream_of {
    ($item:ty; $($socket:ident),+) => {$(
        /// What `recv` returns, without end. The methods of the type hide those of `StreamExt` that have
        /// the same name.
        impl futures_core::Stream for $socket {
            type Item = $item;

            fn poll_next(
                self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<$item>> {
                self.get_mut().poll_recv(context).map(Some)
            }
        }

        impl futures_core::stream::FusedStream for $socket {
            fn is_terminated(&self) -> bool {
                false
            }
        }
    )+};
}

/// Makes a sink of a socket or half. What it sends to, in this field, implements
/// [`Sending`](crate::peers::sending::Sending). `$put` gives the socket a message.
macro_rules! sink_of {
    ($item:ty; $socket:ident, $field:ident, $put:expr) => {
        /// Sends as `send`, and is never closed. The methods of the type hide those of `SinkExt` that have
        /// the same name.
        ///
        /// - `poll_ready` waits for room where `send` does.
        /// - `start_send` returns a message that `send` or `try_send` would return. After a `poll_ready`
        ///   there is room. If the peer that had it is lost in between, the message is kept and goes first.
        /// - `poll_flush` waits until the message has its place in the queue of a peer. The network is not
        ///   waited for.
        /// - `poll_close` waits until the system has taken everything that was queued, however long that
        ///   takes. The socket can then be used as before. Its own `close` gives it up.
        impl futures_sink::Sink<$item> for $socket {
            type Error = crate::error::SendError;

            fn poll_ready(
                self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                crate::peers::sending::Sending::poll_room(&mut self.get_mut().$field, context)
                    .map(Ok)
            }

            fn start_send(self: std::pin::Pin<&mut Self>, item: $item) -> Result<(), Self::Error> {
                let put: fn(&mut Self, $item) -> Result<(), Self::Error> = $put;
                put(self.get_mut(), item)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                crate::peers::sending::Sending::poll_queued(&mut self.get_mut().$field, context)
                    .map(Ok)
            }

            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                crate::peers::sending::Sending::poll_sent(&mut self.get_mut().$field, context)
                    .map(Ok)
            }
        }
    };
}
