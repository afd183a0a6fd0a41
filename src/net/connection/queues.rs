//! The queues of connections, by the options.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::pair::queue;
use crate::net::connection::queue::producer::Producer;
use crate::net::connection::queue::run::Queued;
use crate::net::connection::queue::shared::Conflated;
use crate::net::options::Options;
use crate::traffic::inbox::Incoming;
use crate::wire::socket_type::SocketType;

/// The two sides of a connection's queue for sending.
pub(crate) type ToSend = (Producer<Queued>, Consumer<Queued>);

/// The queue for sending of a connection that shares it with no other. `ours` is our type of socket.
pub(crate) fn own_queue(options: &Options, ours: SocketType) -> ToSend {
    queue(
        options.send_ahead,
        options.send_ahead_messages,
        conflated_to_send(options, ours),
    )
}

/// The queue of what a connection receives.
pub(crate) fn received_queue(
    limits: &Limits,
    options: &Options,
    ours: SocketType,
) -> (Producer<Incoming>, Consumer<Incoming>) {
    let is_message: fn(&Incoming) -> bool = |incoming| matches!(incoming, Incoming::Message(_));
    let conflated = options.conflates(ours).then_some(is_message);
    queue(limits.read_ahead, options.read_ahead_messages, conflated)
}

/// What is conflated in a queue for sending: messages, if anything. Subscriptions are all kept.
pub(crate) fn conflated_to_send(options: &Options, ours: SocketType) -> Conflated<Queued> {
    let is_message: fn(&Queued) -> bool = Queued::is_message;
    options.conflates(ours).then_some(is_message)
}
