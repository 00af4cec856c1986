//! The incident agent: alerts → incidents → evidence → diagnosis → approved action → report.
//!
//! Everything that decides is pure: [`alert`] reads what senders post, [`correlate`] groups it into incidents. It works
//! with no model at all; a model may only re-rank and explain what the evidence already shows. This crate opens no socket,
//! keeps no database and reads no clock: telemetry, storage, tickets and actions come through the ports of `agentry-core`.

pub mod alert;
pub mod catalogue;
pub mod correlate;
pub mod desk;
pub mod diagnose;
pub mod evidence;
pub mod handling;
pub mod intake;
pub mod report;
