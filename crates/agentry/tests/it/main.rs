//! The real binary, from outside.

#[cfg(test)]
mod alertmanager;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batches;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod configuring;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod graphs;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod incidents;
#[cfg(test)]
mod init;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod reloading;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod summaries;
#[cfg(test)]
mod support;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod webhooks;
