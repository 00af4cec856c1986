//! What is kept of one person, deleted.

use std::sync::Arc;

use agentry_core::keys::{Change, Changed};
use agentry_core::store;
use agentry_identity::Caller;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{actor, ring};
use crate::parameters::Parameters;
use crate::{App, Refusal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// Another tenant than one's own, for operators.
    tenant: Option<String>,
}

/// Each place is asked, then the person's keys end. Asking again after a failure finds what is left.
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(user): Path<String>,
    Parameters(Whose { tenant }): Parameters<Whose>,
) -> Result<Json<Value>, Refusal> {
    let tenant = tenant.unwrap_or_else(|| caller.tenant.to_string());
    if !caller.sees(&tenant) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "scope_missing",
            "only an operator may delete data of another tenant",
        )
        .param("tenant"));
    }
    let ring = ring(&app)?;
    // Records may hold the person's own id or the pseudonym for it.
    let mut names = vec![user.clone()];
    names.extend(ring.pseudonym(&tenant, &user));
    let mut deleted = Map::new();
    for data in &app.identity.user_data {
        let mut records = 0;
        for name in &names {
            records += data.forget_user(&tenant, name).await?;
        }
        deleted.insert(data.name().to_owned(), records.into());
    }
    let now = app.clock.now();
    // The log must not keep the name that was to be forgotten.
    let subject = format!("user:{}", short(&tenant, &user));
    let detail = json!({ "tenant": tenant, "deleted": deleted });
    let entry = actor(&caller).entry(now, "user.data_deleted", &subject, detail);
    let change = Change::ForgetUser { tenant: tenant.clone(), user, at: now };
    match ring.change(change, vec![entry]).await? {
        Changed::Done(keys) => deleted.insert("keys".to_owned(), keys.into()),
        Changed::NotFound | Changed::NameTaken | Changed::Over => {
            return Err(store::Error::Refused("the person's keys".to_owned()).into());
        }
    };
    Ok(Json(
        json!({ "object": "deletion", "tenant": tenant, "subject": subject, "deleted": deleted }),
    ))
}

/// Enough to recognise the act by whoever knows the person.
fn short(tenant: &str, user: &str) -> String {
    let digest = Sha256::new().chain_update(tenant).chain_update([0]).chain_update(user).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
