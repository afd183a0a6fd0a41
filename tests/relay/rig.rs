//! Tunnels and the programs at their ends, in memory. The rig carries their output in pieces of any
//! size.

use super::pair::{Endpoint, client_keys, server_keys};
use bytes::{BufMut, Bytes, BytesMut};
use std::time::Instant;
use zmtp_auth::PeerContext;
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::relay::{IdentityRule, PeerHandoff, Relay, RelayEnd, RelayError, Side};
use zmtp_auth::traffic::frames::{Frame, FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{
    Authorizing, Builder, Config, DenialStatus, Domain, Error, Limits, NoPolicy, Peer, PeerAddress,
    SocketType, Verdict,
};

pub const MECHANISMS: [&str; 2] = ["plain", "curve"];

pub fn here() -> PeerAddress {
    PeerAddress::from_zap(b"127.0.0.1")
}

pub fn null(builder: Builder<WantsMechanism>) -> Config<NoPolicy> {
    builder.null().accept_any_peer().finish().unwrap()
}

/// A client with the network's mechanism.
pub fn client(builder: Builder<WantsMechanism>, mechanism: &str) -> Config<NoPolicy> {
    match mechanism {
        "plain" => builder.plain_client("admin", "secret").finish().unwrap(),
        "curve" => builder
            .curve_client(client_keys(), server_keys().public_key())
            .finish()
            .unwrap(),
        other => panic!("{other}"),
    }
}

/// A server with the network's mechanism, which asks policy.
pub fn server(builder: Builder<WantsMechanism>, mechanism: &str) -> Config<Authorizing> {
    let domain = Domain::from("tunnel");
    match mechanism {
        "plain" => builder.plain_server().authorize(domain).finish().unwrap(),
        "curve" => builder
            .curve_server(server_keys())
            .authorize(domain)
            .finish()
            .unwrap(),
        other => panic!("{other}"),
    }
}

/// A tunnel between two connections.
pub struct Tunnel {
    state: State,
    back: Config<NoPolicy>,
    rule: IdentityRule,
    limits: Limits,
    verdict: Verdict,
    front_in: BytesMut,
    front_out: BytesMut,
    back_in: BytesMut,
    back_out: BytesMut,
    /// The number of dials.
    pub dialled: usize,
}

enum State {
    Front(Box<Handshake>),
    Meeting(Box<PeerHandoff>, Box<Handshake>),
    Flowing(Box<Relay>),
    Ended(Ended),
    Moving,
}

/// Why a tunnel has ended.
#[derive(Debug, Clone)]
pub enum Ended {
    Front(Error),
    Back(Error),
    Traffic(RelayError),
}

impl Tunnel {
    /// The network at the front, a program with NULL at the back.
    pub fn server(mechanism: &str) -> Self {
        let relay = Config::builder(SocketType::Relay);
        Self::new(
            &server(relay, mechanism),
            null(Config::builder(SocketType::Relay)),
        )
    }

    /// A program with NULL at the front, the network at the back.
    pub fn client(mechanism: &str) -> Self {
        let relay = Config::builder(SocketType::Relay);
        Self::new(
            &null(Config::builder(SocketType::Relay)),
            client(relay, mechanism),
        )
    }

    fn new<A>(front: &Config<A>, back: Config<NoPolicy>) -> Self {
        let mut front_out = BytesMut::new();
        let state = Handshake::start(front, PeerContext::new(here()), &mut front_out);
        Self {
            state: State::Front(Box::new(state)),
            back,
            rule: IdentityRule::Pass,
            limits: Limits::default(),
            verdict: Verdict::allow("alice"),
            front_in: BytesMut::new(),
            front_out,
            back_in: BytesMut::new(),
            back_out: BytesMut::new(),
            dialled: 0,
        }
    }

    pub fn ruled(mut self, rule: IdentityRule) -> Self {
        self.rule = rule;
        self
    }

    pub fn limited(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub fn answering(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    pub fn denying(self, status: DenialStatus) -> Self {
        self.answering(Verdict::deny(status, "not you"))
    }

    pub fn feed(&mut self, side: Side, bytes: &[u8]) {
        if let State::Flowing(relay) = &mut self.state {
            let mut rest = bytes;
            while !rest.is_empty() {
                let mut room = relay.room(side);
                let (now, later) = rest.split_at(rest.len().min(room.remaining_mut()));
                room.put_slice(now);
                relay.on_read(side, Instant::now());
                rest = later;
            }
        } else {
            match side {
                Side::Front => &mut self.front_in,
                Side::Back => &mut self.back_in,
            }
            .extend_from_slice(bytes);
        }
        self.advance();
    }

    /// Its output to this side, at most `most` bytes.
    pub fn take(&mut self, side: Side, most: usize) -> Vec<u8> {
        let waiting = match side {
            Side::Front => &mut self.front_out,
            Side::Back => &mut self.back_out,
        };
        if !waiting.is_empty() {
            return waiting.split_to(most.min(waiting.len())).to_vec();
        }
        let State::Flowing(relay) = &mut self.state else {
            return Vec::new();
        };
        let parts = relay.output(side);
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        bytes.truncate(most);
        relay.on_written(side, bytes.len());
        self.advance();
        bytes
    }

    fn advance(&mut self) {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Moving) {
                State::Front(front) => match self.step_front(*front) {
                    Ok((state, goes_on)) => {
                        self.state = state;
                        if goes_on {
                            continue;
                        }
                        return;
                    }
                    Err(error) => State::Ended(Ended::Front(error)),
                },
                State::Meeting(handoff, back) => match self.step_back(handoff, *back) {
                    Ok((state, goes_on)) => {
                        self.state = state;
                        if goes_on {
                            continue;
                        }
                        return;
                    }
                    Err(ended) => State::Ended(ended),
                },
                State::Flowing(mut relay) => match relay.forward() {
                    Ok(()) => State::Flowing(relay),
                    Err(broken) => State::Ended(Ended::Traffic(broken)),
                },
                other => other,
            };
            return;
        }
    }

    fn step_front(&mut self, front: Handshake) -> Result<(State, bool), Error> {
        let next = match front {
            Handshake::NeedsInput(front) => {
                let next = front.process(&mut self.front_in, &mut self.front_out)?;
                let goes_on = !matches!(next, Handshake::NeedsInput(_));
                return Ok((State::Front(Box::new(next)), goes_on));
            }
            Handshake::Authorize(question) => {
                question.resume(self.verdict.clone(), &mut self.front_out)?
            }
            Handshake::NeedsMetadata(pause) => {
                let handoff = PeerHandoff::new(pause, self.rule)?;
                self.dialled += 1;
                let conn = handoff.peer_context(here());
                let back = Handshake::start(&self.back, conn, &mut self.back_out);
                return Ok((State::Meeting(Box::new(handoff), Box::new(back)), true));
            }
            Handshake::Complete(_) => panic!("complete without its back"),
        };
        Ok((State::Front(Box::new(next)), true))
    }

    fn step_back(
        &mut self,
        handoff: Box<PeerHandoff>,
        back: Handshake,
    ) -> Result<(State, bool), Ended> {
        match back {
            Handshake::NeedsInput(back) => {
                let next = back
                    .process(&mut self.back_in, &mut self.back_out)
                    .map_err(Ended::Back)?;
                let goes_on = !matches!(next, Handshake::NeedsInput(_));
                Ok((State::Meeting(handoff, Box::new(next)), goes_on))
            }
            Handshake::Complete(back) => {
                let front = handoff
                    .complete(&back.peer.claims, &mut self.front_out)
                    .map_err(Ended::Front)?;
                let leg = |established: Established, input: &mut BytesMut| {
                    RelayEnd::new(established, &self.limits, None, Instant::now())
                        .with_input(std::mem::take(input))
                };
                let front = leg(*front, &mut self.front_in);
                let back = leg(*back, &mut self.back_in);
                let relay = Relay::new(front, back);
                Ok((State::Flowing(Box::new(relay)), true))
            }
            other => panic!("the back pauses: {other:?}"),
        }
    }

    pub fn relay(&mut self) -> &mut Relay {
        match &mut self.state {
            State::Flowing(relay) => relay,
            State::Ended(ended) => panic!("{ended:?}"),
            _ => panic!("not complete"),
        }
    }

    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }
}

/// A program: a handshake, then frames.
pub struct Program {
    state: Stage,
    input: BytesMut,
    out: BytesMut,
    /// The minor version in its greeting, and the part of the greeting that is sent.
    minor: u8,
    greeted: usize,
    pub got: Vec<Frame>,
}

enum Stage {
    Greeting(Box<Endpoint>),
    Traffic(Box<Peer>, FrameReader, FrameWriter),
    Moving,
}

impl Program {
    pub fn new<A>(config: Config<A>) -> Self {
        Self::with_conn(&config, PeerContext::new(here()))
    }

    pub fn with_conn<A>(config: &Config<A>, conn: PeerContext) -> Self {
        let endpoint = Endpoint::with_conn(config, conn);
        Self {
            state: Stage::Greeting(Box::new(endpoint)),
            input: BytesMut::new(),
            out: BytesMut::new(),
            minor: 1,
            greeted: 0,
            got: Vec::new(),
        }
    }

    /// Announces ZMTP 3.0.
    pub fn old(mut self) -> Self {
        self.minor = 0;
        self
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.state {
            Stage::Greeting(endpoint) => endpoint.feed(bytes),
            _ => self.input.extend_from_slice(bytes),
        }
        self.advance();
    }

    fn advance(&mut self) {
        if let Stage::Greeting(endpoint) = &mut self.state {
            let mut written = endpoint.take_output();
            if let Some(minor) = 11_usize
                .checked_sub(self.greeted)
                .and_then(|at| written.get_mut(at))
            {
                *minor = self.minor;
            }
            self.greeted += written.len();
            self.out.extend_from_slice(&written);
        }
        let greeted = matches!(&self.state, Stage::Greeting(endpoint) if endpoint.is_complete());
        if greeted
            && let Stage::Greeting(endpoint) = std::mem::replace(&mut self.state, Stage::Moving)
        {
            self.input.extend_from_slice(endpoint.leftover());
            let Established {
                sealer,
                opener,
                peer,
                ..
            } = endpoint.into_established();
            let reader = FrameReader::new(opener, &Limits::default());
            self.state = Stage::Traffic(Box::new(peer), reader, FrameWriter::new(sealer));
        }
        if let Stage::Traffic(_, reader, _) = &mut self.state {
            while let Some(frame) = reader.read(&mut self.input).unwrap() {
                self.got.push(frame);
            }
        }
    }

    pub fn take(&mut self, most: usize) -> Vec<u8> {
        self.advance();
        self.out.split_to(most.min(self.out.len())).to_vec()
    }

    /// Queues a frame.
    pub fn send(&mut self, flags: Flags, body: &[u8]) {
        match &mut self.state {
            Stage::Traffic(_, _, writer) => writer.write(flags, body, &mut self.out).unwrap(),
            _ => panic!("not complete: {:?}", self.error()),
        }
    }

    /// What the program knows of the other side.
    pub fn peer(&self) -> &Peer {
        match &self.state {
            Stage::Traffic(peer, ..) => peer,
            _ => panic!("not complete: {:?}", self.error()),
        }
    }

    pub fn is_complete(&self) -> bool {
        matches!(self.state, Stage::Traffic(..))
    }

    pub fn error(&self) -> Option<&Error> {
        match &self.state {
            Stage::Greeting(endpoint) => endpoint.error(),
            _ => None,
        }
    }

    /// A property of the other side with exactly this name.
    pub fn property(&self, name: &str) -> Option<Bytes> {
        let properties = &self.peer().claims.properties;
        let found = properties.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    }

    /// Everything received since the last call.
    pub fn received(&mut self) -> Vec<(Flags, Bytes)> {
        let got = std::mem::take(&mut self.got);
        got.into_iter()
            .map(|frame| (frame.flags, frame.body))
            .collect()
    }
}

/// Carries bytes between two programs and the row of tunnels between them, `most` at a time, until
/// all are silent. The first program is at the front of the first tunnel, the second at the back of
/// the last.
pub fn drive(first: &mut Program, tunnels: &mut [Tunnel], last: &mut Program, most: usize) {
    loop {
        let mut silent = true;
        for hop in 0..=tunnels.len() {
            let onward = match hop {
                0 => first.take(most),
                hop => tunnels[hop - 1].take(Side::Back, most),
            };
            let backward = match tunnels.get_mut(hop) {
                Some(tunnel) => tunnel.take(Side::Front, most),
                None => last.take(most),
            };
            silent &= onward.is_empty() && backward.is_empty();
            if !onward.is_empty() {
                match tunnels.get_mut(hop) {
                    Some(tunnel) => tunnel.feed(Side::Front, &onward),
                    None => last.feed(&onward),
                }
            }
            if !backward.is_empty() {
                match hop {
                    0 => first.feed(&backward),
                    hop => tunnels[hop - 1].feed(Side::Back, &backward),
                }
            }
        }
        if silent {
            return;
        }
    }
}

pub const WHOLE: usize = usize::MAX;
