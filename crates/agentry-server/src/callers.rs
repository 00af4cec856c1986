//! Callers as they are now, of what they began earlier: batches, and runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::batches::Owner;
use agentry_core::{Caller, Clock};
use agentry_identity::KeyRing;

use crate::Refusal;

/// Knows callers by their owners.
pub struct Callers {
    keys: Option<Arc<KeyRing>>,
    clock: Arc<dyn Clock>,
    /// Of owners that have no key, by tenant and id: limits know callers by where they are.
    known: Mutex<HashMap<(String, String), Arc<Caller>>>,
}

/// More are forgotten together.
const KNOWN_MAX: usize = 1_000;

impl Callers {
    /// `keys` says what owners may do now.
    #[must_use]
    pub fn new(keys: Option<Arc<KeyRing>>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock, known: Mutex::default() }
    }

    /// A key counts as it is now; an owner without one as it was.
    pub fn caller(&self, owner: &Owner, model: &str) -> Result<Arc<Caller>, Refusal> {
        let now = self.clock.now();
        let known = self.keys.as_ref().and_then(|keys| keys.caller(&owner.key_id, now));
        if let Some(known) = known {
            let caller = known?;
            caller.may_use(model)?;
            return Ok(caller.of_calls());
        }
        let caller = owner.caller();
        let mut callers = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (owner.tenant.clone(), owner.key_id.clone());
        if let Some(same) = callers.get(&name).filter(|known| ***known == caller) {
            return Ok(Arc::clone(same));
        }
        if callers.len() >= KNOWN_MAX {
            callers.clear();
        }
        let caller = Arc::new(caller);
        callers.insert(name, Arc::clone(&caller));
        Ok(caller)
    }
}
