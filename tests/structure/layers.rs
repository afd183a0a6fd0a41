//! Imports follow the layers of the design, without circles.

use super::source::{Token, starts_with, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// Every top-level file or folder of `src/` and its layer. A name that is missing here fails.
const LAYERS: &[(&str, u8)] = &[
    ("byte_text", 1),
    ("error", 1),
    ("fault", 1),
    ("limits", 1),
    ("lock", 1),
    ("printable", 1),
    ("status", 1),
    ("timing", 1),
    ("with_causes", 1),
    ("wire", 2),
    ("crypto", 3),
    ("access", 4),
    ("secret_file", 4),
    ("cert", 5),
    ("config", 5),
    ("traffic", 5),
    ("zap", 5),
    ("auth", 6),
    ("mechanism", 6),
    ("handshake", 7),
    ("relay", 8),
    ("security", 8),
    ("host", 9),
    ("net", 10),
];

/// The imports within a layer that cross files outside a common folder.
const SAME_LAYER: &[(&str, &str)] = &[
    ("error", "fault"),
    ("error", "printable"),
    ("error", "status"),
    ("status", "printable"),
];

/// Imports that the layers would allow and the design forbids: the machines and the policy share
/// only `access/`.
const APART: &[(&str, &str)] = &[
    ("mechanism", "zap"),
    ("mechanism", "auth"),
    ("handshake", "zap"),
    ("handshake", "auth"),
    ("zap", "mechanism"),
    ("auth", "mechanism"),
];

/// The modules of a crate by their paths: `["wire", "frame"]` for `wire/frame.rs`.
pub struct Tree {
    files: BTreeSet<Vec<String>>,
    folders: BTreeSet<Vec<String>>,
}

/// `wire/frame.rs` as a module path, and whether the file is a folder's (or the crate's) root.
fn module_of(file: &str) -> (Vec<String>, bool) {
    let mut path: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(String::from)
        .collect();
    let is_root = matches!(
        path.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    );
    if is_root {
        path.pop();
    }
    (path, is_root)
}

impl Tree {
    /// From paths relative to `src/`.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tree = Self {
            files: BTreeSet::new(),
            folders: BTreeSet::new(),
        };
        for file in files {
            let (path, is_root) = module_of(file);
            for length in 0..path.len() {
                tree.folders.insert(path[..length].to_vec());
            }
            if is_root {
                tree.folders.insert(path);
            } else {
                tree.files.insert(path);
            }
        }
        tree
    }

    /// Every violation of the layers in one file, as text.
    pub fn breaches(&self, file: &str, source: &str) -> Vec<String> {
        let (own, _) = module_of(file);
        let Some(own_top) = own.first() else {
            return Vec::new(); // lib.rs is the facade above all layers.
        };
        let Some(own_layer) = layer(own_top) else {
            return vec![format!("{file}: in no layer; give it one")];
        };
        let mut breaches = Vec::new();
        for import in self.imports(&own, source) {
            let at = format!("{file}:{}", import.line);
            match self.resolve(&own, &import) {
                Target::Own => {}
                Target::Facade(through) => {
                    breaches.push(format!("{at}: imports through {through}"));
                }
                Target::File(target) => {
                    let top = &target[0];
                    let allowed = match layer(top) {
                        None => false,
                        Some(_) if APART.contains(&(own_top, top)) => false,
                        Some(_) if top == own_top => true,
                        Some(layer) if layer == own_layer => SAME_LAYER.contains(&(own_top, top)),
                        Some(layer) => layer < own_layer,
                    };
                    if !allowed {
                        breaches.push(format!("{at}: may not import {}", target.join("/")));
                    }
                }
            }
        }
        breaches.dedup();
        breaches
    }

    /// The files that one file imports, without its tests, as module paths.
    fn imported(&self, file: &str, source: &str) -> Vec<Vec<String>> {
        let (own, _) = module_of(file);
        let code = source
            .split("#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        self.imports(&own, code)
            .iter()
            .filter_map(|import| match self.resolve(&own, import) {
                Target::File(target) => Some(target),
                Target::Own | Target::Facade(_) => None,
            })
            .collect()
    }

    /// Every import of a file. A folder that is imported as a name counts as the files reached
    /// through it.
    fn imports(&self, own: &[String], source: &str) -> Vec<Import> {
        let tokens = tokens(source);
        let mut imports = imports(&tokens);
        let folders: Vec<_> = imports
            .iter()
            .filter_map(|import| self.own_folder(own, import))
            .collect();
        imports.retain(|import| self.own_folder(own, import).is_none());
        imports.extend(folders.iter().flat_map(|folder| uses(&tokens, folder)));
        imports
    }

    /// A folder within the file's own top-level folder, imported as a name to reach its files by:
    /// `use crate::mechanism::curve;` for `curve::client::start`.
    fn own_folder(&self, own: &[String], import: &Import) -> Option<Folder> {
        let is_own = import.head == Head::Crate && import.names.first() == own.first();
        let is_folder = import.names.len() > 1 && self.folders.contains(&import.names);
        (is_own && is_folder).then(|| Folder {
            path: import.names.clone(),
            name: import.name.clone(),
        })
    }

    fn resolve(&self, own: &[String], import: &Import) -> Target {
        let mut here = match import.head {
            Head::Crate => Vec::new(),
            Head::OwnName => return Target::Facade("the crate's own name".into()),
            Head::Here => [own, &import.inline].concat(),
        };
        let mut names = import.names.as_slice();
        while let [first, rest @ ..] = names {
            match first.as_str() {
                "self" => {}
                "super" => {
                    here.pop();
                }
                _ => break,
            }
            names = rest;
        }
        if here.starts_with(own) && import.head == Head::Here {
            return Target::Own;
        }
        for name in names {
            here.push(name.clone());
            if !self.files.contains(&here) && !self.folders.contains(&here) {
                here.pop();
                break;
            }
        }
        if here == own {
            Target::Own
        } else if self.files.contains(&here) {
            Target::File(here)
        } else if here.is_empty() {
            Target::Facade("lib.rs".into())
        } else {
            Target::Facade(format!("{}/mod.rs", here.join("/")))
        }
    }
}

/// Every circle of imports among files, as text. A file with a folder of its name (`simd.rs` and
/// `simd/`) is one unit with it if it is in `units`.
pub fn circles(files: &[(String, String)], units: &[&str]) -> Vec<String> {
    let tree = Tree::new(files.iter().map(|(file, _)| file.as_str()));
    let name = |path: &[String]| {
        let path = path.join("/");
        let unit = units
            .iter()
            .find(|unit| path == **unit || path.starts_with(&format!("{unit}/")));
        unit.map_or(path.clone(), |unit| (*unit).to_owned())
    };
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, source) in files {
        let own = name(&module_of(file).0);
        let targets = tree.imported(file, source);
        let targets = targets.iter().map(|target| name(target));
        imports
            .entry(own.clone())
            .or_default()
            .extend(targets.filter(|target| *target != own));
    }
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = imports[from].iter().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file.as_str()) {
                next.extend(imports.get(file).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&str, _> = imports
        .keys()
        .map(|file| (file.as_str(), reached(file)))
        .collect();
    let circles: BTreeSet<Vec<&str>> = reached
        .keys()
        .map(|file| {
            let is_with =
                |other: &&&str| reached[*file].contains(**other) && reached[**other].contains(file);
            reached.keys().filter(is_with).copied().collect()
        })
        .collect();
    circles
        .iter()
        .filter(|circle| !circle.is_empty())
        .map(|circle| format!("a circle: {}", circle.join(", ")))
        .collect()
}

/// A folder and its name in a file.
struct Folder {
    path: Vec<String>,
    name: String,
}

/// Every path that begins with a folder's name, as if it began with `crate`.
fn uses(tokens: &[Token], folder: &Folder) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_first = at == 0 || tokens[at - 1].text != "::";
        if is_first && starts_with(&tokens[at..], &[folder.name.as_str(), "::"]) {
            let mut paths = Vec::new();
            tree(tokens, at + 1, folder.path.clone(), &mut paths);
            found.extend(paths.into_iter().map(|(names, name)| Import {
                head: Head::Crate,
                inline: Vec::new(),
                names,
                name,
                line: token.line,
            }));
        }
    }
    found
}

enum Target {
    Own,
    File(Vec<String>),
    Facade(String),
}

fn layer(top: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == top)
        .map(|(_, layer)| *layer)
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Head {
    Crate,
    OwnName,
    Here,
}

/// One path that leads out of its module.
#[derive(Debug)]
struct Import {
    head: Head,
    /// The inline modules around it.
    inline: Vec<String>,
    /// What follows `crate`, or the whole path from its first `super` or `self`.
    names: Vec<String>,
    /// Its name in the file.
    name: String,
    line: usize,
}

/// Every path that begins with `crate`, `super`, `self` or the crate's own name.
fn imports(tokens: &[Token]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut scopes: Vec<Option<String>> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| {
            at.checked_sub(back)
                .map_or("", |at| tokens[at].text.as_str())
        };
        let next = tokens.get(at + 1).map_or("", |token| token.text.as_str());
        match token.text.as_str() {
            "{" => scopes.push((before(2) == "mod").then(|| before(1).to_owned())),
            "}" => {
                scopes.pop();
            }
            // A visibility such as `pub(crate)` imports nothing.
            "crate" | "super" | "self" if before(1) == "in" => {}
            // A part of a path or group that was read from its head.
            "crate" | "super" | "self" | "zmtp_auth" if before(1) == "::" => {}
            head @ ("crate" | "super" | "self" | "zmtp_auth")
                if matches!(next, "::" | "as") || before(1) == "extern" =>
            {
                let head_kind = match head {
                    "crate" => Head::Crate,
                    "zmtp_auth" => Head::OwnName,
                    _ => Head::Here,
                };
                let prefix = match head_kind {
                    Head::Here => vec![head.to_owned()],
                    Head::Crate | Head::OwnName => Vec::new(),
                };
                let mut paths = Vec::new();
                tree(tokens, at + 1, prefix, &mut paths);
                found.extend(paths.into_iter().map(|(names, name)| Import {
                    head: head_kind,
                    inline: scopes.iter().flatten().cloned().collect(),
                    names,
                    name,
                    line: token.line,
                }));
            }
            _ => {}
        }
    }
    found
}

/// A path, and the name it is imported by.
type Named = (Vec<String>, String);

/// Reads what follows a path's head, with groups expanded. Returns where it ends.
fn tree(tokens: &[Token], mut at: usize, mut path: Vec<String>, paths: &mut Vec<Named>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    while text(at) == "::" {
        match text(at + 1) {
            "{" => {
                at += 2;
                loop {
                    match text(at) {
                        "" => return at,
                        "}" => return at + 1,
                        "," => at += 1,
                        // The module itself: `frame::{self, Frame}`.
                        "self" => at = tree(tokens, at + 1, path.clone(), paths),
                        name => {
                            let path = [path.as_slice(), &[name.to_owned()]].concat();
                            at = tree(tokens, at + 1, path, paths);
                        }
                    }
                }
            }
            name if name == "*" || name.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                path.push(name.to_owned());
                at += 2;
            }
            // Generic arguments: the path before them is all that matters.
            _ => break,
        }
    }
    let name = if text(at) == "as" {
        at += 2;
        text(at - 1).to_owned()
    } else {
        path.last().cloned().unwrap_or_default()
    };
    paths.push((path, name));
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(file: &str, source: &str) -> Vec<String> {
        Tree::new([
            "lib.rs",
            "error.rs",
            "status.rs",
            "limits.rs",
            "wire/mod.rs",
            "wire/frame.rs",
            "wire/reader.rs",
            "access/mod.rs",
            "access/peer.rs",
            "zap/mod.rs",
            "zap/router.rs",
            "traffic/seal.rs",
            "mechanism/mod.rs",
            "mechanism/plain/mod.rs",
            "mechanism/plain/client.rs",
            "mechanism/refusal.rs",
            "auth/mod.rs",
            "auth/grants.rs",
            "net/mod.rs",
            "net/connection/driver.rs",
        ])
        .breaches(file, source)
    }

    #[track_caller]
    fn allowed(file: &str, source: &str) {
        assert_eq!(breaches(file, source), Vec::<String>::new());
    }

    #[track_caller]
    fn breach(file: &str, source: &str, what: &str) {
        let found = breaches(file, source);
        assert!(
            found.len() == 1 && found[0].contains(what),
            "{found:?} should be one breach with {what:?}"
        );
    }

    #[test]
    fn lower_layers_and_the_own_folder_may_be_imported() {
        allowed(
            "wire/frame.rs",
            "use crate::error::Error; use crate::wire::reader::Reader;",
        );
        allowed("wire/frame.rs", "use super::reader::Reader;");
        allowed(
            "net/connection/driver.rs",
            "use crate::zap::router::ZapRouter;",
        );
        allowed("error.rs", "use crate::status::Status;");
        allowed(
            "mechanism/plain/client.rs",
            "use super::super::refusal::refuse;",
        );
        allowed(
            "mechanism/plain/client.rs",
            "use crate::{mechanism::refusal, error::{Error, Stage}};",
        );
    }

    #[test]
    fn higher_layers_may_not_be_imported() {
        breach(
            "wire/frame.rs",
            "use crate::access::peer::Peer;",
            "access/peer",
        );
        breach(
            "wire/frame.rs",
            "fn f(_: crate::net::connection::driver::Driver) {}",
            "net/connection/driver",
        );
        breach(
            "error.rs",
            "fn f() { super::wire::frame::read() }",
            "wire/frame",
        );
    }

    #[test]
    fn the_same_layer_may_not_be_imported_across_folders() {
        breach(
            "traffic/seal.rs",
            "use crate::zap::router::ZapRouter;",
            "zap/router",
        );
        breach("status.rs", "use crate::error::Error;", "error");
        breach("limits.rs", "use crate::status::Status;", "status");
    }

    #[test]
    fn machines_and_policy_may_not_know_each_other() {
        breach(
            "mechanism/refusal.rs",
            "use crate::zap::router::ZapRouter;",
            "zap/router",
        );
        breach(
            "auth/grants.rs",
            "use crate::mechanism::refusal::x;",
            "mechanism/refusal",
        );
    }

    #[test]
    fn circles_are_found_and_what_leads_to_them_is_not() {
        let found = |units: &[&str]| {
            let file = |(name, source): &(&str, &str)| ((*name).to_owned(), (*source).to_owned());
            let files = [
                ("a.rs", "use crate::b::B;"),
                ("b.rs", "use crate::c::d::D; use crate::e::E;"),
                ("c/mod.rs", "pub mod d;"),
                (
                    "c/d.rs",
                    "use crate::f::F;\n#[cfg(test)]\nmod tests { use crate::a::A; }",
                ),
                ("e.rs", ""),
                ("f.rs", "use crate::f::g::G;"),
                ("f/g.rs", "use crate::f::h::H; use crate::c::d::D;"),
            ];
            circles(&files.iter().map(file).collect::<Vec<_>>(), units)
        };
        assert_eq!(found(&[]), ["a circle: c/d, f, f/g"]);
        assert_eq!(found(&["f"]), ["a circle: c/d, f"]);
    }

    #[test]
    fn groups_are_opened_up() {
        breach(
            "wire/frame.rs",
            "use crate::{error::{Error, Stage}, access::{peer::{Peer, Claims as C}}};\nstruct X;",
            "access/peer",
        )
    }

    #[test]
    fn nothing_is_imported_through_a_facade() {
        breach("traffic/seal.rs", "use crate::Limits;", "through lib.rs");
        breach("traffic/seal.rs", "use crate::*;", "through lib.rs");
        breach("traffic/seal.rs", "use crate as me;", "through lib.rs");
        breach(
            "traffic/seal.rs",
            "extern crate self as me;",
            "through lib.rs",
        );
        breach("traffic/seal.rs", "use crate::wire;", "through wire/mod.rs");
        breach(
            "traffic/seal.rs",
            "use crate::wire::{self as w};",
            "through wire/mod.rs",
        );
        breach(
            "traffic/seal.rs",
            "use crate::wire::Frame;",
            "through wire/mod.rs",
        );
        breach("wire/frame.rs", "use super::*;", "through wire/mod.rs");
        breach(
            "wire/frame.rs",
            "use super::{Reader};",
            "through wire/mod.rs",
        );
        breach(
            "wire/frame.rs",
            "use super::super::Error;",
            "through lib.rs",
        );
        breach(
            "traffic/seal.rs",
            "use zmtp_auth::Limits;",
            "the crate's own name",
        );
    }

    #[test]
    fn a_folder_may_be_named_inside_its_own_and_is_seen_through() {
        let file = "mechanism/refusal.rs";
        allowed(
            file,
            "use crate::mechanism::{plain}; fn f() { plain::client::start() }",
        );
        breach(
            file,
            "use crate::mechanism::plain; fn f() { plain::start() }",
            "plain/mod.rs",
        );
        breach(
            file,
            "use crate::mechanism::plain as p; fn f(_: p::Client) {}",
            "plain/mod.rs",
        );
        breach(
            file,
            "use crate::mechanism::plain; use plain::{self as p};",
            "plain/mod.rs",
        );
        breach(file, "use crate::mechanism::plain::*;", "plain/mod.rs");
        breach(
            file,
            "use crate::wire; fn f() { wire::frame::read() }",
            "wire/mod.rs",
        );
    }

    #[test]
    fn a_module_inside_a_file_sees_the_file() {
        allowed(
            "traffic/seal.rs",
            "mod tests { use super::*; fn f() { super::g::<u8>() } }",
        );
        breach(
            "traffic/seal.rs",
            "mod tests { use super::super::*; }",
            "through traffic/mod.rs",
        );
        breach(
            "traffic/seal.rs",
            "mod tests { }\nuse super::Limits;",
            "through traffic/mod.rs",
        );
    }

    #[test]
    fn visibility_and_comments_import_nothing() {
        allowed(
            "wire/frame.rs",
            "pub(in crate::wire) struct X; pub(crate) struct Y;",
        );
        allowed(
            "wire/frame.rs",
            "/// [`net`](crate::net)\n// use crate::net::driver;\nstruct X;",
        );
        allowed(
            "wire/frame.rs",
            "impl X { fn f(self) { self.g(); Self::h() } }",
        );
    }

    #[test]
    fn a_file_in_no_layer_fails() {
        breach("extras.rs", "struct X;", "in no layer");
        breach("extras/thing.rs", "struct X;", "in no layer");
    }
}
