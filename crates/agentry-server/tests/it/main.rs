//! The server over real sockets.

#[cfg(test)]
mod chat;
#[cfg(test)]
mod door;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod support;
#[cfg(test)]
mod threads;
