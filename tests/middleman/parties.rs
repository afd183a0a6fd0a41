//! The parties: the attacked connection, three other sessions whose bytes the middleman has, and
//! the policy. Concrete here; `model.rs` has the same in symbols.

use crate::pair::{Endpoint, Seeded, keys};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use zmtp_auth::zap::{RequestId, ZapReply, ZapRequest};
use zmtp_auth::{
    AccessRequest, Config, Credentials, DenialStatus, Domain, Limits, MechanismKind, PeerAddress,
    SocketType, Verdict,
};

/// A scenario: the mechanism of the attacked connection, and its faults.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub mechanism: MechanismKind,
    pub client_asks: bool,
    pub server_asks: bool,
    pub twist: Twist,
    pub bug: Bug,
}

/// The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    Nothing,
    /// Policy does not know its key or password, or under NULL admits no peer.
    Unwelcome,
    /// It holds the public key of a server that does not exist (CURVE).
    WrongServerKey,
}

/// A planted bug, which the explorer must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    None,
    /// The server approves without asking policy.
    ApprovesUnasked,
    /// The server draws the same "random" bytes for every connection, so that one session's cookies
    /// are valid in another.
    RepeatsRandomness,
    /// The server accepts any ZAP reply as the answer to its question.
    TakesAnyReply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// The attacked connection.
    Attacked,
    /// An earlier one of the same client and the same server.
    Earlier,
    /// One of Mallory's own with the same server, of which she is a legitimate user.
    Mallorys,
    /// A legitimate one of the same client with Mallory's server.
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

/// Seeds of permanent key pairs.
pub const SEEDS: [u8; 5] = [ALICE, SERVICE, MALLORY, STRANGER, NOBODY];
const ALICE: u8 = 11;
const SERVICE: u8 = 22;
const MALLORY: u8 = 33;
const STRANGER: u8 = 44;
const NOBODY: u8 = 55;

impl Run {
    /// The claimed identity, different for all parties.
    pub fn identity(self) -> String {
        format!("{self:?}")
    }

    /// The seed of its permanent key.
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

/// Policy's answer to a user's credentials.
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

/// The policy's answers, and a swap of one for another.
#[derive(Default)]
pub struct Desk {
    /// Set while a reply to Mallory's connection replaces the right one.
    pub swaps: Cell<bool>,
    /// Each question, and the user id of its approval.
    pub answered: RefCell<Vec<(AccessRequest, Option<&'static str>)>>,
}

impl Desk {
    /// Asks policy with the frames of RFC 27, as a socket asks its handler.
    fn verdict(&self, scenario: &Scenario, request: &AccessRequest) -> Verdict {
        if scenario.bug == Bug::ApprovesUnasked {
            return Verdict::allow("unasked");
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

/// The real machine of `run` before any input.
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
    let conn = zmtp_auth::PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    Endpoint::with_conn(&config, conn)
}
