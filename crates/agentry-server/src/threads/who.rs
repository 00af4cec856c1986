//! On whose behalf something is done here, also when whoever wanted it is long gone.

use agentry_core::batches::Owner;
use agentry_identity::Caller;
use serde_json::{Value, json};

use crate::batches;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// As the audit log names it.
    pub(crate) actor: String,
    pub(crate) owner: Owner,
}

impl Who {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self { actor: caller.actor(), owner: batches::owner(caller) }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.owner.tenant
    }

    /// As it is kept with what happens later.
    pub(crate) fn kept(&self) -> Value {
        let Self { actor, owner } = self;
        let Owner { tenant, key_id, name, team, user, terms } = owner;
        json!({
            "actor": actor, "tenant": tenant, "key_id": key_id, "name": name, "team": team,
            "user": user, "terms": terms,
        })
    }

    pub(crate) fn read(kept: &Value) -> Option<Self> {
        let text = |name| kept.get(name).and_then(Value::as_str).map(str::to_owned);
        let owner = Owner {
            tenant: text("tenant")?,
            key_id: text("key_id")?,
            name: text("name")?,
            team: text("team"),
            user: text("user"),
            terms: serde_json::from_value(kept.get("terms")?.clone()).ok()?,
        };
        Some(Self { actor: text("actor")?, owner })
    }
}
