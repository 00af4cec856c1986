//! The shop as real processes.

#[cfg(test)]
mod receiver;
#[cfg(test)]
mod shop;
