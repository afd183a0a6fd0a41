//! The arguments of a client: its mechanism and credentials.
#![forbid(unsafe_code)]

use crate::exit::Failure;
use crate::security::key_file::{load_key_pair, public_key};
use crate::security::password_input::password;
use clap::Args;
use std::path::{Path, PathBuf};
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::{Builder, Config, KeyPair, MechanismKind, NoPolicy, Password, PublicKey};

/// The mechanism and the credentials of a client.
///
/// clap drops `requires = "curve"` if another mechanism is present, since the two conflict. Each
/// credential therefore also conflicts with the mechanisms that would ignore it.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ClientSecurity {
    /// Use NULL: no security
    #[arg(long, group = "mechanism")]
    null: bool,
    /// Use PLAIN, as this user; name and password are sent in clear text. The password comes from
    /// --password-file, from $ZMTP_AUTH_PASSWORD, or from a prompt
    #[arg(long, value_name = "USER", group = "mechanism")]
    plain: Option<String>,
    /// Read the password from this file, standard input (-) or a variable (env:NAME)
    #[arg(long, value_name = "FILE", requires = "plain", conflicts_with_all = ["null", "curve"])]
    password_file: Option<PathBuf>,
    /// Use CURVE: encryption, and authentication by keys
    #[arg(long, group = "mechanism")]
    curve: bool,
    /// The server's public key: its 40 characters, or a certificate, the output of `keygen` or the
    /// bare key, from a file, standard input (-) or a variable (env:NAME)
    #[arg(
        long,
        value_name = "Z85|FILE",
        requires = "curve",
        conflicts_with_all = ["null", "plain"],
        allow_hyphen_values = true
    )]
    server_key: Option<String>,
    /// Your secret key: a secret certificate or the output of `keygen`, from a file, standard input
    /// (-) or a variable (env:NAME). The default is a new key, which only a server that admits any
    /// key accepts
    #[arg(long, value_name = "FILE", requires = "curve", conflicts_with_all = ["null", "plain"])]
    key: Option<PathBuf>,
}

impl ClientSecurity {
    /// The mechanism, if one was given.
    pub(crate) const fn mechanism(&self) -> Option<MechanismKind> {
        match (self.null, &self.plain, self.curve) {
            (true, _, _) => Some(MechanismKind::Null),
            (_, Some(_), _) => Some(MechanismKind::Plain),
            (_, _, true) => Some(MechanismKind::Curve),
            _ => None,
        }
    }

    /// The secret key, if one was given.
    pub(crate) fn key(&self) -> Option<&Path> {
        self.key.as_deref()
    }

    /// Whether a server's key was given.
    pub(crate) const fn knows_a_server(&self) -> bool {
        self.server_key.is_some()
    }

    /// The credentials that the arguments name. Reads files, and may ask for a password.
    ///
    /// # Errors
    /// Returns a usage failure if no mechanism was given, and a failure if a file cannot be read.
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

/// The credentials of a client. They are loaded once and used for several configurations, since a
/// pipe can be read only once and a person should be asked only once.
pub(crate) enum ClientCredentials {
    Null,
    Plain { user: String, password: Password },
    Curve { keys: KeyPair, server: PublicKey },
}

impl ClientCredentials {
    /// Credentials for PLAIN. May ask for the password.
    pub(crate) fn plain(user: &str, password_file: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self::Plain {
            user: user.to_owned(),
            password: password(password_file, "Password: ")?,
        })
    }

    /// Credentials for CURVE: the server's key, and the client's key or a new one.
    pub(crate) fn curve(server: &str, key: Option<&Path>) -> Result<Self, Failure> {
        let server = public_key(server)?;
        let keys = match key {
            Some(path) => load_key_pair(path)?,
            None => KeyPair::generate()?,
        };
        Ok(Self::Curve { keys, server })
    }

    /// The configuration of a client with these credentials.
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
