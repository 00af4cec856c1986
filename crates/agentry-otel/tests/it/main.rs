//! From calls to what a collector is sent.

#[cfg(test)]
mod export;
