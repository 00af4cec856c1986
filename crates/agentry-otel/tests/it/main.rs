//! From calls to what a collector is sent.

#[cfg(test)]
mod executions;
#[cfg(test)]
mod export;
