//! How much of an instance a caller may see: tenants never see each other, so what is of all of them is for operators.

use agentry_core::ledger::Scope as Account;
use agentry_gateway::status::Model;
use agentry_gateway::watchdog::{Alert, Signal};
use agentry_identity::{Caller, Scope};

/// What one caller may see.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a>(pub(super) &'a Caller);

impl Sight<'_> {
    /// Whether it may see what tenants do together: how many calls, how much money, how much is kept.
    pub(super) fn is_whole(self) -> bool {
        self.0.scopes.has(Scope::Operator)
    }

    pub(super) fn sees_model(self, name: &str) -> bool {
        self.is_whole() || self.0.may_use(name).is_ok()
    }

    pub(super) fn sees_account(self, account: &str) -> bool {
        self.is_whole() || is_of(account, &self.0.tenant)
    }

    /// Of its own budgets, and how well the targets of its models are; not how much others ask of them.
    pub(super) fn sees_alert(self, alert: &Alert, models: &[Model]) -> bool {
        let asks = |target: &str| {
            let own = models.iter().filter(|model| self.sees_model(&model.name));
            own.flat_map(|model| &model.targets).any(|known| **known == *target)
        };
        match alert.signal {
            _ if self.is_whole() => true,
            Signal::BudgetUsed => self.sees_account(&alert.subject),
            Signal::TargetUnhealthy
            | Signal::CircuitOpen
            | Signal::ErrorRate
            | Signal::FirstTokenP95 => asks(&alert.subject),
            Signal::QueueFull
            | Signal::ShedRate
            | Signal::CacheHitRate
            | Signal::LedgerBehind
            | Signal::SharedAway => false,
        }
    }

    /// Whether it may take care of the alert: of what is shared, nobody else is told then.
    pub(super) fn owns_alert(self, alert: &Alert) -> bool {
        self.is_whole() || (alert.signal == Signal::BudgetUsed && self.sees_account(&alert.subject))
    }

    /// Who takes care of the alert. Of what is shared that is an operator, whose name is another tenant's.
    pub(super) fn caretaker(self, alert: &Alert) -> Option<&str> {
        let by = alert.acknowledged_by.as_deref()?;
        Some(if self.owns_alert(alert) { by } else { "operator" })
    }

    /// Nothing where it may not see the whole.
    pub(super) fn whole<T>(self, value: T) -> Option<T> {
        self.is_whole().then_some(value)
    }
}

/// Whether it is an account of `tenant`: `key:main/ci` is of `main`.
fn is_of(account: &str, tenant: &str) -> bool {
    let whole = Account::Tenant { tenant }.to_string();
    let (Some((_, rest)), Some((_, tenant))) = (account.split_once(':'), whole.split_once(':'))
    else {
        return false;
    };
    // A tenant's own account may be followed by its period.
    rest.strip_prefix(tenant)
        .is_some_and(|more| more.is_empty() || more.starts_with('/') || more.starts_with(" per "))
}

#[cfg(test)]
mod tests {
    use agentry_core::Timestamp;

    use super::*;

    #[test]
    fn who_takes_care_of_what_is_shared_is_not_named() {
        let check = |signal: Signal, subject: &str, scope: Scope, expected: &str| {
            let mut caller = Caller::anonymous();
            (caller.tenant, caller.scopes) = ("b".into(), scope.alone());
            let alert = Alert {
                id: "one".into(),
                rule: "one".into(),
                signal,
                subject: subject.into(),
                value: 1.0,
                threshold: 1.0,
                since: Timestamp::from_seconds(0),
                acknowledged_by: Some("key:me".into()),
            };
            assert_eq!(Sight(&caller).caretaker(&alert), Some(expected), "{signal:?} {scope:?}");
        };
        check(Signal::ErrorRate, "p/fast", Scope::Admin, "operator");
        check(Signal::ErrorRate, "p/fast", Scope::Operator, "key:me");
        check(Signal::BudgetUsed, "key:b/ci per day", Scope::Admin, "key:me");
    }

    #[test]
    fn an_account_belongs_to_its_tenant_only() {
        let check = |account: &str, tenant: &str, expected: bool| {
            assert_eq!(is_of(account, tenant), expected, "{account} {tenant}");
        };
        check("key:main/ci", "main", true);
        check("tenant:main", "main", true);
        check("tenant:main per day", "main", true);
        check("key:main/ci per day", "main", true);
        check("tenant:mainland", "main", false);
        check("key:mainland/ci", "main", false);
        check("key:a%2Fb/ci", "a/b", true);
        check("key:a%2Fb/ci", "a", false);
        check("main", "main", false);
    }
}
