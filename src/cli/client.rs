//! How a client proves itself, as arguments say it.
#![forbid(unsafe_code)]

use crate::cli::exit::Failure;
use crate::cli::key_file::{load_key_pair, public_key};
use crate::cli::password_input::password;
use clap::Args;
use std::path::PathBuf;
use zmtp_auth::{Config, KeyPair, MechanismKind, Open, SocketType};

/// The mechanism and the credentials of a client.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ClientSecurity {
    /// No security
    #[arg(long, group = "mechanism")]
    null: bool,
    /// Name and password, in clear on the wire; the password comes from --password-file, from
    /// $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", group = "mechanism")]
    plain: Option<String>,
    /// A file that holds the password and nothing else
    #[arg(long, value_name = "FILE", requires = "plain")]
    password_file: Option<PathBuf>,
    /// Encrypted and authenticated, by keys
    #[arg(long, group = "mechanism", requires = "server_key")]
    curve: bool,
    /// The server's public key: 40 characters, or a certificate file
    #[arg(long, value_name = "Z85|FILE", requires = "curve")]
    server_key: Option<String>,
    /// Our secret key: a certificate with the secret in it, or the file of `keygen --secret`.
    /// Without it a fresh key is made, which only a server that knows no keys lets in
    #[arg(long, value_name = "FILE", requires = "curve")]
    key: Option<PathBuf>,
}

impl ClientSecurity {
    /// The mechanism, if one was chosen.
    pub(crate) const fn mechanism(&self) -> Option<MechanismKind> {
        match (self.null, &self.plain, self.curve) {
            (true, _, _) => Some(MechanismKind::Null),
            (_, Some(_), _) => Some(MechanismKind::Plain),
            (_, _, true) => Some(MechanismKind::Curve),
            _ => None,
        }
    }

    /// A client of this type, as the arguments have it. Reads files, and may ask for a password.
    ///
    /// # Errors
    /// Wrong usage if no mechanism was chosen; what cannot be read.
    pub(crate) fn config(&self, socket_type: SocketType) -> Result<Config<Open>, Failure> {
        let builder = Config::builder(socket_type);
        if self.null {
            return Ok(builder.null().accept_any_peer().finish()?);
        }
        if let Some(user) = &self.plain {
            let password = password(self.password_file.as_deref(), "Password: ")?;
            return Ok(builder.plain_client(user.clone(), password).finish()?);
        }
        let Some(server) = &self.server_key else {
            return Err(Failure::usage("choose one of --curve, --plain, --null"));
        };
        let server = public_key(server)?;
        let keys = match &self.key {
            Some(path) => load_key_pair(path)?,
            None => KeyPair::generate()?,
        };
        Ok(builder.curve_client(keys, server).finish()?)
    }
}
