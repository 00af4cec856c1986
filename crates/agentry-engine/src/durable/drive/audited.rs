//! What the engine itself decides about questions is answered for as what people decide is.

use agentry_core::audit;
use agentry_core::thread::Commit;
use serde_json::json;

/// Who acts when nobody does.
const ACTOR: &str = "system";

/// Adds an entry for each question of `commit` that was handed on or whose time is over.
pub(super) fn audit(commit: &mut Commit, tenant: &str) {
    let Commit { thread, entry, events, audit, .. } = commit;
    let decided = events
        .iter()
        .filter(|event| matches!(event.kind.as_str(), "interrupt.escalated" | "interrupt.expired"));
    audit.extend(decided.map(|event| {
        let told = |name: &str| event.detail.get(name).cloned().unwrap_or_default();
        let mut detail = json!({
            "tenant": tenant, "thread": thread, "run": entry.run, "node": told("node"), "ask": told("ask"),
        });
        for name in ["to", "escalations", "deadline", "then"] {
            if let (Some(members), Some(value)) = (detail.as_object_mut(), event.detail.get(name)) {
                members.insert(name.to_owned(), value.clone());
            }
        }
        let subject = told("interrupt").as_str().map(str::to_owned).unwrap_or_default();
        let (at, action) = (event.at, event.kind.clone());
        audit::Entry { at, actor: ACTOR.to_owned(), action, subject, detail }
    }));
}
