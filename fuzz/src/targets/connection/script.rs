//! A script: what the peer and the application do.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use bytes::Bytes;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
/// The longest script in steps, and the most bytes that a peer sends.
const MAX_STEPS: usize = 400;
const MAX_SENT: usize = 24 * MIB;

/// One step of a script.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// The peer sends a part of a message, with more to come.
    Part(usize),
    /// The peer sends the last part of a message.
    Last(usize),
    /// The peer sends a command that does not exist, which is ignored.
    Unknown(usize),
    /// The peer sends a PING.
    Ping(usize),
    /// The peer subscribes, which an XPUB delivers and others ignore.
    Subscribe(usize),
    /// The peer sends a frame with a reserved bit.
    Broken,
    /// The peer sends in pieces of this size from here on; 0 is all at once.
    Cut(usize),
    /// The peer takes what was sent to it.
    Listen,
    /// The application receives this many times, if something has arrived.
    Receive(usize),
    /// The application sends a message, if there is room.
    Send(usize),
    /// Both wait, so that the connection makes progress.
    Wait(usize),
    /// The peer closes, even with answers unread.
    Leave,
}

impl Step {
    pub const fn is_the_peers(self) -> bool {
        matches!(
            self,
            Self::Part(_)
                | Self::Last(_)
                | Self::Unknown(_)
                | Self::Ping(_)
                | Self::Subscribe(_)
                | Self::Broken
                | Self::Cut(_)
        )
    }
}

pub fn script(choices: &mut Choices<'_>) -> Vec<Step> {
    let mut script = Vec::new();
    let mut sent = 0;
    while !choices.is_empty() && script.len() < MAX_STEPS {
        let (kind, size) = (choices.byte(), choices.byte());
        let short = usize::from(size);
        let len = match short {
            0..128 => short,
            long => (long - 127) * 2 * KIB,
        };
        let step = match kind % 12 {
            0 => Step::Part(len),
            1 => Step::Last(len),
            2 => Step::Unknown(len),
            3 => Step::Ping(short % 18),
            4 => Step::Subscribe(len),
            5 => Step::Broken,
            6 => Step::Cut(len),
            7 => Step::Listen,
            8 => Step::Receive(short),
            9 => Step::Send(len),
            10 => Step::Wait(short),
            _ => Step::Leave,
        };
        sent += len;
        if sent > MAX_SENT {
            break;
        }
        script.push(step);
    }
    script
}

/// The payload of a step, which identifies the step.
pub fn body(step: usize, len: usize) -> Bytes {
    let number = (step as u32).to_le_bytes();
    number.into_iter().cycle().take(len).collect()
}

pub fn command(name: &[u8], step: usize, len: usize) -> Bytes {
    [name, &body(step, len)].concat().into()
}

/// The seeds: scripts that once failed, and an honest exchange.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    /// 4,096 + 2,048 bytes, 256 KiB, and the longest message.
    const PART: u8 = 130;
    const LONG: u8 = 255;
    let steps = |setup: u8, steps: &[[u8; 2]]| [&[setup][..], &steps.concat()].concat();
    let mut seeds = Vec::new();
    for setup in 0..6 {
        let honest = [
            [1, 5],
            [9, 7],
            [7, 0],
            [0, 200],
            [3, 9],
            [1, 0],
            [8, 9],
            [4, 3],
        ];
        seeds.push((format!("honest-{setup}"), steps(setup, &honest)));
        let parts = [[0, PART], [2, LONG], [10, 9]].repeat(60);
        let parts = [parts, vec![[1, 3], [10, 200]]].concat();
        seeds.push((
            format!("parts-among-commands-{setup}"),
            steps(setup, &parts),
        ));
        let messages = [[1, PART], [2, LONG]].repeat(60);
        seeds.push((
            format!("messages-among-commands-{setup}"),
            steps(setup, &messages),
        ));
        let many = [[1, 128]; 40];
        let answers = [
            [10, 255],
            [11, 0],
            [10, 255],
            [9, 9],
            [10, 255],
            [9, 9],
            [10, 255],
        ];
        let answered = [&many[..], &answers].concat();
        seeds.push((format!("answered-{setup}"), steps(setup, &answered)));
        let broken = [vec![[1, 100]; 200], vec![[5, 0]], vec![[1, 255]; 20]].concat();
        seeds.push((format!("broken-in-front-{setup}"), steps(setup, &broken)));
        let dripping = [[6, 90], [1, 254], [10, 40], [6, 0], [1, 254], [8, 3]];
        seeds.push((format!("dripping-{setup}"), steps(setup, &dripping)));
        let pings = [vec![[3, 16]; 100], vec![[1, 3], [9, 4], [3, 17], [1, 2]]].concat();
        seeds.push((format!("pings-{setup}"), steps(setup, &pings)));
    }
    seeds
}
