//! Explores every path of one scenario, depth first.

use crate::machines::{Input, Machines, NodeId, Status, UnitId};
use crate::moves::{Damage, MOVES, Move, Quiver};
use crate::parties::{CLIENT, End, SERVER, Scenario};

/// The highest number of moves that a report counts.
pub const MOST_MOVES: usize = 4;
/// One of this many paths is run again from its start, in pieces of seven bytes.
const SAMPLE: usize = 500;
/// How many bad paths a report shows in full.
const TOLD: usize = 5;

/// The results of an exploration.
#[derive(Default)]
pub struct Report {
    /// Paths by number of moves.
    pub paths: [usize; MOST_MOVES + 1],
    /// How often each move was made.
    pub moves: [usize; MOVES.len()],
    /// Paths that end with both sides complete, with the server alone, with the client alone.
    pub both: usize,
    pub server_alone: usize,
    pub client_alone: usize,
    /// Histories of machines that were run.
    pub histories: usize,
    /// Paths that were run again from their start.
    pub sampled: usize,
    pub bad: usize,
    /// The first bad paths: the moves, and what is wrong.
    pub told: Vec<String>,
    /// Moves on the shortest bad path.
    pub shortest_bad: Option<usize>,
}

impl Report {
    pub fn total(&self) -> usize {
        self.paths.iter().sum()
    }
}

/// The state between two deliveries. Arrays are indexed by the receiving end.
#[derive(Clone)]
struct Moment {
    ends: [NodeId; 2],
    queues: [Vec<UnitId>; 2],
    /// A unit that is held back until the next one in its direction has passed.
    held: [Option<UnitId>; 2],
    /// All units that either side has sent, without duplicates.
    seen: Vec<UnitId>,
    /// The end whose turn it is to receive.
    turn: usize,
}

pub struct Explorer {
    machines: Machines,
    quiver: Quiver,
    most_moves: usize,
    /// The moves of the current path, and their units.
    trail: Vec<(Move, Option<UnitId>)>,
    report: Report,
}

impl Explorer {
    /// Walks all paths of at most `most_moves` moves.
    pub fn run(scenario: Scenario, most_moves: usize, damage: Damage) -> Report {
        let mut machines = Machines::new(scenario);
        let quiver = Quiver::fill(&mut machines, damage);
        let client = machines.root(CLIENT);
        let server = machines.root(SERVER);
        let queues = [server, client].map(|from| machines.nodes[from].sent.clone());
        let mut seen = queues.concat();
        seen.dedup();
        let mut explorer = Self {
            machines,
            quiver,
            most_moves,
            trail: Vec::new(),
            report: Report::default(),
        };
        explorer.walk(Moment {
            ends: [client, server],
            queues,
            held: [None; 2],
            seen,
            turn: End::Server as usize,
        });
        if let Some(same) = explorer.machines.ambiguous.first() {
            // Two parties send the same bytes only with a planted bug.
            explorer.report.told.push(format!("the same bytes: {same}"));
        }
        explorer.report.histories = explorer.machines.nodes.len();
        explorer.report
    }

    fn status(&self, moment: &Moment, end: usize) -> Status {
        self.machines.nodes[moment.ends[end]].status
    }

    fn walk(&mut self, mut moment: Moment) {
        // A side that is complete or has failed ignores further input.
        for end in 0..2 {
            if self.status(&moment, end) != Status::Running {
                moment.queues[end].clear();
                moment.held[end] = None;
            }
        }
        if let Some(fault) = self.fault(&moment) {
            self.end(&moment, Some(fault));
            return;
        }
        let turns = [moment.turn, 1 - moment.turn];
        if let Some(end) = turns
            .into_iter()
            .find(|&end| !moment.queues[end].is_empty())
        {
            self.deliver_next(&moment, end);
        } else if let Some(end) = turns.into_iter().find(|&end| moment.held[end].is_some()) {
            let unit = moment.held[end].take();
            moment.queues[end].extend(unit);
            self.walk(moment);
        } else {
            self.silence(&moment);
        }
    }

    /// The path is bad already, so its continuations are skipped.
    fn fault(&self, moment: &Moment) -> Option<String> {
        moment
            .ends
            .iter()
            .find_map(|&node| self.machines.nodes[node].fault.clone())
    }

    fn deliver_next(&mut self, moment: &Moment, end: usize) {
        let head = moment.queues[end][0];
        let mut rest = moment.clone();
        rest.queues[end].remove(0);
        rest.turn = 1 - end;

        let mut passed = rest.clone();
        self.give(&mut passed, end, head, false);
        release(&mut passed, end);
        self.walk(passed);

        if self.trail.len() == self.most_moves {
            return;
        }
        let may_reorder = moment.held[end].is_none();
        let receiver = moment.ends[end];
        let moves = self.quiver.moves(
            &mut self.machines,
            receiver,
            head,
            &moment.seen,
            may_reorder,
        );
        for made in moves {
            let mut next = rest.clone();
            match made {
                Move::Drop => release(&mut next, end),
                Move::Reorder => next.held[end] = Some(head),
                Move::Flip(unit) | Move::Splice(unit) => {
                    self.give(&mut next, end, unit, false);
                    release(&mut next, end);
                }
                Move::Replay(unit) | Move::ReadyEarly(unit) | Move::SecondWelcome(unit) => {
                    next = moment.clone();
                    next.turn = end;
                    self.give(&mut next, end, unit, false);
                }
                Move::VerdictForAnother => {
                    self.give(&mut next, end, head, true);
                    release(&mut next, end);
                }
            }
            self.after(made, Some(head), next);
        }
    }

    /// No unit is in flight. The middleman may stop or make another move.
    fn silence(&mut self, moment: &Moment) {
        self.end(moment, None);
        if self.trail.len() == self.most_moves {
            return;
        }
        for end in [End::Client, End::Server] {
            let to = end as usize;
            if self.status(moment, to) != Status::Running {
                continue;
            }
            for made in self.quiver.last_moves(end, &moment.seen) {
                let (Move::Replay(unit)
                | Move::Splice(unit)
                | Move::ReadyEarly(unit)
                | Move::SecondWelcome(unit)) = made
                else {
                    continue;
                };
                let mut next = moment.clone();
                next.turn = 1 - to;
                self.give(&mut next, to, unit, false);
                self.after(made, None, next);
            }
        }
    }

    fn after(&mut self, made: Move, on: Option<UnitId>, next: Moment) {
        self.report.moves[made.index()] += 1;
        self.trail.push((made, on));
        self.walk(next);
        self.trail.pop();
    }

    fn give(&mut self, moment: &mut Moment, end: usize, unit: UnitId, swapped: bool) {
        let before = moment.ends[end];
        let after = self.machines.step(before, Input { unit, swapped });
        if after == before {
            return;
        }
        moment.ends[end] = after;
        for &unit in &self.machines.nodes[after].sent {
            moment.queues[1 - end].push(unit);
            if !moment.seen.contains(&unit) {
                moment.seen.push(unit);
            }
        }
    }

    /// Counts a finished path.
    fn end(&mut self, moment: &Moment, fault: Option<String>) {
        self.report.paths[self.trail.len()] += 1;
        let [client, server] = [0, 1].map(|end| self.status(moment, end) == Status::Complete);
        match (client, server) {
            (true, true) => self.report.both += 1,
            (false, true) => self.report.server_alone += 1,
            (true, false) => self.report.client_alone += 1,
            (false, false) => {}
        }
        let fault = fault
            .or_else(|| {
                let [client_node, server_node] = moment.ends;
                (client && server)
                    .then(|| self.machines.disagreement(client_node, server_node))
                    .flatten()
            })
            .or_else(|| self.sample(moment));
        if let Some(fault) = fault {
            self.tell(&fault);
        }
    }

    /// Runs one of many paths again in pieces, and reports a different end.
    fn sample(&mut self, moment: &Moment) -> Option<String> {
        if !self.report.total().is_multiple_of(SAMPLE) {
            return None;
        }
        self.report.sampled += 1;
        moment.ends.iter().find_map(|&node| {
            let is = self.machines.nodes[node].status;
            let again = self.machines.in_pieces(node, 7)?;
            (again != is).then(|| format!("ends {is:?} by units, {again:?} in pieces"))
        })
    }

    fn tell(&mut self, fault: &str) {
        self.report.bad += 1;
        let moves = self.trail.len();
        let shortest = self.report.shortest_bad.unwrap_or(usize::MAX);
        if moves < shortest {
            self.report.shortest_bad = Some(moves);
        }
        if self.report.told.len() < TOLD || moves < shortest {
            let meaning = |unit: UnitId| self.machines.units[unit].meaning;
            let trail: Vec<_> = self
                .trail
                .iter()
                .map(|&(made, on)| {
                    let with = match made {
                        Move::Drop | Move::Reorder | Move::VerdictForAnother => String::new(),
                        Move::Flip(unit)
                        | Move::Replay(unit)
                        | Move::Splice(unit)
                        | Move::ReadyEarly(unit)
                        | Move::SecondWelcome(unit) => format!(" {:?}", meaning(unit)),
                    };
                    let on = on.map_or("silence".into(), |unit| format!("{:?}", meaning(unit)));
                    format!("{}{with} at {on}", MOVES[made.index()])
                })
                .collect();
            self.report
                .told
                .insert(0, format!("[{}]: {fault}", trail.join(", ")));
        }
    }
}

/// Puts a unit that was held back first, after another unit in its direction has passed.
fn release(moment: &mut Moment, end: usize) {
    if let Some(unit) = moment.held[end].take() {
        moment.queues[end].insert(0, unit);
    }
}
