//! Which peers a tunnel refuses, and what each side sees of a refusal.

use crate::net_peers::{ANY_PORT, eventually, null, soon, welcoming};
use crate::rig::{
    MECHANISMS, address, claiming, client, client_tunnel, ipc, read_to_end, server, server_tunnel,
    server_with,
};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zmtp_auth::net::{
    Connection, Endpoint, Event, Listener, NetError, Tunnel, TunnelError, TunnelOptions,
};
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Config, DenialStatus, Domain, Error, KeyPair, Limits, Metadata, NoPolicy, SocketType,
};

fn denying(status: DenialStatus) -> ZapRouter {
    let router = ZapRouter::new();
    let deny = move |request: ZapRequest| async move { request.deny(status, "not today") };
    router.bind("test", deny).unwrap();
    router
}

fn push_named(name: &'static str) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.push("Socket-Type", "PUSH").unwrap();
    metadata.push("X-Name", name).unwrap();
    metadata
}

/// A tunnel in front of a program at an ipc path. Returns whether a message crosses it.
#[cfg(unix)]
async fn crosses_to(
    program: &str,
    options: TunnelOptions,
    arrived: impl Future<Output = ()>,
) -> bool {
    let config = server(SocketType::Relay, "curve");
    let tunnel = Tunnel::server(ANY_PORT, program, (config, welcoming()), options)
        .await
        .unwrap();
    let config = client(SocketType::Push, "curve");
    let mut push = match soon(Connection::connect(tunnel.local_endpoint(), config)).await {
        Ok(push) => push,
        Err(error) => {
            assert!(
                matches!(error, NetError::Handshake(Error::ClosedByPeer(_))),
                "{error}"
            );
            return false;
        }
    };
    push.send("secret").await.unwrap();
    soon(arrived).await;
    true
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_forwarded_to_an_ipc_socket_of_another_user() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let ours = std::fs::metadata(directory.path()).unwrap().uid();
    let path = ipc(directory.path(), "program");
    let program = Listener::bind(path.as_str(), null(SocketType::Pull))
        .await
        .unwrap();
    for (forward_uid, crosses) in [(None, true), (Some(ours), true), (Some(ours + 1), false)] {
        let options = TunnelOptions::default()
            .with_forward_uid(forward_uid)
            .with_allow_cleartext(true);
        let arrived = async {
            let mut pull = program.accept().await.unwrap();
            pull.recv_message().await.unwrap();
        };
        assert_eq!(
            crosses_to(&path, options, arrived).await,
            crosses,
            "{forward_uid:?}"
        );
    }
}

#[tokio::test]
async fn no_backend_is_dialled_for_a_refused_peer() {
    for mechanism in MECHANISMS {
        let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
            .await
            .unwrap();
        let forward = program.local_endpoint();
        let config = client(SocketType::Push, mechanism);
        for status in [
            DenialStatus::Failure,
            DenialStatus::Temporary,
            DenialStatus::Internal,
        ] {
            let tunnel = server_tunnel(forward, mechanism, denying(status)).await;
            let refused = claiming(tunnel.local_endpoint(), &config, push_named("refused")).await;
            refused.unwrap_err();
        }
        // No handler; another mechanism; no ZMTP at all.
        let tunnel = server_tunnel(forward, mechanism, ZapRouter::new()).await;
        let refused = claiming(tunnel.local_endpoint(), &config, push_named("refused")).await;
        refused.unwrap_err();
        let tunnel = server_tunnel(forward, mechanism, welcoming()).await;
        for bytes in [
            Greeting::encode(mechanism_name("NULL"), false).to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut stream = TcpStream::connect(address(tunnel.local_endpoint()))
                .await
                .unwrap();
            stream.write_all(&bytes).await.unwrap();
            read_to_end(&mut stream).await;
        }
        // The first peer that reaches the program, if only for a moment, must be the admitted one.
        let claiming = claiming(tunnel.local_endpoint(), &config, push_named("admitted"));
        let (claimed, event) = soon(async { tokio::join!(claiming, program.next_event()) }).await;
        claimed.unwrap();
        match event.unwrap() {
            Event::Accepted(connection) => {
                let properties = &connection.peer().claims.properties;
                assert_eq!(properties.get("X-Name").unwrap(), "admitted");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a program with NULL sees after it has sent its greeting and READY to this tunnel.
async fn seen_by_the_program(tunnel: &Tunnel) -> Vec<u8> {
    let mut stream = TcpStream::connect(address(tunnel.local_endpoint()))
        .await
        .unwrap();
    let greeting = Greeting::encode(mechanism_name("NULL"), false);
    stream.write_all(&greeting).await.unwrap();
    let ready = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH";
    stream.write_all(ready).await.unwrap();
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn whatever_happens_on_the_far_side_the_local_program_sees_the_end_and_no_error() {
    let greeting = Greeting::encode(mechanism_name("NULL"), false);
    for mechanism in MECHANISMS {
        for router in [
            denying(DenialStatus::Failure),
            denying(DenialStatus::Temporary),
            denying(DenialStatus::Internal),
        ] {
            let far = Listener::bind(ANY_PORT, (server(SocketType::Pull, mechanism), router))
                .await
                .unwrap();
            let tunnel = client_tunnel(far.local_endpoint(), mechanism).await;
            assert_eq!(seen_by_the_program(&tunnel).await, greeting);
        }
        // No listener at the far side.
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint: Endpoint = crate::net_peers::local(gone.local_addr().unwrap().port());
        let tunnel = client_tunnel(&endpoint, mechanism).await;
        let closing = async {
            // A listener that hangs up.
            drop(gone.accept().await.unwrap());
        };
        let (seen, ()) = soon(async { tokio::join!(seen_by_the_program(&tunnel), closing) }).await;
        assert_eq!(seen, greeting);
        drop(gone);
        assert_eq!(seen_by_the_program(&tunnel).await, greeting);
    }
    // The wrong server.
    let config = Config::builder(SocketType::Pull)
        .curve_server(KeyPair::generate().unwrap())
        .accept_any_peer()
        .finish()
        .unwrap();
    let far = Listener::bind(ANY_PORT, config).await.unwrap();
    let tunnel = client_tunnel(far.local_endpoint(), "curve").await;
    assert_eq!(seen_by_the_program(&tunnel).await, greeting);
}

#[tokio::test]
async fn a_backend_that_refuses_shows_as_a_mere_close() {
    let config = Config::builder(SocketType::Pull)
        .null()
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    let program = Listener::bind(ANY_PORT, (config, denying(DenialStatus::Failure)))
        .await
        .unwrap();
    let tunnel = server_tunnel(program.local_endpoint(), "curve", welcoming()).await;
    let config = client(SocketType::Push, "curve");
    let error = claiming(tunnel.local_endpoint(), &config, push_named("admitted")).await;
    assert!(matches!(
        error.unwrap_err(),
        zmtp_auth::Error::ClosedByPeer(_)
    ));
}

/// A program that reconnects after 100 ms, as libzmq does.
async fn come_again(tunnel: &Tunnel, config: Config<NoPolicy>) -> Connection {
    loop {
        let endpoint = tunnel.local_endpoint();
        if let Ok(connection) = Connection::connect(endpoint, config.clone()).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const TEN_MINUTES: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_far_side_that_is_down_is_asked_ever_more_slowly_for_all_programs_together() {
    let far = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = far.local_addr().unwrap().port();
    for mechanism in MECHANISMS {
        let tunnel = client_tunnel(&crate::net_peers::local(port), mechanism).await;
        let mut asked = 0;
        let asking = async {
            while asked < 200 {
                // Closes, as a server does that does not know our key.
                drop(far.accept().await.unwrap());
                asked += 1;
            }
        };
        let program = |kind| come_again(&tunnel, null(kind));
        let _ = tokio::time::timeout(TEN_MINUTES, async {
            tokio::select! {
                () = asking => {}
                _ = program(SocketType::Push) => {}
                _ = program(SocketType::Dealer) => {}
                _ = program(SocketType::Sub) => {}
            }
        })
        .await;
        // Doubled from 100 ms to 30 s, then at least every 30 s.
        assert!((20..60).contains(&asked), "asked {asked} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_falls_over_when_it_has_taken_a_connection_is_asked_ever_more_slowly() {
    let far = Listener::bind(ANY_PORT, (server(SocketType::Pull, "curve"), welcoming()))
        .await
        .unwrap();
    let tunnel = client_tunnel(far.local_endpoint(), "curve").await;
    let mut asked = 0;
    let asking = async {
        while asked < 200 {
            drop(far.accept().await.unwrap());
            asked += 1;
        }
    };
    let coming = async {
        loop {
            let connection = come_again(&tunnel, null(SocketType::Push)).await;
            connection.closed().await;
        }
    };
    let _ = tokio::time::timeout(TEN_MINUTES, async { tokio::join!(asking, coming) }).await;
    assert!((20..60).contains(&asked), "asked {asked} times");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_refused_for_what_it_says_of_itself_holds_up_no_other() {
    let refused = Arc::new(AtomicUsize::new(0));
    let router = ZapRouter::new();
    let count = Arc::clone(&refused);
    let handler = move |request: ZapRequest| {
        let count = Arc::clone(&count);
        async move {
            if request.identity == "bad" {
                count.fetch_add(1, Ordering::Relaxed);
                return request.deny(DenialStatus::Failure, "not that one");
            }
            request.allow("somebody")
        }
    };
    router.bind("test", handler).unwrap();
    let far = Listener::bind(ANY_PORT, (server(SocketType::Router, "curve"), router))
        .await
        .unwrap();
    let tunnel = client_tunnel(far.local_endpoint(), "curve").await;
    let dealer = |identity: &'static str| {
        let builder = Config::builder(SocketType::Dealer).identity(identity);
        builder.null().accept_any_peer().finish().unwrap()
    };
    let good = async {
        let mut longest = Duration::ZERO;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let start = Instant::now();
            let connecting = Connection::connect(tunnel.local_endpoint(), dealer("good"));
            connecting.await.unwrap();
            longest = longest.max(start.elapsed());
        }
        longest
    };
    let accepting = async {
        loop {
            // Kept open.
            std::mem::forget(far.accept().await);
        }
    };
    let longest = tokio::select! {
        longest = good => longest,
        () = accepting => unreachable!(),
        _ = come_again(&tunnel, dealer("bad")) => panic!("let in"),
    };
    assert!(longest < Duration::from_secs(1), "held up for {longest:?}");
    let refused = refused.load(Ordering::Relaxed);
    assert!((8..25).contains(&refused), "asked {refused} times");
}

#[tokio::test(start_paused = true)]
async fn programs_that_wait_for_a_far_side_all_get_through_once_it_is_back() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let far = crate::net_peers::local(gone.local_addr().unwrap().port());
    drop(gone);
    let tunnel = client_tunnel(&far, "curve").await;
    let coming = async {
        let program = || come_again(&tunnel, null(SocketType::Push));
        tokio::join!(program(), program(), program());
    };
    let back = async {
        tokio::time::sleep(TEN_MINUTES).await;
        let config = server(SocketType::Pull, "curve");
        let far = Listener::bind(&far, (config, welcoming())).await.unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            std::mem::forget(far.accept().await.unwrap());
        }
        start.elapsed()
    };
    let (after, ()) = tokio::join!(back, coming);
    assert!(after <= Duration::from_secs(31), "after {after:?}");
}

#[tokio::test]
async fn idle_connections_lock_no_peer_out() {
    let mut limits = Limits::default();
    limits.max_pending_handshakes = 3;
    limits.max_pending_verdicts = 2;
    let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let config = server_with(SocketType::Relay, "curve", limits);
    let options = TunnelOptions::default();
    let tunnel = Tunnel::server(
        ANY_PORT,
        program.local_endpoint(),
        (config, welcoming()),
        options,
    )
    .await
    .unwrap();
    // A handshake that has lost its slot is closed once.
    let asked_again = Arc::new(AtomicUsize::new(0));
    let (counted, before) = (Arc::clone(&asked_again), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if panic.to_string().contains("called after complete") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    let mut idle = Vec::new();
    for _ in 0..50 {
        let stream = TcpStream::connect(address(tunnel.local_endpoint())).await;
        idle.push(stream.unwrap());
    }
    // Evicted connections are closed completely.
    for stream in &mut idle[..47] {
        read_to_end(stream).await;
    }
    assert_eq!(asked_again.load(Ordering::SeqCst), 0);
    let config = client(SocketType::Push, "curve");
    let mut push = soon(Connection::connect(tunnel.local_endpoint(), config))
        .await
        .unwrap();
    push.send("hello").await.unwrap();
    let mut pull = soon(program.accept()).await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["hello"]);
}

/// A tunnel to a program that accepts connections and never sends a byte, and the number of
/// questions to policy.
async fn to_a_hung_program(limits: Limits) -> (Tunnel, TcpListener, Arc<AtomicUsize>) {
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (router, counted) = (ZapRouter::new(), Arc::clone(&asked));
    let count = move |request: ZapRequest| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { request.allow("somebody") }
    };
    router.bind("test", count).unwrap();
    let forward = format!("tcp://{}", program.local_addr().unwrap());
    let config = server_with(SocketType::Relay, "curve", limits);
    let options = TunnelOptions::default();
    let tunnel = Tunnel::server(ANY_PORT, &forward[..], (config, router), options).await;
    (tunnel.unwrap(), program, asked)
}

#[tokio::test]
async fn peers_that_wait_for_a_hung_program_keep_no_newcomer_out() {
    const SLOTS: usize = 8;
    let mut limits = Limits::default();
    limits.max_pending_handshakes = SLOTS;
    limits.max_pending_verdicts = SLOTS - 1;
    let (tunnel, _program, asked) = to_a_hung_program(limits).await;
    let mut waiting = JoinSet::new();
    for count in 1..=3 * SLOTS {
        let config = client(SocketType::Push, "curve");
        let endpoint = tunnel.local_endpoint().clone();
        waiting.spawn(async move { Connection::connect(endpoint, config).await });
        eventually(|| asked.load(Ordering::SeqCst) == count).await;
    }
    // Peers without admission evict each other and no admitted peer.
    let mut strangers = Vec::new();
    for _ in 0..3 * SLOTS {
        let stream = TcpStream::connect(address(tunnel.local_endpoint())).await;
        strangers.push(stream.unwrap());
    }
    for stream in &mut strangers[..2 * SLOTS] {
        read_to_end(stream).await;
    }
    let ended = waiting.try_join_next();
    assert!(ended.is_none(), "{ended:?}");
    tunnel.close().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_waits_for_the_backend_counts_as_a_connection() {
    let mut limits = Limits::default();
    limits.max_connections = Some(3);
    let (tunnel, program, asked) = to_a_hung_program(limits).await;
    let dial = || {
        let config = client(SocketType::Push, "curve");
        let endpoint = tunnel.local_endpoint().clone();
        async move {
            soon(Connection::connect(endpoint, config))
                .await
                .unwrap_err()
        }
    };
    let mut waiting = JoinSet::new();
    for count in 1..=3 {
        waiting.spawn(dial());
        eventually(|| asked.load(Ordering::SeqCst) == count).await;
    }
    let refused = dial().await;
    assert!(
        matches!(
            refused,
            NetError::Handshake(zmtp_auth::Error::ClosedByPeer(zmtp_auth::Stage::CurveReady))
        ),
        "{refused}"
    );
    assert!(waiting.try_join_next().is_none());
    // The program ends, and the peers that waited for it are closed. Others can take their slots.
    for _ in 0..3 {
        drop(soon(program.accept()).await.unwrap());
    }
    while let Some(ended) = soon(waiting.join_next()).await {
        ended.unwrap();
    }
    waiting.spawn(dial());
    let _reached = soon(program.accept()).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_with_the_wrong_roles_or_an_open_clear_side_is_refused() {
    let asks = |kind, mechanism| server(kind, mechanism);
    let problem = |result: Result<Tunnel, NetError>| match result {
        Err(NetError::Tunnel(error)) => error,
        other => panic!("{other:?}"),
    };
    let local = "tcp://127.0.0.1:5000";
    let options = TunnelOptions::default;
    let router = ZapRouter::new;
    let config = asks(SocketType::Pull, "curve");
    let bound = Tunnel::server(ANY_PORT, local, (config, router()), options()).await;
    assert_eq!(
        problem(bound),
        TunnelError::SocketType(Some(SocketType::Pull))
    );
    let null_asks = Config::builder(SocketType::Relay)
        .null()
        .authorize(Domain::EMPTY)
        .finish()
        .unwrap();
    let bound = Tunnel::server(ANY_PORT, local, (null_asks, router()), options()).await;
    assert_eq!(problem(bound), TunnelError::NotAServer);
    let any_peer = Config::builder(SocketType::Relay)
        .curve_server(KeyPair::generate().unwrap())
        .accept_any_peer()
        .finish()
        .unwrap();
    let bound = Tunnel::server(ANY_PORT, local, any_peer, options()).await;
    assert_eq!(problem(bound), TunnelError::NotAuthorizing);
    let bound = Tunnel::client(ANY_PORT, local, null(SocketType::Relay), options()).await;
    assert_eq!(problem(bound), TunnelError::NotAClient);
    // The clear side must stay on this machine unless the options allow otherwise.
    for far in ["tcp://192.0.2.1:5000", "tcp://example.org:5000"] {
        let config = asks(SocketType::Relay, "curve");
        let bound = Tunnel::server(ANY_PORT, far, (config, router()), options()).await;
        assert_eq!(problem(bound), TunnelError::Cleartext(far.parse().unwrap()));
    }
    let config = client(SocketType::Relay, "curve");
    let bound = Tunnel::client("tcp://*:*", local, config.clone(), options()).await;
    assert!(matches!(problem(bound), TunnelError::Cleartext(_)));
    let mut allowed = options();
    allowed.allow_cleartext = true;
    let bound = Tunnel::client("tcp://*:*", local, config, allowed).await;
    soon(bound.unwrap().close()).await.unwrap();
    // A forward address must be one that can be connected to.
    let config = asks(SocketType::Relay, "curve");
    let bound = Tunnel::server(ANY_PORT, "tcp://127.0.0.1:*", (config, router()), options()).await;
    assert!(matches!(bound, Err(NetError::Endpoint(_))));
}
