//! pyzmq's Authenticator in a process of its own, behind `tests/peer/pyzmq_oracle.py`.

use crate::differential::pair::{Call, Says, Text, UserIds};
use crate::differential::rules::Answer;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(digits: &str) -> Text {
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect::<Vec<u8>>()
        .into()
}

fn texts(texts: &[Text]) -> Value {
    texts.iter().map(|text| to_hex(text)).collect()
}

fn call_to_json(call: &Call, base: &Path) -> Value {
    match call {
        Call::Allow(addresses) => json!(["allow", texts(addresses)]),
        Call::Deny(addresses) => json!(["deny", texts(addresses)]),
        Call::Plain(domain, users) => {
            let users: Value = users
                .iter()
                .map(|(name, password)| json!([to_hex(name), to_hex(password)]))
                .collect();
            json!(["plain", to_hex(domain), users])
        }
        Call::Directory(domain, directory) => {
            json!(["directory", to_hex(domain), directory.path(base)])
        }
        Call::AnyKey(domain) => json!(["any", to_hex(domain)]),
        Call::Callback(domain, says, is_async) => {
            let says = match says {
                Says::Yes => "yes".to_owned(),
                Says::Fails => "fail".to_owned(),
                Says::OnlyToBob => zmtp_auth::PublicKey::from_bytes(crate::differential::pair::BOB)
                    .unwrap()
                    .to_z85(),
            };
            json!(["callback", to_hex(domain), says, is_async])
        }
        Call::Gssapi(domain) => json!(["gssapi", to_hex(domain)]),
        Call::UserIds(user_ids) => {
            let user_ids = match user_ids {
                UserIds::Hexadecimal => "hex",
                UserIds::Long => "long",
                UserIds::Fails => "fail",
            };
            json!(["user_ids", user_ids])
        }
    }
}

/// One configuration and the requests to it.
pub struct Task<'a> {
    pub calls: &'a [Call],
    pub requests: Vec<&'a [Text]>,
}

/// The positions of the calls that raised, and an answer for each request.
pub struct Outcome {
    pub errors: Vec<usize>,
    pub answers: Vec<Answer>,
}

fn outcome(line: &str) -> Outcome {
    let value: Value = serde_json::from_str(line).unwrap();
    let list = |name: &str| value[name].as_array().unwrap().clone();
    let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    Outcome {
        errors: list("errors").iter().map(index).collect(),
        answers: list("replies").iter().map(answer).collect(),
    }
}

fn answer(value: &Value) -> Answer {
    match value {
        Value::Null => Answer::NoReply,
        Value::String(exception) => Answer::Raised(exception.clone()),
        frames => {
            let frames = frames.as_array().unwrap().iter();
            let frames: Vec<Text> = frames
                .map(|frame| from_hex(frame.as_str().unwrap()))
                .collect();
            Answer::Frames(frames.try_into().unwrap())
        }
    }
}

/// Runs all tasks in pyzmq. `base` holds the directories of certificates.
pub fn ask(tasks: &[Task<'_>], base: &Path) -> Vec<Outcome> {
    let python = std::env::var_os("ZMTP_AUTH_PYTHON")
        .expect("ZMTP_AUTH_PYTHON must name a Python with pyzmq; ./test sets it");
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/pyzmq_oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    let output = BufReader::new(child.stdout.take().unwrap());
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        scope.spawn(move || {
            for task in tasks {
                let calls: Value = task
                    .calls
                    .iter()
                    .map(|call| call_to_json(call, base))
                    .collect();
                let requests: Value = task.requests.iter().map(|frames| texts(frames)).collect();
                writeln!(input, "{}", json!({"config": calls, "requests": requests})).unwrap();
            }
            input.flush().unwrap();
        });
        output.lines().map(|line| outcome(&line.unwrap())).collect()
    });
    assert!(child.wait().unwrap().success(), "the oracle failed");
    assert_eq!(outcomes.len(), tasks.len());
    outcomes
}
