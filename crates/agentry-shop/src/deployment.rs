//! What is deployed: a version, and the configuration that goes with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::services::{cart, catalogue, checkout, frontend, inventory, payment};
use crate::{Error, Service};

/// What one process is told when it starts, in a file of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) service: Service,
    /// Port 0 the first time; the same port again after a restart.
    pub(crate) listen: SocketAddr,
    pub(crate) peers: BTreeMap<Service, SocketAddr>,
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) load_rps: f64,
}

impl Launch {
    pub(crate) fn deployment_path(&self) -> PathBuf {
        self.folder.join("config").join(format!("{}.json", self.service))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) settings: Settings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "lowercase")]
pub(crate) enum Settings {
    Shopper,
    Frontend(frontend::Settings),
    Catalogue(catalogue::Settings),
    Cart(cart::Settings),
    Checkout(checkout::Settings),
    Payment(payment::Settings),
    Inventory(inventory::Settings),
}

impl Settings {
    /// Writes what the settings refer to under `folder`.
    pub(crate) fn healthy(service: Service, folder: &Path) -> Result<Self, Error> {
        Ok(match service {
            Service::Shopper => Self::Shopper,
            Service::Frontend => Self::Frontend(frontend::Settings::healthy(folder)?),
            Service::Catalogue => Self::Catalogue(catalogue::Settings::healthy(folder)?),
            Service::Cart => Self::Cart(cart::Settings::healthy()),
            Service::Checkout => Self::Checkout(checkout::Settings::healthy()),
            Service::Payment => Self::Payment(payment::Settings::healthy()),
            Service::Inventory => Self::Inventory(inventory::Settings::healthy()),
        })
    }

    /// A change that breaks about half of the requests, and what its author says that it does.
    pub(crate) fn broken(&mut self) -> &'static str {
        match self {
            Self::Shopper => "no change",
            Self::Frontend(settings) => settings.broken(),
            Self::Catalogue(settings) => settings.broken(),
            Self::Cart(settings) => settings.broken(),
            Self::Checkout(settings) => settings.broken(),
            Self::Payment(settings) => settings.broken(),
            Self::Inventory(settings) => settings.broken(),
        }
    }

    /// A change that does no harm, and what its author says that it does.
    pub(crate) fn tuned(&mut self) -> String {
        match self {
            Self::Shopper => "no change".to_owned(),
            Self::Frontend(settings) => settings.tuned(),
            Self::Catalogue(settings) => settings.tuned(),
            Self::Cart(settings) => settings.tuned(),
            Self::Checkout(settings) => settings.tuned(),
            Self::Payment(settings) => settings.tuned(),
            Self::Inventory(settings) => settings.tuned(),
        }
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read(path).map_err(|source| Error::file("read", path, source))?;
    serde_json::from_slice(&text)
        .map_err(|source| Error::Malformed { path: path.to_owned(), source })
}

/// Replaces the file at once: a reader sees the old text or the new one.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Malformed { path: path.to_owned(), source })?;
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).map_err(|source| Error::file("write", &beside, source))?;
    std::fs::rename(&beside, path).map_err(|source| Error::file("replace", path, source))
}
