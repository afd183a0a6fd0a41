//! The ZAP router inside the process asks handlers and turns every failure into a refusal.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod zap_router;
