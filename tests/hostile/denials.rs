//! A denied peer is never ready (libzmq #4912): every mechanism, every status but 200, at once or
//! late.

use super::curve::CurveClient;
use super::load_attack::{MIB, alone, load_attack, scaled, soon};
use super::raw::{Raw, first_command, frame, metadata, plain_initiate};
use super::server::{ASKING, DOMAIN, Kind, Noted, Server, Setup, Target};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use zmtp_auth::net::{Connection, NetError};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, DenialStatus, Error, SocketType};

const DENIALS: [DenialStatus; 3] = [
    DenialStatus::Temporary,
    DenialStatus::Failure,
    DenialStatus::Internal,
];

/// A handler that the test controls.
#[derive(Clone, Default)]
struct Judge {
    /// Whether and how to deny, and whether to wait before saying so.
    mood: Arc<Mutex<Option<(DenialStatus, bool)>>>,
    asked: Arc<Notify>,
    released: Arc<Notify>,
}

impl Judge {
    fn set(&self, mood: Option<(DenialStatus, bool)>) {
        *self.mood.lock().unwrap() = mood;
    }

    fn router(&self) -> ZapRouter {
        let router = ZapRouter::new();
        let judge = self.clone();
        let handler = move |request: ZapRequest| {
            let judge = judge.clone();
            async move {
                let mood = *judge.mood.lock().unwrap();
                let Some((status, is_late)) = mood else {
                    return request.allow("somebody");
                };
                judge.asked.notify_one();
                if is_late {
                    judge.released.notified().await;
                }
                request.deny(status, "no")
            }
        };
        router.bind(DOMAIN, handler).unwrap();
        router
    }
}

/// Sends everything up to the verdict, and then, without waiting, what an admitted peer would send,
/// traffic included.
pub async fn presume(target: &Target) -> Raw {
    let message = frame(0, b"presumptuous");
    if target.kind == Kind::Curve {
        let (mut raw, client, welcomed) = CurveClient::welcomed(target).await;
        let initiate = client.initiate(&welcomed, &metadata(&[("Socket-Type", b"DEALER")]));
        let traffic = welcomed.traffic();
        let message = frame(0, &traffic.message(3, 0, b"presumptuous"));
        raw.say(&[frame(4, &initiate), message].concat()).await;
        return raw;
    }
    let mut raw = Raw::greeted(target).await;
    let initiate = match target.kind {
        Kind::Plain => plain_initiate("DEALER"),
        _ => Vec::new(),
    };
    raw.say(&[first_command(target.kind), initiate, message].concat())
        .await;
    raw
}

/// What a peer may receive after a denial: an ERROR with 400 or 500, and nothing after a temporary
/// one.
pub fn told(status: DenialStatus) -> Vec<u8> {
    match status {
        DenialStatus::Temporary => Vec::new(),
        status => [&b"\x04\x0a\x05ERROR\x03"[..], status.to_string().as_bytes()].concat(),
    }
}

#[test]
fn libzmq_4912_a_denied_peer_is_never_ready_however_late_the_verdict() {
    alone(async || {
        for kind in ASKING {
            let judge = Judge::default();
            let what = format!("libzmq #4912: denials, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let (status, is_late) = (DENIALS[round % 3], round / 3 % 2 == 1);
                    judge.set(Some((status, is_late)));
                    let mut raw = presume(&server.target).await;
                    soon(judge.asked.notified()).await;
                    if is_late {
                        // Nothing arrives before the verdict.
                        assert!(server.notes().is_empty());
                        judge.released.notify_one();
                    }
                    assert_eq!(raw.rest().await, told(status));
                    match server.refusal().await {
                        Error::Denied(denied) => assert_eq!(denied.status, status),
                        other => panic!("{other}"),
                    }
                }
                assert!(server.notes().is_empty());
                judge.set(None);
            };
            let setup = Setup::new(kind).router(judge.router());
            load_attack(&what, setup, scaled(3000, 120), MIB, attack).await;
        }
    });
}

#[test]
fn libzmq_4912_a_client_of_ours_that_denies_its_server_is_never_ready() {
    alone(async || {
        let judge = Judge::default();
        let attack = async |server: &mut Server, load| {
            for round in 0..load {
                let (status, is_late) = (DENIALS[round % 3], round / 3 % 2 == 1);
                judge.set(Some((status, is_late)));
                let config = Config::builder(SocketType::Dealer).null().authorize(DOMAIN);
                let config = config.finish().unwrap();
                let dialling = Connection::connect(&server.endpoint, (config, judge.router()));
                let releasing = async {
                    soon(judge.asked.notified()).await;
                    if is_late {
                        judge.released.notify_one();
                    }
                };
                let (dialled, ()) = tokio::join!(soon(dialling), releasing);
                match dialled {
                    Err(NetError::Handshake(Error::Denied(denied))) => {
                        assert_eq!(denied.status, status);
                    }
                    other => panic!("{other:?}"),
                }
                // The server may have accepted it already. Its connection has ended.
                match server.note().await {
                    Noted::Refused(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(server.notes().is_empty());
        };
        let what = "libzmq #4912: denials by a client";
        load_attack(what, Setup::new(Kind::Null), scaled(3000, 120), MIB, attack).await;
    });
}
