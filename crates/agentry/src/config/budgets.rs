//! `[[budgets]]`: what tenants, teams, users, sessions and runs may cost.

use agentry_gateway::money::Limit;
use agentry_gateway::{Rule, Whose};

use super::keys;
use super::reader::Reader;
use super::tree::Value;
use super::value::{self, Unreadable};

const MAIN: &str = "main";

/// For whom a budget is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Tenant,
    Team,
    User,
    Session,
    Run,
}

pub(super) fn read(tables: Vec<Reader<'_>>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for mut table in tables {
        let whose = table.required("for", "\"team\"", whose);
        let name = table.read("name", value::text).map(|at| at.value);
        let tenant = table.read("tenant", value::text).map(|at| at.value);
        let tenant = tenant.unwrap_or_else(|| MAIN.to_owned());
        let limits = keys::budget(&mut table);
        let whose = match (whose.map(|at| at.value), name) {
            (None, _) => None,
            (Some(For::Team), name) => Some(Whose::Team(name)),
            (Some(For::User), name) => Some(Whose::User(name)),
            (Some(For::Tenant), None) => Some(Whose::Tenant),
            (Some(For::Session), None) => Some(Whose::Session),
            (Some(For::Run), None) => Some(Whose::Run),
            (Some(For::Tenant | For::Session | For::Run), Some(_)) => {
                table.report("only a team or a user has a `name`; a tenant is named by `tenant`");
                None
            }
        };
        if let (Some(whose), Some(limits)) = (whose, limits) {
            let limits: Vec<Limit> = limits;
            if rules.iter().any(|rule| rule.tenant == tenant && rule.whose == whose) {
                table.report(format!(
                    "there are two budgets of the tenant `{tenant}` for the same: write one with a list of periods, as \
                     in [{{ usd = 5.0, per = \"day\" }}, {{ usd = 50.0, per = \"month\" }}]"
                ));
            } else {
                rules.push(Rule { tenant, whose, limits });
            }
        }
        table.finish();
    }
    rules
}

fn whose(value: &Value) -> Result<For, Unreadable> {
    match value::text(value)?.as_str() {
        "tenant" => Ok(For::Tenant),
        "team" => Ok(For::Team),
        "user" => Ok(For::User),
        "session" => Ok(For::Session),
        "run" => Ok(For::Run),
        other => Err(Unreadable::new(format!("is nobody: \"{other}\"")).help(
            "there are tenant, team, user, session and run; a key has its budget in [[keys]]",
        )),
    }
}
