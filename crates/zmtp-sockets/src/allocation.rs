//! What a message costs in a steady state. Everything runs on one thread, since the counter counts by
//! thread: sockets, and the tasks of their connections.

#![forbid(unsafe_code)]

use crate::sockets::publish::Pub;
use crate::sockets::pull::Pull;
use crate::sockets::push::Push;
use crate::sockets::subscribe::Sub;
use allocation_counter::measure;
use bytes::Bytes;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use zmtp_auth::net::Message;
use zmtp_auth::{Config, KeyPair, Security};

const ANY_PORT: &str = "tcp://127.0.0.1:*";
/// Generous, so that a test that hangs fails and a slow machine does not.
const AT_MOST: Duration = Duration::from_secs(60);

const MESSAGES: usize = 20_000;
const SUBSCRIBERS: usize = 50;
/// Messages that a publisher sends before its subscribers receive, less than their queues hold.
const AT_ONCE: usize = 200;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(AT_MOST, future).await.unwrap()
}

fn null() -> Security {
    let config = Config::untyped_builder().null().accept_any_peer().finish();
    config.unwrap().into()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The two sides of NULL and of CURVE.
fn securities() -> [(Security, Security); 2] {
    let keys = KeyPair::generate().unwrap();
    let server = Config::untyped_builder()
        .curve_server(keys.clone())
        .accept_any_peer()
        .finish();
    let client = Config::untyped_builder()
        .curve_client(KeyPair::generate().unwrap(), keys.public_key())
        .finish();
    [
        (null(), null()),
        (server.unwrap().into(), client.unwrap().into()),
    ]
}

/// A message that allocates nothing itself.
fn payload() -> Bytes {
    Bytes::from_static(&[7; 64])
}

#[test]
fn a_message_from_push_to_pull_costs_no_allocation() {
    for (server, client) in securities() {
        let runtime = runtime();
        let (mut pull, mut push) = runtime.block_on(async {
            let (mut pull, mut push) = (Pull::new(), Push::new());
            let endpoint = pull.bind(ANY_PORT, server).await.unwrap();
            push.connect(&endpoint, client).unwrap();
            (pull, push)
        });
        let mut carry = async || {
            let sending = async {
                for _ in 0..MESSAGES {
                    push.send(payload()).await;
                }
            };
            let receiving = async {
                for _ in 0..MESSAGES {
                    assert_eq!(pull.recv().await.frames(), [payload()]);
                }
            };
            tokio::join!(sending, receiving);
        };
        runtime.block_on(soon(carry()));
        let counted = measure(|| runtime.block_on(soon(carry()))).count_total;
        // Each allocation serves many messages: buffers that are read into, and lists of messages.
        assert!(counted < MESSAGES as u64 / 20, "{counted}");
    }
}

fn publishing(runtime: &Runtime, server: Security, client: &Security) -> (Pub, Vec<Sub>) {
    runtime.block_on(async {
        let mut publisher = Pub::new();
        let endpoint = publisher.bind(ANY_PORT, server).await.unwrap();
        let subscribers = (0..SUBSCRIBERS).map(|_| {
            let mut subscriber = Sub::new();
            subscriber.subscribe("");
            subscriber.connect(&endpoint, client.clone()).unwrap();
            subscriber
        });
        let subscribers = subscribers.collect();
        let mut has_all = || {
            let subscribers = publisher.subscribers();
            subscribers.filter(|it| it.subscriptions == 1).count() == SUBSCRIBERS
        };
        soon(async {
            while !has_all() {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        (publisher, subscribers)
    })
}

#[test]
fn a_message_from_pub_to_each_of_50_sub_costs_no_allocation() {
    for (server, client) in securities() {
        let runtime = runtime();
        let (mut publisher, mut subscribers) = publishing(&runtime, server, &client);
        let mut carry = async || {
            for _ in 0..AT_ONCE {
                publisher.send(payload());
            }
            for subscriber in &mut subscribers {
                for _ in 0..AT_ONCE {
                    assert_eq!(subscriber.recv().await.frames(), [payload()]);
                }
            }
        };
        runtime.block_on(soon(carry()));
        let counted = measure(|| runtime.block_on(soon(carry()))).count_total;
        let received = (SUBSCRIBERS * AT_ONCE) as u64;
        assert!(counted < received / 5, "{counted} for {received}");
    }
}

#[test]
fn a_message_of_several_frames_is_queued_for_50_sub_with_one_list_of_frames() {
    let runtime = runtime();
    let (mut publisher, mut subscribers) = publishing(&runtime, null(), &null());
    let message = Message::from([payload(), payload(), payload()]);
    // The lists of the queues grow now, and keep their room.
    let mut queued = Vec::new();
    for _ in 0..2 {
        let messages = vec![message.clone(); AT_ONCE];
        queued.push(measure(|| {
            messages.into_iter().for_each(|it| publisher.send(it))
        }));
        runtime.block_on(soon(async {
            for subscriber in &mut subscribers {
                for _ in 0..AT_ONCE {
                    assert_eq!(*subscriber.recv().await.message(), message);
                }
            }
        }));
    }
    // One for each message, and some for the growth of each queue.
    let counted = queued[1].count_total;
    let max = AT_ONCE + 10 * SUBSCRIBERS;
    assert!(counted <= max as u64, "{counted}");
    // No message is put into each queue.
    let bytes = queued[1].bytes_total;
    let max = AT_ONCE * SUBSCRIBERS * size_of::<usize>();
    assert!(bytes <= max as u64, "{bytes}");
}
