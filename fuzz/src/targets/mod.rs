//! The targets, one file each.

pub mod address;
pub mod auth_stream;
pub mod certificate;
pub mod command;
pub mod connection;
pub mod cuts;
pub mod file;
pub mod frame;
pub mod greeting;
pub mod handshake_client;
pub mod handshake_server;
pub mod inside_boxes;
pub mod judges;
pub mod metadata;
pub mod password_file;
pub mod policy;
pub mod traffic;
pub mod z85;
pub mod zap_reply;
pub mod zap_request;
