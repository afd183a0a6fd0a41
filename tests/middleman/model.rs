//! A small symbolic model of the handshakes. It gives every command its meaning with all secrets
//! known, and predicts which machine completes and what it then knows of its peer. The explorer
//! compares the real machines with it.

use crate::parties::{End, Run, Scenario, Twist};
use zmtp_auth::MechanismKind;

/// The meaning of one greeting or command frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// A greeting of ZMTP 3 with the right mechanism, the same for all parties.
    Greeting,
    /// READY of NULL and PLAIN, which any party can write.
    Ready(Claims),
    PlainHello(Login),
    PlainWelcome,
    PlainInitiate(Claims),
    /// CURVE's HELLO, from the client that made it.
    Hello {
        by: Run,
    },
    /// CURVE's WELCOME, by a server, for the one client whose HELLO it answers.
    Welcome {
        by: Run,
        to: Run,
    },
    /// CURVE's INITIATE, by a client, for the one server whose WELCOME it answers.
    Initiate {
        by: Run,
        to: Run,
    },
    /// CURVE's READY, by a server, for the one client whose INITIATE it answers.
    SealedReady {
        by: Run,
        to: Run,
    },
    Error,
    /// A complete command that no state accepts.
    Junk,
    /// A header with a wrong length, so that the following bytes are misread.
    Torn,
}

/// The author of metadata, and whether the identity was changed in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claims {
    pub by: Run,
    pub altered: bool,
}

impl Claims {
    pub const fn of(by: Run) -> Self {
        Self { by, altered: false }
    }

    /// The identity as it arrives.
    pub fn identity(self) -> Vec<u8> {
        let mut identity = self.by.identity().into_bytes();
        if let (true, Some(last)) = (self.altered, identity.last_mut()) {
            *last ^= 1;
        }
        identity
    }
}

/// The credentials in a PLAIN HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Login {
    Alice,
    Mallory,
    Wrong,
}

impl Login {
    pub fn of(run: Run, scenario: &Scenario) -> Self {
        match run.login(scenario) {
            ("alice", "open sesame") => Self::Alice,
            ("mallory", "swordfish") => Self::Mallory,
            _ => Self::Wrong,
        }
    }
}

/// What a completed side knows of its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belief {
    pub identity: Vec<u8>,
    /// The seed of the key that the peer has proven.
    pub key: Option<u8>,
    pub user: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    ExpectGreeting,
    ExpectReady {
        user: Option<&'static str>,
    },
    ExpectPlainHello,
    ExpectPlainWelcome,
    ExpectPlainInitiate {
        user: &'static str,
    },
    ExpectHello,
    ExpectWelcome,
    ExpectInitiate {
        client: Run,
    },
    ExpectSealedReady {
        server: Run,
    },
    Complete(Belief),
    Refused,
    /// It misreads the stream: refused or waiting, and never complete.
    Torn,
}

/// One side of one handshake.
#[derive(Debug, Clone)]
pub struct Model {
    run: Run,
    pub state: State,
}

/// The effect of one received unit.
pub struct Outcome {
    pub next: Model,
    pub sends: Vec<Meaning>,
    /// Whether policy is asked.
    pub asks: bool,
}

impl Model {
    pub const fn new(run: Run) -> Self {
        Self {
            run,
            state: State::ExpectGreeting,
        }
    }

    /// Processes a unit. If it asks policy, `swapped` means that the reply is that to another
    /// connection's question.
    pub fn receive(&self, unit: Meaning, swapped: bool, scenario: &Scenario) -> Outcome {
        let me = self.run;
        let go = |state, sends: &[Meaning]| self.outcome(state, sends, false);
        if unit == Meaning::Torn && self.state != State::ExpectGreeting {
            return go(State::Torn, &[]);
        }
        match (&self.state, unit) {
            (State::ExpectGreeting, Meaning::Greeting) => self.greeted(swapped, scenario),

            (State::ExpectReady { user }, Meaning::Ready(claims)) => {
                self.complete(claims, None, *user, &[])
            }

            (State::ExpectPlainHello, Meaning::PlainHello(login)) => {
                let user = match login {
                    Login::Alice => Some("alice"),
                    Login::Mallory => Some("mallory"),
                    Login::Wrong => None,
                };
                match user.filter(|_| !swapped) {
                    Some(user) => {
                        let state = State::ExpectPlainInitiate { user };
                        self.outcome(state, &[Meaning::PlainWelcome], true)
                    }
                    None => self.denied(),
                }
            }
            (State::ExpectPlainWelcome, Meaning::PlainWelcome) => go(
                State::ExpectReady { user: None },
                &[Meaning::PlainInitiate(Claims::of(me))],
            ),
            (State::ExpectPlainInitiate { user }, Meaning::PlainInitiate(claims)) => {
                let ready = Meaning::Ready(Claims::of(me));
                self.complete(claims, None, Some(user), &[ready])
            }

            // Anyone who knows S can send HELLO. It proves only possession of c'.
            (State::ExpectHello, Meaning::Hello { by })
                if by.expected_server_key(scenario) == me.key(scenario) =>
            {
                go(
                    State::ExpectInitiate { client: by },
                    &[Meaning::Welcome { by: me, to: by }],
                )
            }
            // Only the owner of s can read this client's HELLO.
            (State::ExpectWelcome, Meaning::Welcome { by, to })
                if to == me && by.key(scenario) == me.expected_server_key(scenario) =>
            {
                go(
                    State::ExpectSealedReady { server: by },
                    &[Meaning::Initiate { by: me, to: by }],
                )
            }
            // This server's cookie, and the client that it was made for.
            (State::ExpectInitiate { client }, Meaning::Initiate { by, to })
                if to == me && by == *client =>
            {
                self.proven(by, swapped, scenario)
            }
            (State::ExpectSealedReady { server }, Meaning::SealedReady { by, to })
                if to == me && by == *server =>
            {
                self.complete(Claims::of(by), Some(by.key(scenario)), None, &[])
            }

            (State::Torn, _) => go(State::Torn, &[]),
            _ => go(State::Refused, &[]),
        }
    }

    fn greeted(&self, swapped: bool, scenario: &Scenario) -> Outcome {
        let me = self.run;
        let (state, send) = match (scenario.mechanism, me.end) {
            (MechanismKind::Null, end) => {
                let asks = match end {
                    End::Client => scenario.client_asks,
                    End::Server => scenario.server_asks,
                };
                if asks && (swapped || scenario.twist == Twist::Unwelcome) {
                    return self.denied();
                }
                let user = asks.then_some("somebody");
                let ready = Meaning::Ready(Claims::of(me));
                return self.outcome(State::ExpectReady { user }, &[ready], asks);
            }
            (MechanismKind::Plain, End::Client) => (
                State::ExpectPlainWelcome,
                Some(Meaning::PlainHello(Login::of(me, scenario))),
            ),
            (MechanismKind::Plain, End::Server) => (State::ExpectPlainHello, None),
            (_, End::Client) => (State::ExpectWelcome, Some(Meaning::Hello { by: me })),
            (_, End::Server) => (State::ExpectHello, None),
        };
        self.outcome(state, send.as_slice(), false)
    }

    /// A CURVE client has proven its key. Policy decides now, if it is asked.
    fn proven(&self, client: Run, swapped: bool, scenario: &Scenario) -> Outcome {
        let by = self.run;
        let ready = Meaning::SealedReady { by, to: client };
        let key = client.key(scenario);
        if !scenario.server_asks {
            return self.complete(Claims::of(client), Some(key), None, &[ready]);
        }
        let stranger = scenario.twist == Twist::Unwelcome && client.login(scenario).0 == "alice";
        if swapped || stranger {
            return self.denied();
        }
        let user = Some(client.login(scenario).0);
        self.complete(Claims::of(client), Some(key), user, &[ready])
    }

    fn complete(
        &self,
        claims: Claims,
        key: Option<u8>,
        user: Option<&'static str>,
        sends: &[Meaning],
    ) -> Outcome {
        let belief = Belief {
            identity: claims.identity(),
            key,
            user,
        };
        // Under PLAIN and NULL policy was asked earlier.
        let asks = key.is_some() && user.is_some();
        self.outcome(State::Complete(belief), sends, asks)
    }

    fn denied(&self) -> Outcome {
        self.outcome(State::Refused, &[Meaning::Error], true)
    }

    fn outcome(&self, state: State, sends: &[Meaning], asks: bool) -> Outcome {
        Outcome {
            next: Self {
                run: self.run,
                state,
            },
            sends: sends.to_vec(),
            asks,
        }
    }
}
