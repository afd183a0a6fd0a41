//! One side of a connection that a target feeds. It answers its own pauses, logs all events, and panics
//! if a forbidden event happens.
#![forbid(unsafe_code)]

use crate::setup::{self, MAX_FRAMES, MAX_MESSAGE, Setup};
use bytes::BytesMut;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::traffic::frames::{Frame, FrameReader, FrameWriter};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{AccessRequest, Credential, Error, LocalError, Verdict};

/// The user id that the handler gives to every peer.
const USER_ID: &str = "somebody";
/// More bytes than a side of this library sends in a handshake.
const MOST_SENT: usize = 1500;
/// More bytes than the text of an error needs.
const MOST_TEXT: usize = 600;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes for the peer; adjacent ones are one event.
    Sent(Vec<u8>),
    /// The handler was asked.
    Asked(String),
    /// A relay was asked for its metadata.
    Paused,
    /// The handshake is complete, with this peer.
    Complete(String),
    /// A frame of traffic.
    Frame(Flags, Vec<u8>),
    /// The end.
    Failed(Error),
}

/// One side.
pub struct ScriptedPeer {
    setup: &'static Setup,
    state: State,
    input: BytesMut,
    events: Vec<Event>,
    asked: Option<AccessRequest>,
    sent: usize,
    /// How many frames are read at once, if not one by one.
    at_once: Option<usize>,
}

enum State {
    Running(Box<Handshake>),
    Traffic(Box<(FrameReader, FrameWriter)>),
    Over,
}

impl ScriptedPeer {
    pub fn new(setup: &'static Setup) -> Self {
        let mut out = BytesMut::new();
        let handshake = setup.start(&mut out);
        let mut scripted_peer = Self {
            setup,
            state: State::Running(Box::new(handshake)),
            input: BytesMut::new(),
            events: Vec::new(),
            asked: None,
            sent: 0,
            at_once: None,
        };
        scripted_peer.send(out);
        scripted_peer.advance();
        scripted_peer
    }

    /// A side that has been fed all of `bytes`.
    pub fn fed(setup: &'static Setup, bytes: &[u8]) -> Self {
        let mut scripted_peer = Self::new(setup);
        scripted_peer.feed(bytes);
        scripted_peer
    }

    /// Sets how many frames are read at once.
    pub const fn read_at_once(&mut self, max: usize) {
        self.at_once = Some(max);
    }

    /// Takes bytes from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.advance();
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// The request that its handler was asked.
    pub const fn asked(&self) -> Option<&AccessRequest> {
        self.asked.as_ref()
    }

    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Traffic(_))
    }

    /// Whether the handshake has ever been complete, whatever came after it.
    pub fn was_complete(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Complete(_)))
    }

    pub fn error(&self) -> Option<&Error> {
        match self.events.last() {
            Some(Event::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Everything that it has sent.
    pub fn sent(&self) -> Vec<u8> {
        let sent = self.events.iter().filter_map(|event| match event {
            Event::Sent(bytes) => Some(&bytes[..]),
            _ => None,
        });
        sent.collect::<Vec<_>>().concat()
    }

    /// A frame of traffic to its peer.
    pub fn write(&mut self, flags: Flags, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let written = self.writer().write(flags, body, &mut out);
        written.expect("nonces are left");
        out.to_vec()
    }

    /// Frames of traffic to its peer, all at once.
    pub fn write_many(&mut self, frames: &[(Flags, &[u8])]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let written = self.writer().write_many(frames, &mut out);
        written.expect("nonces are left");
        out.to_vec()
    }

    fn writer(&mut self) -> &mut FrameWriter {
        match &mut self.state {
            State::Traffic(traffic) => &mut traffic.1,
            _ => panic!("the handshake is not complete: {:?}", self.events),
        }
    }

    fn send(&mut self, bytes: BytesMut) {
        self.sent += bytes.len();
        assert!(self.sent <= MOST_SENT, "a handshake sends too much");
        if let Some(Event::Sent(before)) = self.events.last_mut() {
            before.extend_from_slice(&bytes);
        } else if !bytes.is_empty() {
            self.events.push(Event::Sent(bytes.to_vec()));
        }
    }

    fn advance(&mut self) {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return,
                State::Running(handshake) => match *handshake {
                    Handshake::NeedsInput(waiting) => {
                        let mut out = BytesMut::new();
                        let before = self.input.len();
                        let next = waiting.process(&mut self.input, &mut out);
                        assert!(self.input.len() <= before);
                        self.send(out);
                        if let Ok(waiting @ Handshake::NeedsInput(_)) = next {
                            self.state = State::Running(Box::new(waiting));
                            return;
                        }
                        self.after(next)
                    }
                    Handshake::Authorize(question) => {
                        self.ask(question.request());
                        let verdict = match self.setup.denies {
                            None => Verdict::allow(USER_ID),
                            Some(status) => Verdict::deny(status, "not you"),
                        };
                        let mut out = BytesMut::new();
                        let next = question.resume(verdict, &mut out);
                        self.send(out);
                        if self.setup.denies.is_some() {
                            assert!(
                                matches!(next, Err(Error::Denied(_))),
                                "denied, and {next:?}"
                            );
                        }
                        self.after(next)
                    }
                    Handshake::NeedsMetadata(pause) => {
                        self.events.push(Event::Paused);
                        let mut out = BytesMut::new();
                        let next = pause.resume(&setup::relayed_metadata(), &mut out);
                        self.send(out);
                        self.after(next)
                    }
                    Handshake::Complete(established) => self.complete(*established),
                },
                State::Traffic(mut traffic) => match self.read(&mut traffic.0) {
                    Ok(()) => {
                        self.state = State::Traffic(traffic);
                        return;
                    }
                    Err(error) => self.fail(error),
                },
            };
        }
    }

    fn after(&mut self, next: Result<Handshake, Error>) -> State {
        match next {
            Ok(handshake) => State::Running(Box::new(handshake)),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) -> State {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.len() <= MOST_TEXT, "too long for a log: {text}");
            assert!(!text.contains(char::is_control), "unfit for a log: {text}");
        }
        assert!(
            !matches!(error, Error::Local(_)),
            "no fault of ours: {error}"
        );
        self.events.push(Event::Failed(error));
        State::Over
    }

    fn ask(&mut self, request: &AccessRequest) {
        assert!(self.setup.asks, "the handler must not be asked");
        assert!(self.asked.is_none(), "asked twice");
        assert_eq!(request.credentials.mechanism(), self.setup.mechanism);
        self.asked = Some(request.clone());
        self.events.push(Event::Asked(format!("{request:?}")));
    }

    fn complete(&mut self, established: Established) -> State {
        let peer = &established.peer;
        assert_eq!(
            self.setup.asks,
            self.asked.is_some(),
            "asked if and only if it asks"
        );
        assert_eq!(self.setup.denies, None, "a denied peer is in");
        match (&peer.authenticated, &self.asked) {
            (None, None) => {}
            (Some(known), Some(asked)) => {
                assert_eq!(known.user_id, USER_ID);
                assert_eq!(known.mechanism(), self.setup.mechanism);
                if let Credential::Key(key) = known.credential {
                    assert_eq!(peer.proven_key, Some(key));
                }
                assert_eq!(known.domain, asked.domain);
            }
            (known, _) => panic!("not what the handler said: {known:?}"),
        }
        match peer.proven_key {
            Some(key) => assert!(self.setup.proven.contains(&key), "an unknown key: {key}"),
            None => assert!(self.setup.proven.is_empty(), "no key is proven"),
        }
        self.events.push(Event::Complete(format!("{peer:?}")));
        let reader = FrameReader::new(established.opener, &setup::limits());
        let writer = FrameWriter::new(established.sealer);
        State::Traffic(Box::new((reader, writer)))
    }

    /// Reads all complete frames.
    fn read(&mut self, reader: &mut FrameReader) -> Result<(), Error> {
        loop {
            let wanted = reader.wanted(&self.input);
            assert!(wanted <= MAX_MESSAGE + 64, "{wanted} bytes wanted");
            let before = self.input.len();
            let mut frames = Vec::new();
            let read = match self.at_once {
                Some(max) => reader.read_many(&mut self.input, max, &mut frames),
                None => reader
                    .read(&mut self.input)
                    .map(|frame| frames.extend(frame)),
            };
            assert!(frames.len() <= self.at_once.unwrap_or(1), "too many frames");
            let is_idle = frames.is_empty();
            for frame in frames {
                self.heard(frame)?;
            }
            if let Err(error) = read {
                let again = reader.read(&mut self.input);
                assert_eq!(
                    again,
                    Err(LocalError::Poisoned.into()),
                    "used after an error"
                );
                return Err(error);
            }
            if is_idle {
                assert_eq!(self.input.len(), before, "an incomplete frame was touched");
                return Ok(());
            }
            assert!(self.input.len() < before, "a frame out of nothing");
        }
    }

    fn heard(&mut self, frame: Frame) -> Result<(), Error> {
        if frame.flags == Flags::Command {
            check_command(&frame.body)?;
        }
        self.events
            .push(Event::Frame(frame.flags, frame.body.to_vec()));
        self.check_message();
        Ok(())
    }

    /// Checks that the message of the last frame is within the limits.
    fn check_message(&self) {
        let mut frames = 0;
        let mut len = 0;
        for event in self.events.iter().rev() {
            match event {
                Event::Frame(Flags::Command, _) => {}
                Event::Frame(Flags::Last, _) if frames > 0 => break,
                Event::Frame(_, body) => {
                    frames += 1;
                    len += body.len();
                }
                _ => break,
            }
        }
        assert!(
            frames <= MAX_FRAMES && len <= MAX_MESSAGE,
            "{frames} frames, {len} bytes"
        );
    }
}

/// Checks that a command that parses encodes to the same bytes.
fn check_command(body: &bytes::Bytes) -> Result<(), Error> {
    if let Some(written) = TrafficCommand::parse(body)?.encode() {
        assert_eq!(written, body);
    }
    Ok(())
}
