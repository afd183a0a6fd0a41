//! Runs each history of the real machines once and caches the result.
//!
//! A machine is deterministic: its output depends only on its input. So the many paths through both
//! ends share the histories of each end. A state cannot be copied, so a history is extended by
//! running it again from its start. The result of every step is compared with the model's.

use crate::model::{Belief, Claims, Login, Meaning, Model, State};
use crate::pair::{Endpoint, keys};
use crate::parties::{
    CLIENT, Desk, End, Run, SEEDS, SERVER, Scenario, Session, Twist, endpoint, policy,
};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use zmtp_auth::wire::greeting::{GREETING_LEN, VERSION_LEN};
use zmtp_auth::{Credential, Credentials, MechanismKind, Peer, PublicKey};

pub type UnitId = usize;
pub type NodeId = usize;

/// A greeting or one command frame.
pub struct Unit {
    pub bytes: Vec<u8>,
    pub meaning: Meaning,
}

/// One input of a machine: a unit, and perhaps another connection's ZAP reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Input {
    pub unit: UnitId,
    pub swapped: bool,
}

/// A machine after a history.
pub struct Node {
    pub run: Run,
    pub history: Vec<Input>,
    model: Model,
    pub status: Status,
    /// The output of the last step.
    pub sent: Vec<UnitId>,
    /// The questions to policy so far, and whether the last step has asked.
    questions: usize,
    pub asked: bool,
    /// The difference from the model, if there is one.
    pub fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Running,
    Complete,
    Failed,
}

fn status(endpoint: &Endpoint) -> Status {
    if endpoint.is_complete() {
        Status::Complete
    } else if endpoint.error().is_some() {
        Status::Failed
    } else {
        Status::Running
    }
}

/// All machines of one scenario.
pub struct Machines {
    pub scenario: Scenario,
    /// Every public key, with its seed.
    public: [(u8, PublicKey); SEEDS.len()],
    pub units: Vec<Unit>,
    ids: HashMap<Vec<u8>, UnitId>,
    /// Units of equal bytes to which the model gives different meanings. Must stay empty.
    pub ambiguous: BTreeSet<String>,
    pub nodes: Vec<Node>,
    steps: HashMap<(NodeId, Input), NodeId>,
    agreements: HashMap<(NodeId, NodeId), Option<String>>,
}

impl Machines {
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            public: SEEDS.map(|seed| (seed, keys(seed).public_key())),
            units: Vec::new(),
            ids: HashMap::new(),
            ambiguous: BTreeSet::new(),
            nodes: Vec::new(),
            steps: HashMap::new(),
            agreements: HashMap::new(),
        }
    }

    /// A machine that has sent its greeting and received nothing.
    pub fn root(&mut self, run: Run) -> NodeId {
        let mut endpoint = self.replay(run, &[]).0;
        let mut greeting = endpoint.take_output();
        // It sends the rest of its greeting once it has the peer's version.
        endpoint.feed(&greeting);
        greeting.extend(endpoint.take_output());
        let sent = vec![self.unit(greeting, Meaning::Greeting)];
        self.nodes.push(Node {
            run,
            history: Vec::new(),
            model: Model::new(run),
            status: Status::Running,
            sent,
            questions: 0,
            asked: false,
            fault: None,
        });
        self.nodes.len() - 1
    }

    /// The number that stands for these bytes. New bytes get a new one.
    pub fn unit(&mut self, bytes: Vec<u8>, meaning: Meaning) -> UnitId {
        if let Some(&id) = self.ids.get(&bytes) {
            if self.units[id].meaning != meaning {
                let both = format!("{:?} = {meaning:?}", self.units[id].meaning);
                self.ambiguous.insert(both);
            }
            return id;
        }
        self.ids.insert(bytes.clone(), self.units.len());
        self.units.push(Unit { bytes, meaning });
        self.units.len() - 1
    }

    /// Gives a machine one more unit. One that has failed or is complete ignores it.
    pub fn step(&mut self, node: NodeId, input: Input) -> NodeId {
        if self.nodes[node].status != Status::Running {
            return node;
        }
        if let Some(&next) = self.steps.get(&(node, input)) {
            return next;
        }
        let next = self.first_step(node, input);
        self.nodes.push(next);
        self.steps.insert((node, input), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn first_step(&mut self, node: NodeId, input: Input) -> Node {
        let Node {
            run,
            history,
            model,
            questions,
            ..
        } = &self.nodes[node];
        let (run, questions) = (*run, *questions);
        let mut history = history.clone();
        let expected = model.receive(
            self.units[input.unit].meaning,
            input.swapped,
            &self.scenario,
        );

        history.push(input);
        let (mut endpoint, desk) = self.replay(run, &history);
        let output = units_of(&endpoint.take_output());
        let asked = endpoint.asked.len() > questions;
        let status = status(&endpoint);

        let mut faults = Vec::new();
        let names: Vec<_> = output.iter().map(|unit| name_of(unit)).collect();
        let expected_names: Vec<_> = expected.sends.iter().map(|&unit| name(unit)).collect();
        if names != expected_names {
            faults.push(format!("sends {names:?}, not {expected_names:?}"));
        }
        if asked != expected.asks {
            faults.push(format!("asks policy: {asked}"));
        }
        faults.extend(self.contradiction(&endpoint, status, &expected.next.state));
        if let Status::Complete = status {
            let peer = &endpoint.established().peer;
            faults.extend(self.unearned(run, peer, &desk));
        }
        let fault = (!faults.is_empty()).then(|| format!("{run:?} {}", faults.join("; ")));
        let sent = output
            .into_iter()
            .zip(&expected.sends)
            .map(|(bytes, &meaning)| self.unit(bytes, meaning))
            .collect();
        Node {
            run,
            history,
            model: expected.next,
            status,
            sent,
            questions: endpoint.asked.len(),
            asked,
            fault,
        }
    }

    /// The difference between the machine's state and the model's.
    fn contradiction(&self, endpoint: &Endpoint, is: Status, model: &State) -> Option<String> {
        let agrees = match model {
            State::Complete(belief) => {
                let real = (is == Status::Complete)
                    .then(|| self.belief(&endpoint.established().peer))
                    .flatten();
                if real.as_ref() != Some(belief) {
                    return Some(format!("believes {real:?}, not {belief:?}"));
                }
                true
            }
            State::Refused => is == Status::Failed,
            State::Torn => is != Status::Complete,
            _ => is == Status::Running,
        };
        (!agrees).then(|| format!("is {is:?}, where the model has {model:?}"))
    }

    /// What a completed machine knows of its peer, in the model's terms.
    fn belief(&self, peer: &Peer) -> Option<Belief> {
        let key = match peer.proven_key {
            Some(proven) => Some(self.public.iter().find(|(_, key)| *key == proven)?.0),
            None => None,
        };
        let user = match peer.user_id() {
            Some(user) => Some(
                ["alice", "mallory", "somebody"]
                    .into_iter()
                    .find(|known| user == known)?,
            ),
            None => None,
        };
        let identity = peer.claims.identity.as_ref()?.to_vec();
        Some(Belief {
            identity,
            key,
            user,
        })
    }

    /// Errors of a completion that need no model: a missing approval, or, under CURVE, a peer that
    /// is not at the other end.
    fn unearned(&self, run: Run, peer: &Peer, desk: &Desk) -> Option<String> {
        let scenario = &self.scenario;
        let must_ask = match run.end {
            End::Client => scenario.client_asks,
            End::Server => scenario.server_asks,
        };
        if must_ask {
            let answered = desk.answered.borrow();
            let Some((request, Some(user))) = answered.last() else {
                return Some("is complete without an approval".into());
            };
            let same = match (&request.credentials, peer.authenticated.as_ref()) {
                (_, None) => false,
                (credentials, Some(authenticated)) => {
                    authenticated.user_id == user
                        && match (credentials, &authenticated.credential) {
                            (Credentials::Null, Credential::Null) => true,
                            (
                                Credentials::Plain { username, .. },
                                Credential::UserName(admitted),
                            ) => username == admitted,
                            (Credentials::Curve { key }, Credential::Key(admitted)) => {
                                key == admitted && peer.proven_key == Some(*key)
                            }
                            _ => false,
                        }
                }
            };
            if !same || policy(scenario, request) != Some(user) {
                return Some("is complete by an approval that was another's".into());
            }
        }
        if scenario.mechanism != MechanismKind::Curve || run.session != Session::Attacked {
            return None;
        }
        let barred = match scenario.twist {
            Twist::Nothing => false,
            Twist::Unwelcome => scenario.server_asks,
            Twist::WrongServerKey => true,
        };
        if barred {
            return Some("is complete though the client has not the right key".into());
        }
        let other = if run == SERVER { CLIENT } else { SERVER };
        let key = keys(other.key(scenario)).public_key();
        if peer.proven_key != Some(key) {
            return Some("is complete without the right key".into());
        }
        if peer.claims.identity.as_deref() != Some(other.identity().as_bytes()) {
            return Some("is complete with another session's peer".into());
        }
        None
    }

    /// What two completed ends disagree on. NULL and PLAIN protect nothing, so their ends may
    /// disagree on everything.
    pub fn disagreement(&mut self, client: NodeId, server: NodeId) -> Option<String> {
        if self.scenario.mechanism != MechanismKind::Curve {
            return None;
        }
        if let Some(known) = self.agreements.get(&(client, server)) {
            return known.clone();
        }
        let found = self.compare(client, server);
        self.agreements.insert((client, server), found.clone());
        found
    }

    fn compare(&self, client: NodeId, server: NodeId) -> Option<String> {
        use bytes::BytesMut;
        use zmtp_auth::wire::frame::Flags;
        let live = |node: NodeId| {
            let Node { run, history, .. } = &self.nodes[node];
            self.replay(*run, history).0.into_established()
        };
        let mut ends = [live(client), live(server)];
        for (from, to, of) in [(0, 1, CLIENT), (1, 0, SERVER)] {
            let peer = &ends[to].peer;
            if peer.proven_key != Some(keys(of.key(&self.scenario)).public_key()) {
                return Some(format!("the ends disagree on the key of {of:?}"));
            }
            let claims = &peer.claims;
            if claims.identity.as_deref() != Some(of.identity().as_bytes())
                || claims.properties.len() != 2
            {
                return Some(format!("the ends disagree on what {of:?} claims"));
            }
            let mut body = BytesMut::new();
            let outer = ends[from].sealer.seal_body(Flags::Last, b"hi", &mut body);
            match ends[to].opener.open_body(outer.unwrap(), body) {
                Ok((Flags::Last, text)) if text == "hi" => {}
                _ => return Some(format!("what {of:?} seals does not open")),
            }
        }
        None
    }

    /// Runs a history from its start. Returns the output of the last step only.
    fn replay(&self, run: Run, history: &[Input]) -> (Endpoint, Rc<Desk>) {
        let desk = Rc::new(Desk::default());
        let mut endpoint = endpoint(run, &self.scenario, &desk);
        for input in history {
            endpoint.take_output();
            desk.swaps.set(input.swapped);
            endpoint.feed(&self.units[input.unit].bytes);
        }
        (endpoint, desk)
    }

    /// Runs a history again in pieces of `size` bytes, and returns its end. `None` if it holds a
    /// swapped reply, which is not part of the stream.
    pub fn in_pieces(&self, node: NodeId, size: usize) -> Option<Status> {
        let Node { run, history, .. } = &self.nodes[node];
        if history.iter().any(|input| input.swapped) {
            return None;
        }
        let stream: Vec<u8> = history
            .iter()
            .flat_map(|input| self.units[input.unit].bytes.iter().copied())
            .collect();
        let mut endpoint = endpoint(*run, &self.scenario, &Rc::default());
        for piece in stream.chunks(size) {
            endpoint.feed(piece);
        }
        Some(status(&endpoint))
    }
}

/// Cuts a machine's output into command frames. The second piece of a greeting, which begins with
/// the minor version instead of a command's flags, is already part of the first unit.
fn units_of(mut output: &[u8]) -> Vec<Vec<u8>> {
    if output.first() == Some(&1) {
        output = &output[GREETING_LEN - VERSION_LEN..];
    }
    let mut units = Vec::new();
    while !output.is_empty() {
        let len = match output[0] {
            0x04 => 2 + usize::from(output[1]),
            0x06 => 9 + u64::from_be_bytes(output[1..9].try_into().unwrap()) as usize,
            other => panic!("not a command frame: {other:#x}"),
        };
        units.push(output[..len].to_vec());
        output = &output[len..];
    }
    units
}

/// Bytes in the header of a command frame.
pub fn header_len(unit: &[u8]) -> usize {
    if unit[0] & 0x02 == 0 { 2 } else { 9 }
}

/// A command frame's name.
fn name_of(unit: &[u8]) -> &str {
    let name = header_len(unit);
    let len = usize::from(unit[name]);
    std::str::from_utf8(&unit[name + 1..name + 1 + len]).unwrap()
}

/// The name of the command that a symbol stands for.
fn name(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Ready(_) | Meaning::SealedReady { .. } => "READY",
        Meaning::PlainHello(Login::Alice | Login::Mallory | Login::Wrong)
        | Meaning::Hello { .. } => "HELLO",
        Meaning::PlainWelcome | Meaning::Welcome { .. } => "WELCOME",
        Meaning::PlainInitiate(Claims { .. }) | Meaning::Initiate { .. } => "INITIATE",
        Meaning::Error => "ERROR",
        Meaning::Greeting | Meaning::Junk | Meaning::Torn => "",
    }
}
