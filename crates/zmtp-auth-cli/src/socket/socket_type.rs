//! The names of socket types in arguments.
#![forbid(unsafe_code)]

use zmtp_auth::SocketType;

/// The stable types, in the order in which help and completions list them.
const NAMES: [(&str, SocketType); 11] = [
    ("pull", SocketType::Pull),
    ("push", SocketType::Push),
    ("rep", SocketType::Rep),
    ("req", SocketType::Req),
    ("router", SocketType::Router),
    ("dealer", SocketType::Dealer),
    ("sub", SocketType::Sub),
    ("pub", SocketType::Pub),
    ("xsub", SocketType::Xsub),
    ("xpub", SocketType::Xpub),
    ("pair", SocketType::Pair),
];

/// The value of `--type`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeArgument(pub(crate) SocketType);

impl clap::ValueEnum for TypeArgument {
    fn value_variants<'a>() -> &'a [Self] {
        const VARIANTS: [TypeArgument; NAMES.len()] = {
            let mut variants = [TypeArgument(SocketType::Pull); NAMES.len()];
            let mut at = 0;
            while at < NAMES.len() {
                variants[at] = TypeArgument(NAMES[at].1);
                at += 1;
            }
            variants
        };
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let (name, _) = NAMES.iter().find(|(_, kind)| *kind == self.0)?;
        Some(clap::builder::PossibleValue::new(*name))
    }
}
