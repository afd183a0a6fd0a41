//! Who takes part: the connection under attack, three other sessions whose bytes the middleman
//! has, and the policy that is asked. Concrete here; `model.rs` has the same in symbols.

use crate::pair::{Endpoint, Seeded, keys};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use zmtp_auth::zap::{RequestId, ZapReply, ZapRequest};
use zmtp_auth::{
    AccessRequest, Config, Credentials, DenialStatus, Domain, Limits, MechanismKind, PeerAddress,
    SocketType, Verdict,
};

/// A way in which two sides meet, and what is not as it should be.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub mechanism: MechanismKind,
    pub client_asks: bool,
    pub server_asks: bool,
    pub twist: Twist,
    pub bug: Bug,
}

/// What is wrong with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    Nothing,
    /// Policy does not know its key, its password or, under NULL, anybody.
    Unwelcome,
    /// It holds the public key of a server that does not exist (CURVE).
    WrongServerKey,
}

/// A bug planted to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    None,
    /// The server answers its own question with yes.
    ApprovesUnasked,
    /// The server draws for every connection the same "random" bytes, so that the cookies of one
    /// session are good in another.
    RepeatsRandomness,
    /// The server takes whatever ZAP reply comes for the answer to its question.
    TakesAnyReply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// The one that the middleman sits on.
    Attacked,
    /// An earlier one of the same client and the same server.
    Earlier,
    /// One of Mallory's own with the same server, where she is a user in good standing.
    Mallorys,
    /// One of the same client's with a server of Mallory's, to which he went of his own will.
    Lured,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    Client,
    Server,
}

/// One end of one session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    pub session: Session,
    pub end: End,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.session, self.end)
    }
}

pub const CLIENT: Run = Run {
    session: Session::Attacked,
    end: End::Client,
};
pub const SERVER: Run = Run {
    session: Session::Attacked,
    end: End::Server,
};

/// Seeds of long-term key pairs.
pub const SEEDS: [u8; 5] = [ALICE, SERVICE, MALLORY, STRANGER, NOBODY];
const ALICE: u8 = 11;
const SERVICE: u8 = 22;
const MALLORY: u8 = 33;
const STRANGER: u8 = 44;
const NOBODY: u8 = 55;

impl Run {
    /// The identity that it claims; no two claim the same.
    pub fn identity(self) -> String {
        format!("{self:?}")
    }

    /// The seed of its long-term key.
    pub fn key(self, scenario: &Scenario) -> u8 {
        match (self.end, self.session) {
            (End::Client, Session::Mallorys) => MALLORY,
            (End::Client, _) if scenario.twist == Twist::Unwelcome => STRANGER,
            (End::Client, _) => ALICE,
            (End::Server, Session::Lured) => MALLORY,
            (End::Server, _) => SERVICE,
        }
    }

    /// The seed of the key that a client expects of its server.
    pub fn expected_server_key(self, scenario: &Scenario) -> u8 {
        let server = Run {
            end: End::Server,
            ..self
        };
        match self.session {
            Session::Attacked | Session::Earlier if scenario.twist == Twist::WrongServerKey => {
                NOBODY
            }
            _ => server.key(scenario),
        }
    }

    /// User name and password under PLAIN.
    pub fn login(self, scenario: &Scenario) -> (&'static str, &'static str) {
        match self.session {
            Session::Mallorys => ("mallory", "swordfish"),
            _ if scenario.twist == Twist::Unwelcome => ("alice", "open barley"),
            _ => ("alice", "open sesame"),
        }
    }

    fn asks(self, scenario: &Scenario) -> bool {
        match self.end {
            End::Client => scenario.client_asks,
            End::Server => scenario.server_asks,
        }
    }

    fn seed(self, scenario: &Scenario) -> u64 {
        let session = match (self.end, self.session) {
            (End::Server, Session::Earlier) if scenario.bug == Bug::RepeatsRandomness => {
                Session::Attacked
            }
            _ => self.session,
        };
        1000 + 10 * session as u64 + self.end as u64
    }
}

/// What policy knows of a user, by what he shows.
pub fn policy(scenario: &Scenario, request: &AccessRequest) -> Option<&'static str> {
    match &request.credentials {
        Credentials::Null => (scenario.twist != Twist::Unwelcome).then_some("somebody"),
        Credentials::Plain { username, password } => match (&username[..], password.expose()) {
            (b"alice", b"open sesame") => Some("alice"),
            (b"mallory", b"swordfish") => Some("mallory"),
            _ => None,
        },
        Credentials::Curve { key } if *key == keys(ALICE).public_key() => Some("alice"),
        Credentials::Curve { key } if *key == keys(MALLORY).public_key() => Some("mallory"),
        _ => None,
    }
}

/// What the policy's answers were, and which of them is put in another's place.
#[derive(Default)]
pub struct Desk {
    /// Set while a reply meant for Mallory's connection is slipped in.
    pub swaps: Cell<bool>,
    /// Each question, and as whom the policy has approved it.
    pub answered: RefCell<Vec<(AccessRequest, Option<&'static str>)>>,
}

impl Desk {
    /// Asks policy by the frames of RFC 27, as a socket and its handler do.
    fn verdict(&self, scenario: &Scenario, request: &AccessRequest) -> Verdict {
        if scenario.bug == Bug::ApprovesUnasked {
            return Verdict::allow("whoever");
        }
        let ours = RequestId::from(7);
        let (id, user) = if self.swaps.get() {
            (RequestId::from(8), Some("mallory"))
        } else {
            let user = policy(scenario, request);
            self.answered.borrow_mut().push((request.clone(), user));
            (ours.clone(), user)
        };
        let question = ZapRequest::from_frames(ZapRequest::new(id, request).to_frames()).unwrap();
        let reply = match user {
            Some(user) => question.allow(user),
            None => question.deny(DenialStatus::Failure, "not you"),
        };
        let expected = match scenario.bug {
            Bug::TakesAnyReply => &reply.id,
            _ => &ours,
        };
        match ZapReply::from_frames(&reply.to_frames(), expected, &Limits::default()) {
            Ok(reply) => reply.into(),
            Err(invalid) => Verdict::deny(DenialStatus::Internal, invalid.to_string()),
        }
    }
}

/// The real machine of `run`, before it has heard anything.
pub fn endpoint(run: Run, scenario: &Scenario, desk: &Rc<Desk>) -> Endpoint {
    let builder = match run.end {
        End::Client => Config::builder(SocketType::Dealer),
        End::Server => Config::builder(SocketType::Router),
    };
    let builder = builder.identity(run.identity());
    let domain = Domain::from("test");
    let seed = run.seed(scenario);
    let endpoint = match (scenario.mechanism, run.end) {
        (MechanismKind::Null, _) if run.asks(scenario) => {
            start(builder.null().authorize(domain).finish().unwrap(), seed)
        }
        (MechanismKind::Null, _) => start(builder.null().accept_any_peer().finish().unwrap(), seed),
        (MechanismKind::Plain, End::Client) => {
            let (user, password) = run.login(scenario);
            start(builder.plain_client(user, password).finish().unwrap(), seed)
        }
        (MechanismKind::Plain, End::Server) => start(
            builder.plain_server().authorize(domain).finish().unwrap(),
            seed,
        ),
        (_, End::Client) => {
            let server = keys(run.expected_server_key(scenario)).public_key();
            let builder = builder.curve_client(keys(run.key(scenario)), server);
            start(builder.finish().unwrap(), seed)
        }
        (_, End::Server) => {
            let builder = builder.curve_server(keys(run.key(scenario)));
            if run.asks(scenario) {
                start(builder.authorize(domain).finish().unwrap(), seed)
            } else {
                start(builder.accept_any_peer().finish().unwrap(), seed)
            }
        }
    };
    let (desk, mut scenario) = (desk.clone(), *scenario);
    if run != SERVER {
        scenario.bug = Bug::None;
    }
    endpoint.answering(move |request| desk.verdict(&scenario, request))
}

fn start<A>(config: Config<A>, seed: u64) -> Endpoint {
    let config = config.dangerous().with_random(Seeded::new(seed));
    let conn = zmtp_auth::handshake::PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    Endpoint::with_conn(&config, conn)
}
