//! A small real system that can be broken, for the demo: a web shop of seven processes under generated load.
//!
//! The processes call each other over HTTP, write logs and traces into a folder and expose their metrics; [`Shop`]
//! starts them, deploys to them and breaks one of them for real; [`monitor`] scrapes them, evaluates alert rules and
//! sends webhooks. What this crate does *not* do is look for the cause: it never tells its telemetry what it broke.

mod clock;
mod deployment;
mod error;
pub mod monitor;
pub mod process;
mod random;
mod service;
mod shop;

pub use error::Error;
pub use service::{Fault, Service, victim};
pub use shop::{ServiceStatus, Shop, ShopConfig};
