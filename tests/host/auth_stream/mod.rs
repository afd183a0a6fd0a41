//! `AuthStream` between a host that knows NULL alone and a peer of each mechanism.

mod drops;
mod endings;
mod party;
mod polling;
mod refusals;
mod revocation;
mod rig;
mod roles;
mod traffic;
