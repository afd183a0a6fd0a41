//! The ZAP router inside the process.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod zap_router;
