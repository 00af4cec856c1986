//! The processes of the shop, and the ways in which one of them can break.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The load generator: it calls and is never called.
    Shopper,
    Frontend,
    Catalogue,
    Cart,
    Checkout,
    Payment,
    Inventory,
}

impl Service {
    /// Callees before their callers: the order in which they start.
    pub const ALL: [Self; 7] = [
        Self::Inventory,
        Self::Payment,
        Self::Catalogue,
        Self::Cart,
        Self::Checkout,
        Self::Frontend,
        Self::Shopper,
    ];

    /// Everything that is called.
    pub const VICTIMS: [Self; 6] = [
        Self::Frontend,
        Self::Catalogue,
        Self::Cart,
        Self::Checkout,
        Self::Payment,
        Self::Inventory,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shopper => "shopper",
            Self::Frontend => "frontend",
            Self::Catalogue => "catalogue",
            Self::Cart => "cart",
            Self::Checkout => "checkout",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
        }
    }

    #[must_use]
    pub fn calls(self) -> &'static [Self] {
        match self {
            Self::Shopper => &[Self::Frontend],
            Self::Frontend => &[Self::Catalogue, Self::Cart, Self::Checkout],
            Self::Catalogue => &[Self::Inventory],
            Self::Cart => &[Self::Catalogue],
            Self::Checkout => &[Self::Cart, Self::Payment, Self::Inventory],
            Self::Payment | Self::Inventory => &[],
        }
    }

    /// How long a caller waits for it: longer, the more it may itself wait for.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_millis(match self {
            Self::Payment | Self::Inventory => 800,
            Self::Catalogue => 1_000,
            Self::Cart => 1_200,
            Self::Checkout => 2_400,
            Self::Frontend | Self::Shopper => 3_000,
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Threads burn CPU and hold the lock that request handling needs.
    Cpu,
    /// Every request into the service is underway for some hundred milliseconds longer.
    Latency,
    /// A new version with a configuration that breaks a part of the requests.
    BadDeploy,
    /// Memory is allocated, touched and kept.
    Leak,
    /// Request handling waits for a lock that is never released.
    Hang,
    /// Nothing is broken, or not any more.
    None,
}

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Latency, Self::BadDeploy, Self::Leak, Self::Hang, Self::None];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Latency => "latency",
            Self::BadDeploy => "bad-deploy",
            Self::Leak => "leak",
            Self::Hang => "hang",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of {choices}", choices = .1.join(", "))]
pub struct UnknownName(String, Vec<&'static str>);

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned(), Self::ALL.map(Self::name).to_vec()))
    }
}

impl FromStr for Service {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned(), Self::ALL.map(Self::name).to_vec()))
    }
}

/// The service that `fault` breaks under `seed`: consecutive seeds visit every service, each fault in its own order.
#[must_use]
pub fn victim(fault: Fault, seed: u64) -> Service {
    let turn = (seed % 6 + fault as u64 * 5) % 6;
    let [frontend, catalogue, cart, checkout, payment, inventory] = Service::VICTIMS;
    match turn {
        0 => payment,
        1 => catalogue,
        2 => checkout,
        3 => inventory,
        4 => frontend,
        _ => cart,
    }
}

#[cfg(test)]
mod tests;
