//! How a client proves itself, as arguments say it.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::key_file::{load_key_pair, public_key};
use crate::security::password_input::password;
use clap::Args;
use std::path::{Path, PathBuf};
use zmtp_auth::{
    Builder, Config, KeyPair, MechanismKind, NoPolicy, Password, PublicKey, WantsMechanism,
};

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
    /// What holds the password and nothing else: a file, - for standard input, or env:NAME
    #[arg(long, value_name = "FILE", requires = "plain")]
    password_file: Option<PathBuf>,
    /// Encrypted and authenticated, by keys
    #[arg(long, group = "mechanism")]
    curve: bool,
    /// The server's public key: 40 characters, or what holds them: a certificate, what `keygen`
    /// prints, or the key alone, in a file, - for standard input, or env:NAME
    #[arg(
        long,
        value_name = "Z85|FILE",
        requires = "curve",
        allow_hyphen_values = true
    )]
    server_key: Option<String>,
    /// Our secret key: a certificate with the secret in it, or what `keygen` writes, in a file, -
    /// for standard input, or env:NAME. Without it a fresh key is made, which only a server that
    /// knows no keys lets in
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

    /// Our secret key, if one was given.
    pub(crate) fn key(&self) -> Option<&Path> {
        self.key.as_deref()
    }

    /// Whether the key of a server was given.
    pub(crate) const fn knows_a_server(&self) -> bool {
        self.server_key.is_some()
    }

    /// What the arguments name. Reads files, and may ask for a password.
    ///
    /// # Errors
    /// Returns wrong usage if no mechanism was chosen, or what cannot be read.
    pub(crate) fn load(&self) -> Result<ClientCredentials, Failure> {
        if self.null {
            return Ok(ClientCredentials::Null);
        }
        if let Some(user) = &self.plain {
            return ClientCredentials::plain(user, self.password_file.as_deref());
        }
        match &self.server_key {
            Some(server) => ClientCredentials::curve(server, self.key.as_deref()),
            None if self.curve => Err(Failure::usage("--curve needs --server-key")),
            None => Err(Failure::usage("choose one of --curve, --plain, --null")),
        }
    }
}

/// What a client proves itself with. It is loaded once, since a pipe can be read only once and a
/// person is asked only once, and may serve several configurations.
pub(crate) enum ClientCredentials {
    Null,
    Plain { user: String, password: Password },
    Curve { keys: KeyPair, server: PublicKey },
}

impl ClientCredentials {
    /// Those of PLAIN. May ask for the password.
    pub(crate) fn plain(user: &str, password_file: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self::Plain {
            user: user.to_owned(),
            password: password(password_file, "Password: ")?,
        })
    }

    /// Those of CURVE: the key of the server, and a fresh key of its own if there is no other.
    pub(crate) fn curve(server: &str, key: Option<&Path>) -> Result<Self, Failure> {
        let server = public_key(server)?;
        let keys = match key {
            Some(path) => load_key_pair(path)?,
            None => KeyPair::generate()?,
        };
        Ok(Self::Curve { keys, server })
    }

    /// A client with these credentials.
    pub(crate) fn config(
        &self,
        builder: Builder<WantsMechanism>,
    ) -> Result<Config<NoPolicy>, Failure> {
        Ok(match self {
            Self::Null => builder.null().accept_any_peer().finish()?,
            Self::Plain { user, password } => builder
                .plain_client(user.clone(), password.clone())
                .finish()?,
            Self::Curve { keys, server } => builder.curve_client(keys.clone(), *server).finish()?,
        })
    }
}
