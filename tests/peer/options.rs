//! Options of the peer's sockets and of its ZAP handler.

use super::payload::to_hex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// The keys of libzmq's manual: public for the client, secret for the client, and the server's.
pub const CLIENT_PUBLIC: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
pub const CLIENT_SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
pub const SERVER_PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
pub const SERVER_SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

/// A socket's mechanism, role and credentials.
#[derive(Debug, Clone, Copy)]
pub enum Security<'a> {
    Null,
    PlainServer,
    PlainClient {
        username: &'a str,
        password: &'a str,
    },
    CurveServer {
        secret: &'a str,
    },
    CurveClient {
        public: &'a str,
        secret: &'a str,
        server: &'a str,
    },
}

impl Security<'static> {
    /// A CURVE server with the server's key of libzmq's manual.
    pub const CURVE_SERVER: Self = Self::CurveServer {
        secret: SERVER_SECRET,
    };
    /// A CURVE client with the client's keys of libzmq's manual, for that server.
    pub const CURVE_CLIENT: Self = Self::CurveClient {
        public: CLIENT_PUBLIC,
        secret: CLIENT_SECRET,
        server: SERVER_PUBLIC,
    };
}

/// Options set on a socket before it binds or connects, by libzmq's names without `ZMQ_`.
#[derive(Debug, Clone, Default)]
pub struct Options(pub Vec<(String, Value)>);

impl Options {
    pub fn new(security: Security<'_>) -> Self {
        let options = Self::default();
        match security {
            Security::Null => options,
            Security::PlainServer => options.set("PLAIN_SERVER", 1),
            Security::PlainClient { username, password } => options
                .set("PLAIN_USERNAME", username)
                .set("PLAIN_PASSWORD", password),
            Security::CurveServer { secret } => options
                .set("CURVE_SERVER", 1)
                .set("CURVE_SECRETKEY", secret),
            Security::CurveClient {
                public,
                secret,
                server,
            } => options
                .set("CURVE_PUBLICKEY", public)
                .set("CURVE_SECRETKEY", secret)
                .set("CURVE_SERVERKEY", server),
        }
    }

    /// A number or a text.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Bytes, such as an identity or a topic.
    pub fn bytes(self, name: &str, value: &[u8]) -> Self {
        self.set(name, json!({ "hex": to_hex(value) }))
    }

    /// The domain under which a server asks its ZAP handler. NULL asks only with one.
    pub fn domain(self, domain: &str) -> Self {
        self.set("ZAP_DOMAIN", domain)
    }
}

/// The answer of a scripted ZAP handler to every request.
#[derive(Debug, Clone, Copy)]
pub struct ZapAnswer<'a> {
    pub status: &'a str,
    pub user_id: &'a str,
    /// Properties in ZMTP's encoding.
    pub metadata: &'a [u8],
    pub delay: Duration,
}

impl<'a> ZapAnswer<'a> {
    pub const fn status(status: &'a str) -> Self {
        Self {
            status,
            user_id: "",
            metadata: &[],
            delay: Duration::ZERO,
        }
    }
}

/// The policy of pyzmq's own `ThreadAuthenticator`.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub command: serde_json::Map<String, Value>,
}

impl Policy {
    pub fn allow(self, addresses: &[&str]) -> Self {
        self.with("allow", json!(addresses))
    }

    pub fn deny(self, addresses: &[&str]) -> Self {
        self.with("deny", json!(addresses))
    }

    pub fn plain(self, domain: &str, passwords: &[(&str, &str)]) -> Self {
        let passwords: HashMap<_, _> = passwords.iter().copied().collect();
        self.with("plain", json!([[domain, passwords]]))
    }

    /// `location` is a directory of certificates, or `*` for any key.
    pub fn curve(self, domain: &str, location: &str) -> Self {
        self.with("curve", json!([[domain, location]]))
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.command.insert(key.to_owned(), value);
        self
    }
}
