//! A byte stream that is cut, reset or half-closed at any byte (CVE-2021-20235, CVE-2020-36400).

use super::load_attack::{MIB, alone, load_attack, scaled};
use super::raw::{Raw, first_command, frame, greeting};
use super::relay::{Cut, Relay, Way};
use super::server::{KINDS, Kind, Noted, Server, Setup};
use zmtp_auth::net::NetError;

/// Runs an honest peer's conversation through the relay, with `cut` at byte `at` of one direction.
/// Returns the client's result and the bytes that each side has sent.
async fn converse(
    server: &Server,
    relay: &Relay,
    way: Way,
    at: usize,
    cut: Cut,
) -> (Result<(), NetError>, [usize; 2]) {
    let endpoint = relay.endpoint();
    tokio::join!(server.serve_noted(&endpoint), relay.carry(way, at, cut))
}

/// Makes `cut` at `load` points spread evenly over an honest conversation, or at all its bytes.
/// Hands direction, point and result of [`converse`] to `judge`.
async fn at_many_points(
    server: &mut Server,
    load: usize,
    cut: Cut,
    judge: impl AsyncFn(&mut Server, Result<(), NetError>, [usize; 2], [usize; 2]),
) {
    let relay = Relay::to(server.target.address).await;
    let (client, whole) = converse(server, &relay, Way::ToServer, usize::MAX, cut).await;
    client.unwrap();
    server.accepted().await;
    assert!(matches!(server.end().await, NetError::Closed));
    let total = whole[0] + whole[1];
    let load = load.min(total);
    for point in (0..load).map(|index| index * total / load) {
        let (way, at) = match point.checked_sub(whole[0]) {
            None => (Way::ToServer, point),
            Some(at) => (Way::ToClient, at),
        };
        let (client, sent) = converse(server, &relay, way, at, cut).await;
        judge(server, client, sent, whole).await;
    }
    assert!(server.notes().is_empty());
}

/// More than the bytes of any conversation here.
const EVERY_POINT: usize = 4000;

#[test]
fn cve_2021_20235_and_2020_36400_a_stream_cut_at_every_point_says_the_same() {
    alone(async || {
        for kind in KINDS {
            let what = format!("CVE-2021-20235: a cut at each point, {kind:?}");
            let attack = async |server: &mut Server, load| {
                at_many_points(
                    server,
                    load,
                    Cut::InTwo,
                    async |server, client, sent, whole| {
                        client.unwrap();
                        assert_eq!(sent, whole);
                        server.accepted().await;
                        assert!(matches!(server.end().await, NetError::Closed));
                    },
                )
                .await;
            };
            load_attack(
                &what,
                Setup::new(kind),
                scaled(EVERY_POINT, 150),
                MIB,
                attack,
            )
            .await;
        }
    });
}

#[test]
fn cve_2021_20235_and_2020_36400_a_stream_that_comes_byte_by_byte_says_the_same() {
    alone(async || {
        for kind in [Kind::Null, Kind::NullAsks] {
            let what = format!("CVE-2021-20235: byte by byte, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let mut raw = Raw::connect(&server.target).await;
                    let message = frame(0, &[round as u8; 300]);
                    let stream = [&greeting("NULL")[..], &first_command(kind), &message].concat();
                    raw.say_in_bytes(&stream).await;
                    server.accepted().await;
                    let delivered = server.delivery().await.into_message().unwrap();
                    assert_eq!(delivered.single().unwrap(), &[round as u8; 300][..]);
                    raw.finish().await;
                    assert!(matches!(server.end().await, NetError::Closed));
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(2000, 50), MIB, attack).await;
        }
    });
}

/// Checks that the server has seen the end of a conversation that was cut: one refusal, or the end
/// of an accepted connection. The client has an error, unless the conversation was over.
async fn has_ended(server: &mut Server, client: Result<(), NetError>) {
    match server.note().await {
        Noted::Refused(refusal) => {
            assert!(
                matches!(refusal.error, NetError::Handshake(_)),
                "{refusal:?}"
            );
            assert!(client.is_err());
        }
        Noted::Accepted => {
            let end = server.end().await;
            assert!(matches!(end, NetError::Closed), "{end}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reset_at_any_point_ends_that_connection_and_nothing_else() {
    alone(async || {
        for kind in KINDS {
            let what = format!("resets at each point, {kind:?}");
            let attack = async |server: &mut Server, load| {
                at_many_points(server, load, Cut::Reset, async |server, client, _, _| {
                    has_ended(server, client).await;
                })
                .await;
            };
            load_attack(
                &what,
                Setup::new(kind),
                scaled(EVERY_POINT, 150),
                MIB,
                attack,
            )
            .await;
        }
    });
}

#[test]
fn a_half_close_at_any_point_ends_that_connection_and_nothing_else() {
    alone(async || {
        for kind in KINDS {
            let what = format!("half-closes at each point, {kind:?}");
            let attack = async |server: &mut Server, load| {
                at_many_points(
                    server,
                    load,
                    Cut::HalfClose,
                    async |server, client, _, _| {
                        has_ended(server, client).await;
                    },
                )
                .await;
            };
            load_attack(
                &what,
                Setup::new(kind),
                scaled(EVERY_POINT, 150),
                MIB,
                attack,
            )
            .await;
        }
    });
}
