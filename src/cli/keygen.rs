//! `keygen`: a fresh key pair.
#![forbid(unsafe_code)]

use crate::cli::console::Console;
use crate::cli::exit::Failure;
use crate::cli::new_file::create_secret;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use zeroize::Zeroizing;
use zmtp_auth::KeyPair;

/// Make a CURVE key pair
///
/// Prints the public and the secret key, 40 characters of Z85 each. Give the public key to whoever
/// has to know you; whoever has the secret key is you.
///
/// With --secret the secret key goes to a new file that only you can read, and is not printed:
///
///   zmtp-auth keygen --secret server.secret
///   zmtp-auth listen tcp://*:5555 --type pull --curve --key server.secret ..
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct KeygenArguments {
    /// Write the secret key to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
}

#[derive(Serialize)]
struct Keys<'a> {
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key: Option<&'a str>,
}

pub(crate) fn run(arguments: &KeygenArguments, console: Console) -> Result<(), Failure> {
    let pair = KeyPair::generate()?;
    let secret = pair.secret().to_z85();
    let public_key = pair.public().to_z85();
    let (secret_key, text) = match &arguments.secret {
        None => {
            let text = format!("public-key {public_key}\nsecret-key {}\n", *secret);
            (Some(secret.as_str()), text)
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
