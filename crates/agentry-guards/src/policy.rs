//! The settings, compiled.

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::deny::Deny;
use crate::injection::Injection;
use crate::recognise::Wanted;
use crate::secret::Secrets;
use crate::{Action, Kind, Problem, Settings};

/// Changes whenever the same settings find something else than before.
const RULES_VERSION: u32 = 2;

#[derive(Debug)]
pub(crate) struct Policy {
    actions: [Action; Kind::ALL.len()],
    /// The personal data that is looked for.
    pub(crate) wanted: Wanted,
    pub(crate) secrets: Option<Secrets>,
    pub(crate) deny: Deny,
    pub(crate) injection: Option<Injection>,
    pub(crate) bytes_max: Option<usize>,
    pub(crate) messages_max: Option<usize>,
    hash_key: Option<[u8; 32]>,
    pub(crate) fingerprint: u64,
}

impl Policy {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let actions = actions(settings, &mut problems);
        let deny = Deny::new(&settings.deny).unwrap_or_else(|wrong| {
            problems.extend(
                wrong.into_iter().map(|(at, message)| problem(format!("deny[{at}]"), message)),
            );
            Deny::default()
        });
        let mut wanted = Wanted::default();
        for (kind, action) in Kind::ALL.into_iter().zip(actions) {
            if kind.is_personal() && action != Action::Off {
                wanted = wanted.with(kind);
            }
        }
        let secrets = compiled(settings.secrets, Secrets::new, "secrets", &mut problems);
        let injection = compiled(settings.injection, Injection::new, "injection", &mut problems);
        if actions.contains(&Action::Hash) && settings.hash_key.is_none() {
            let message = "`hash` needs `hash_key`, a secret: env:NAME or file:PATH".to_owned();
            problems.push(problem("hash_key".to_owned(), message));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            actions,
            wanted,
            secrets,
            deny,
            injection,
            bytes_max: settings.bytes_max,
            messages_max: settings.messages_max,
            hash_key: settings
                .hash_key
                .as_ref()
                .map(|key| Sha256::digest(key.expose_secret().as_bytes()).into()),
            fingerprint: fingerprint(settings, &actions),
        })
    }

    pub(crate) fn action(&self, kind: Kind) -> Action {
        self.actions.get(kind.slot()).copied().unwrap_or_default()
    }

    /// Whether a text may have anything that is looked for; injection aside, for answers have none.
    pub(crate) fn reads_text(&self) -> bool {
        !self.wanted.is_empty() || self.secrets.is_some() || !self.deny.is_empty()
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.reads_text()
            && self.injection.is_none()
            && self.bytes_max.is_none()
            && self.messages_max.is_none()
    }

    /// What stands in the place of a finding.
    pub(crate) fn replace(&self, kind: Kind, original: &str, into: &mut String) {
        into.push('[');
        into.push_str(kind.label());
        if let (Action::Hash, Some(key)) = (self.action(kind), &self.hash_key) {
            let folded = original.to_lowercase();
            let digest =
                crate::keyed::hmac(key, &[kind.name().as_bytes(), b"\0", folded.as_bytes()]);
            into.push(':');
            crate::keyed::hex(&digest, 4, into);
        }
        into.push(']');
    }
}

fn problem(key: String, message: String) -> Problem {
    Problem { key, message }
}

fn compiled<T>(
    action: Action,
    compile: fn() -> Option<T>,
    key: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    if action == Action::Off {
        return None;
    }
    let compiled = compile();
    if compiled.is_none() {
        let message =
            "a rule of this build cannot be compiled; report it, and turn this off".to_owned();
        problems.push(problem(key.to_owned(), message));
    }
    compiled
}

fn actions(settings: &Settings, problems: &mut Vec<Problem>) -> [Action; Kind::ALL.len()] {
    let deny = match settings.deny_action {
        _ if settings.deny.is_empty() => Action::Off,
        Action::Off => Action::Block,
        action => action,
    };
    for name in settings.types.keys() {
        if !Kind::from_name(name).is_some_and(Kind::is_personal) {
            let names: Vec<&str> =
                Kind::ALL.into_iter().filter(|kind| kind.is_personal()).map(Kind::name).collect();
            let message = format!("there is no such type; there are {}", names.join(", "));
            problems.push(problem(format!("types.{name}"), message));
        }
    }
    if matches!(settings.injection, Action::Redact | Action::Hash) {
        let message =
            "an instruction cannot be redacted; use `off`, `report` or `block`".to_owned();
        problems.push(problem("injection".to_owned(), message));
    }
    Kind::ALL.map(|kind| match kind {
        Kind::Deny => deny,
        Kind::Secret => settings.secrets,
        Kind::Injection => settings.injection,
        _ => match settings.types.get(kind.name()) {
            Some(action) => *action,
            None if kind.is_default() => settings.pii,
            None => Action::Off,
        },
    })
}

fn fingerprint(settings: &Settings, actions: &[Action]) -> u64 {
    let Settings {
        deny,
        bytes_max,
        messages_max,
        hash_key,
        pii: _,
        secrets: _,
        deny_action: _,
        types: _,
        injection: _,
    } = settings;
    let mut digest = Sha256::new();
    digest.update(RULES_VERSION.to_le_bytes());
    for action in actions {
        digest.update([*action as u8]);
    }
    for pattern in deny {
        digest.update(pattern.len().to_le_bytes());
        digest.update(pattern);
    }
    for limit in [bytes_max, messages_max] {
        digest.update(limit.unwrap_or(usize::MAX).to_le_bytes());
    }
    if let Some(key) = hash_key {
        digest.update(Sha256::digest(key.expose_secret().as_bytes()));
    }
    let digest: [u8; 32] = digest.finalize().into();
    digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
