//! The fuzz targets as plain functions of bytes, which panic if an invariant does not hold. libFuzzer
//! calls them with its inputs, and an ordinary test calls them with the corpora.
#![forbid(unsafe_code)]

pub mod choices;
pub mod forge;
pub mod metadata_model;
pub mod policy_model;
pub mod recording;
pub mod scripted_peer;
pub mod seeds;
pub mod setup;
pub mod targets;

/// A target. It panics if an invariant does not hold.
pub type Run = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Run); 19] = [
    ("address", targets::address::run),
    ("auth_stream", targets::auth_stream::run),
    ("certificate", targets::certificate::run),
    ("command", targets::command::run),
    ("connection", targets::connection::run),
    ("cuts", targets::cuts::run),
    ("frame", targets::frame::run),
    ("greeting", targets::greeting::run),
    ("handshake_client", targets::handshake_client::run),
    ("handshake_server", targets::handshake_server::run),
    ("inside_boxes", targets::inside_boxes::run),
    ("judges", targets::judges::run),
    ("metadata", targets::metadata::run),
    ("password_file", targets::password_file::run),
    ("policy", targets::policy::run),
    ("traffic", targets::traffic::run),
    ("z85", targets::z85::run),
    ("zap_reply", targets::zap_reply::run),
    ("zap_request", targets::zap_request::run),
];
