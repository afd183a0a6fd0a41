//! The tracing span around the task of each connection.
#![forbid(unsafe_code)]

use crate::mechanism::session::PeerContext;
use crate::printable::printable;
use tracing::Span;
use tracing::field::Empty;

/// The span `connection{address, user_id}` of one connection. The task of the connection is
/// instrumented with it, so that every log line of the connection names the peer. A span is shown
/// only if its own level is enabled. This one has the highest level, so a filter that shows a line
/// shows the span too.
pub(crate) fn connection_span(context: &PeerContext) -> Span {
    let address = context.address.with_port(context.port);
    tracing::error_span!("connection", %address, user_id = Empty)
}

/// Adds the user id that policy has assigned.
pub(crate) fn record_user_id(span: &Span, user_id: &[u8]) {
    if !span.is_disabled() && !user_id.is_empty() {
        span.record("user_id", &*printable(user_id));
    }
}
