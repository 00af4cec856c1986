//! The server over real sockets.

mod chat;
mod door;
mod drain;
mod support;
