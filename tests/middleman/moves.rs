//! The middleman's moves, and the bytes for them.

use crate::machines::{Input, Machines, NodeId, UnitId, header_len};
use crate::model::{Claims, Login, Meaning};
use crate::parties::{End, Run, Session};
use zmtp_auth::MechanismKind;

/// One move, made when a unit is about to be delivered, or when none is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Drop,
    /// Deliver it after the next one in its direction, or, if none follows, when no unit is in
    /// flight.
    Reorder,
    /// Deliver this damaged copy of it instead.
    Flip(UnitId),
    /// Deliver again a unit that either side has sent.
    Replay(UnitId),
    /// Deliver a unit of another session instead, or in addition when no unit is in flight.
    Splice(UnitId),
    /// Deliver a READY too early.
    ReadyEarly(UnitId),
    /// Deliver a WELCOME that is not the server's next command.
    SecondWelcome(UnitId),
    /// Deliver it, and answer the resulting question with another peer's verdict.
    VerdictForAnother,
}

/// Names of the moves, in the order of [`Move::index`].
pub const MOVES: [&str; 8] = [
    "drop",
    "reorder",
    "flip",
    "replay",
    "splice",
    "READY early",
    "second WELCOME",
    "verdict for another",
];

impl Move {
    pub const fn index(self) -> usize {
        match self {
            Self::Drop => 0,
            Self::Reorder => 1,
            Self::Flip(_) => 2,
            Self::Replay(_) => 3,
            Self::Splice(_) => 4,
            Self::ReadyEarly(_) => 5,
            Self::SecondWelcome(_) => 6,
            Self::VerdictForAnother => 7,
        }
    }
}

/// The bytes that the middleman has before the attacked connection begins, indexed by the receiving
/// end.
pub struct Quiver {
    foreign: [Vec<UnitId>; 2],
    ready: [Vec<UnitId>; 2],
    welcome: Vec<UnitId>,
    /// Damaged copies of units, made at first use.
    flipped: Vec<Option<Vec<UnitId>>>,
    damage: Damage,
}

/// The number of places in which a CURVE command is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Five, spread over the command.
    Sparse,
    /// One byte of eight.
    Dense,
}

impl Quiver {
    /// Records the three other sessions and writes some commands of its own.
    pub fn fill(machines: &mut Machines, damage: Damage) -> Self {
        let mut foreign = [Vec::new(), Vec::new()];
        for session in [Session::Earlier, Session::Mallorys, Session::Lured] {
            let sent = overheard(machines, session);
            for (all, units) in foreign.iter_mut().zip(sent) {
                for unit in units {
                    if !all.contains(&unit) {
                        all.push(unit);
                    }
                }
            }
        }
        let mut ready = [
            forged_ready(machines, End::Client),
            forged_ready(machines, End::Server),
        ];
        let mut welcome = forged_welcome(machines);
        for &unit in &foreign[End::Client as usize] {
            match machines.units[unit].meaning {
                Meaning::SealedReady { .. } => ready[End::Client as usize].push(unit),
                Meaning::Welcome { .. } => welcome.push(unit),
                _ => {}
            }
        }
        Self {
            foreign,
            ready,
            welcome,
            flipped: Vec::new(),
            damage,
        }
    }

    /// All moves on `head`, which is about to be delivered to `receiver`.
    pub fn moves(
        &mut self,
        machines: &mut Machines,
        receiver: NodeId,
        head: UnitId,
        seen: &[UnitId],
        may_reorder: bool,
    ) -> Vec<Move> {
        let end = machines.nodes[receiver].run.end as usize;
        let mut moves = vec![Move::Drop];
        if may_reorder {
            moves.push(Move::Reorder);
        }
        moves.extend(
            self.flipped(machines, head)
                .iter()
                .map(|&unit| Move::Flip(unit)),
        );
        moves.extend(seen.iter().map(|&unit| Move::Replay(unit)));
        let foreign = self.foreign[end].iter().filter(|&&unit| unit != head);
        moves.extend(foreign.map(|&unit| Move::Splice(unit)));
        moves.extend(self.ready[end].iter().map(|&unit| Move::ReadyEarly(unit)));
        moves.extend(self.welcome.iter().map(|&unit| Move::SecondWelcome(unit)));
        let honest = Input {
            unit: head,
            swapped: false,
        };
        let next = machines.step(receiver, honest);
        if machines.nodes[next].asked {
            moves.push(Move::VerdictForAnother);
        }
        moves
    }

    /// All moves toward `receiver` when no unit is in flight.
    pub fn last_moves(&self, end: End, seen: &[UnitId]) -> Vec<Move> {
        let end = end as usize;
        let mut moves: Vec<Move> = seen.iter().map(|&unit| Move::Replay(unit)).collect();
        moves.extend(self.foreign[end].iter().map(|&unit| Move::Splice(unit)));
        let known = |unit: &&UnitId| !self.foreign[end].contains(unit);
        let ready = self.ready[end].iter().filter(known);
        moves.extend(ready.map(|&unit| Move::ReadyEarly(unit)));
        let welcome = self.welcome.iter().filter(known);
        moves.extend(welcome.map(|&unit| Move::SecondWelcome(unit)));
        moves
    }

    fn flipped(&mut self, machines: &mut Machines, unit: UnitId) -> &[UnitId] {
        if self.flipped.len() <= unit {
            self.flipped.resize(unit + 1, None);
        }
        self.flipped[unit].get_or_insert_with(|| flips(machines, unit, self.damage))
    }
}

/// The units that each end of `session` receives without interference.
fn overheard(machines: &mut Machines, session: Session) -> [Vec<UnitId>; 2] {
    let mut ends = [End::Client, End::Server].map(|end| machines.root(Run { session, end }));
    let mut sent = [Vec::new(), Vec::new()];
    let mut queues: [Vec<UnitId>; 2] =
        [1, 0].map(|other: usize| machines.nodes[ends[other]].sent.clone());
    while let Some(to) = (0..2).find(|&to| !queues[to].is_empty()) {
        let unit = queues[to].remove(0);
        sent[to].push(unit);
        let input = Input {
            unit,
            swapped: false,
        };
        let before = ends[to];
        ends[to] = machines.step(before, input);
        if ends[to] != before {
            let node = &machines.nodes[ends[to]];
            assert_eq!(node.fault, None, "{session:?}");
            queues[1 - to].extend_from_slice(&node.sent);
        }
    }
    sent
}

fn frame(body: &[u8]) -> Vec<u8> {
    crate::pair::framed(body)
}

fn metadata(by: Run) -> Vec<u8> {
    let mut out = Vec::new();
    let socket_type = match by.end {
        End::Client => "DEALER",
        End::Server => "ROUTER",
    };
    for (name, value) in [("Socket-Type", socket_type), ("Identity", &by.identity())] {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// READYs that Mallory writes for `receiver`.
fn forged_ready(machines: &mut Machines, receiver: End) -> Vec<UnitId> {
    let by = match receiver {
        End::Client => Run {
            session: Session::Lured,
            end: End::Server,
        },
        End::Server => Run {
            session: Session::Mallorys,
            end: End::Client,
        },
    };
    let clear = frame(&[b"\x05READY", &metadata(by)[..]].concat());
    if machines.scenario.mechanism != MechanismKind::Curve {
        return vec![machines.unit(clear, Meaning::Ready(Claims::of(by)))];
    }
    let boxed = frame(&[b"\x05READY\0\0\0\0\0\0\0\x01", &[0xA5; 60][..]].concat());
    [clear, boxed]
        .map(|bytes| machines.unit(bytes, Meaning::Junk))
        .into()
}

fn forged_welcome(machines: &mut Machines) -> Vec<UnitId> {
    let (body, meaning) = match machines.scenario.mechanism {
        MechanismKind::Null => (b"\x07WELCOME".to_vec(), Meaning::Junk),
        MechanismKind::Plain => (b"\x07WELCOME".to_vec(), Meaning::PlainWelcome),
        _ => ([b"\x07WELCOME", &[0xA5; 160][..]].concat(), Meaning::Junk),
    };
    vec![machines.unit(frame(&body), meaning)]
}

/// Damaged copies of a unit, with one bit flipped in each part of different meaning.
fn flips(machines: &mut Machines, unit: UnitId, damage: Damage) -> Vec<UnitId> {
    let bytes = machines.units[unit].bytes.clone();
    let meaning = machines.units[unit].meaning;
    let mut places = match meaning {
        Meaning::Greeting => greeting_places(),
        _ => header_places(&bytes),
    };
    match meaning {
        Meaning::Ready(claims) | Meaning::PlainInitiate(claims) => {
            let altered = Claims {
                altered: true,
                ..claims
            };
            let meaning = match meaning {
                Meaning::Ready(_) => Meaning::Ready(altered),
                _ => Meaning::PlainInitiate(altered),
            };
            // The identity comes last, the socket type after its name and length.
            places.push((bytes.len() - 1, 0, meaning));
            let name = bytes
                .windows(11)
                .position(|window| window == b"Socket-Type");
            places.push((name.unwrap() + 11 + 4, 0, Meaning::Junk));
        }
        Meaning::PlainHello(_) => {
            let user = header_len(&bytes) + 6;
            places.push((user + 1, 0, Meaning::PlainHello(Login::Wrong)));
            places.push((bytes.len() - 1, 0, Meaning::PlainHello(Login::Wrong)));
        }
        Meaning::Hello { .. }
        | Meaning::Welcome { .. }
        | Meaning::Initiate { .. }
        | Meaning::SealedReady { .. } => {
            let body = header_len(&bytes) + 1 + usize::from(bytes[header_len(&bytes)]);
            let last = bytes.len() - 1;
            let step = match damage {
                Damage::Sparse => (last - body) / 4,
                Damage::Dense => 8,
            };
            let inside = (body..last).step_by(step);
            places.extend(inside.map(|at| (at, 4, Meaning::Junk)));
            places.push((last, 7, Meaning::Junk));
        }
        _ => {}
    }
    places
        .into_iter()
        .map(|(at, bit, meaning)| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            machines.unit(flipped, meaning)
        })
        .collect()
}

/// Offset, bit, and meaning of the damaged unit.
type Place = (usize, u8, Meaning);

/// Signature, version and mechanism matter. Padding, minor version, the as-server byte and the
/// filler do not.
fn greeting_places() -> Vec<Place> {
    let fatal = [(0, 0), (9, 0), (10, 0), (12, 0), (31, 7)];
    let harmless = [(5, 3), (10, 4), (11, 0), (32, 0), (63, 5)];
    let place = |meaning| move |(at, bit)| (at, bit, meaning);
    let fatal = fatal.map(place(Meaning::Junk));
    let harmless = harmless.map(place(Meaning::Greeting));
    fatal.into_iter().chain(harmless).collect()
}

/// Flags, length, and the command's name.
fn header_places(unit: &[u8]) -> Vec<Place> {
    let body = header_len(unit);
    vec![
        (0, 0, Meaning::Junk),
        (0, 2, Meaning::Junk),
        (body - 1, 0, Meaning::Torn),
        (body, 1, Meaning::Junk),
        (body + 1, 5, Meaning::Junk),
    ]
}
