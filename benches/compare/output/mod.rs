//! Rows: printed, and written to the tables.

pub mod report;
pub mod results;
pub mod table;
