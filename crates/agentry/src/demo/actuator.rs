//! Carries approved orders out on the shop: what an operator's own deployer would do.

use std::sync::Arc;

use agentry_core::outbound::{Actuator, Error, Order, Receipt};
use agentry_shop::{Service, Shop};
use async_trait::async_trait;
use tokio::sync::OnceCell;

/// The shop starts after the agent that watches it, so the actuator gets it later.
#[derive(Clone, Default)]
pub(super) struct Deployer {
    pub(super) shop: Arc<OnceCell<Arc<Shop>>>,
}

#[async_trait]
impl Actuator for Deployer {
    async fn perform(&self, key: &str, order: &Order) -> Result<Receipt, Error> {
        let refused =
            |reason: String| Error::Refused { target: "the shop's deployer".into(), reason };
        let shop = self.shop.get().ok_or_else(|| refused("the shop is not running".into()))?;
        let service =
            order.service.parse::<Service>().map_err(|error| refused(error.to_string()))?;
        let done = match order.action.as_str() {
            "restart" => shop.restart(service).await,
            "rollback" => shop.rollback(service).await,
            other => return Err(refused(format!("it knows restart and rollback, not {other}"))),
        };
        done.map_err(|error| refused(error.to_string()))?;
        Ok(Receipt { id: format!("{} {service}", order.action), link: format!("deployer:{key}") })
    }
}
