//! `keygen`: a fresh key pair.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::output::console::Console;
use crate::security::argument_source;
use crate::security::key_file::load_key_pair;
use crate::security::new_file::create_secret;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use zeroize::Zeroizing;
use zmtp_auth::KeyPair;

/// Make a CURVE key pair
///
/// Prints a public and a secret key, each as 40 characters of Z85. Give the public key to your
/// peers. Keep the secret key: everyone who has it can impersonate you.
///
/// Options that take a key read what this command prints: from a file, from a pipe or descriptor
/// such as <(..) or /dev/fd/3, from standard input (-), or from a variable (env:NAME).
///
/// With --secret the secret key is not printed. It goes to a new file that only you can read:
///
///   zmtp-auth keygen --secret server.secret
///   zmtp-auth listen tcp://*:5555 --type pull --curve --key server.secret \
///       --policy policy.toml
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KeygenArguments {
    /// Write the secret key to this new file instead of printing it
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Make no new keys: print the public key that belongs to this secret key, from a file, standard
    /// input (-) or a variable (env:NAME)
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    public: Option<PathBuf>,
}

#[derive(Serialize)]
struct Keys<'a> {
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key: Option<&'a str>,
}

pub(crate) fn run(arguments: &KeygenArguments, console: Console) -> Result<(), Failure> {
    if let Some(of) = &arguments.public {
        let public_key = load_key_pair(of)?.public_key().to_z85();
        let text = format!("public-key {public_key}\n");
        let secret_key = None;
        let keys = Keys {
            public_key,
            secret_key,
        };
        return console.result(&keys, &text);
    }
    let pair = KeyPair::generate()?;
    let secret = pair.secret_key().to_z85();
    let public_key = pair.public_key().to_z85();
    let (secret_key, text) = match &arguments.secret {
        None => {
            let text = format!("public-key {public_key}\nsecret-key {}\n", *secret);
            (Some(secret.as_str()), text)
        }
        Some(path) if argument_source::is_stdin(path) => {
            return Err(Failure::usage(
                "--secret takes the name of a new file, not -: without --secret the key is printed",
            ));
        }
        Some(path) => {
            let mut line = Zeroizing::new(String::with_capacity(secret.len() + 1));
            line.push_str(&secret);
            line.push('\n');
            create_secret(path, line.as_bytes())
                .map_err(|error| Failure::new(format_args!("cannot create {path:?}: {error}")))?;
            (None, format!("public-key {public_key}\n"))
        }
    };
    let text = Zeroizing::new(text);
    let keys = Keys {
        public_key,
        secret_key,
    };
    console.result(&keys, &text)
}
