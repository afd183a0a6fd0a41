//! `zap`: answers ZAP requests from standard input, or as a service for other processes.
#![forbid(unsafe_code)]

use crate::commands::zap_service::{self, ServiceArguments};
use crate::exit::Failure;
use crate::output::console::Console;
use crate::runtime::block_on;
use crate::security::argument_source;
use crate::security::server::LoadedPolicy;
use crate::socket::lines::{Line, Lines};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use zmtp_auth::WithCauses;
use zmtp_auth::auth::{Authenticator, Rule};
use zmtp_auth::zap::ZapRequest;

/// The longest request on standard input in bytes. 1 MiB: PLAIN and CURVE need less than 2 KiB, but
/// other mechanisms may have long credentials.
const MAX_LINE: usize = 1024 * 1024;

/// Answer ZAP requests (RFC 27) by a policy
///
/// Reads one request per line from standard input: {"frames":["base64",..]}, the frames as a REP
/// socket receives them. For each it prints one line: {"frames":[..]} with the six frames of the
/// reply, {"dropped":"why"} if RFC 27 asks for no reply, or {"error":"why"} if the line is no
/// request or is longer than 1 MiB.
///
/// With --listen it serves other processes instead. They reach it with net::RemoteZapHandler, or
/// with a proxy that binds their inproc://zeromq.zap.01. Since requests contain passwords, the
/// service listens on an ipc path, for processes of the same user, or with CURVE, for the clients
/// that --client-key names.
///
/// The service prints each decision as an event "decision" with the time, the peer's public key or
/// known name, its address, the outcome and the rule. Processes that connect to the service are
/// "accepted" or "refused", as with `listen`.
#[derive(Debug, Args)]
pub(crate) struct ZapArguments {
    /// The policy file, or a variable (env:NAME). A service reloads a file on SIGHUP, which takes two
    /// seconds. To replace the file, rename a complete new one
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Add the rule that decided to each answer
    #[arg(long, conflicts_with = "listen")]
    explain: bool,
    #[command(flatten)]
    service: ServiceArguments,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    frames: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Frames(Vec<String>),
    Dropped(String),
    Error(String),
}

#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    answer: Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

pub(crate) fn run(arguments: &ZapArguments, console: Console) -> Result<(), Failure> {
    let endpoint = arguments.service.endpoint()?;
    if endpoint.is_none() {
        argument_source::reserve_stdin("read for requests")?;
    }
    let policy = LoadedPolicy::load(&arguments.policy, None)?;
    match endpoint {
        Some(endpoint) => block_on(zap_service::serve(endpoint, &arguments.service, policy)),
        None => block_on(answer_lines(
            policy.authenticator(),
            arguments.explain,
            console,
        )),
    }
}

async fn answer_lines(
    auth: &Authenticator,
    explain: bool,
    console: Console,
) -> Result<(), Failure> {
    let mut lines = Lines::of_stdin(MAX_LINE);
    while let Some(line) = lines.next().await.map_err(Failure::stdin)? {
        let frames = match &line {
            Line::Whole(line) => frames(line),
            Line::TooLong => Err(format!("longer than {MAX_LINE} bytes")),
        };
        let (answer, rule) = match frames {
            Ok(frames) => answer(auth, frames).await,
            Err(error) => (Answer::Error(error), None),
        };
        let rule = rule.filter(|_| explain).map(|rule| rule.to_string());
        console.event(&Told { answer, rule })?;
    }
    Ok(())
}

fn frames(line: &[u8]) -> Result<Vec<Bytes>, String> {
    let request = serde_json::from_slice::<Request>(line);
    // serde's message quotes the input, which may be a password.
    let request = request.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("not {{\"frames\":[\"base64\",..]}}, at line {line}, column {column}")
    })?;
    let decode = |(index, frame): (usize, &String)| {
        let bytes = Base64::decode_vec(frame);
        bytes
            .map(Bytes::from)
            .map_err(|_| format!("frame {index} is not base64"))
    };
    request.frames.iter().enumerate().map(decode).collect()
}

async fn answer(auth: &Authenticator, frames: Vec<Bytes>) -> (Answer, Option<Rule>) {
    match ZapRequest::from_frames(frames.clone()) {
        Ok(request) => {
            let (reply, rule) = auth.handle_explained(&request).await;
            (encoded(&reply.to_frames()), Some(rule))
        }
        Err(error) => match auth.handle_zap_message(frames).await {
            Some(reply) => (encoded(&reply), Some(Rule::Request)),
            None => (
                Answer::Dropped(WithCauses(&error).to_string()),
                Some(Rule::Request),
            ),
        },
    }
}

fn encoded(frames: &[Bytes]) -> Answer {
    let frames = frames.iter();
    Answer::Frames(frames.map(|frame| Base64::encode_string(frame)).collect())
}
