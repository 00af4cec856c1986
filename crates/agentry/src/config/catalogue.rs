//! `[catalogue]`: what models cost and can do, as far as it is not what comes with this version.

use agentry_gateway::money::catalogue::Catalogue;

use super::problem::{Place, Problem};
use super::reader::{Notes, Reader};
use super::value::{self, Unreadable};

pub(super) fn read(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Catalogue {
    let mut catalogue = Catalogue::embedded().unwrap_or_else(|misread| {
        notes.report(Problem::new(Place::Nowhere, format!("this build is broken: {misread}")));
        Catalogue::default()
    });
    let Some(mut table) = table else { return catalogue };
    let over = table.read("file", |value| {
        let path = notes.path(&value::text(value)?);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Unreadable::new(format!("names {}, which cannot be read: {error}", path.display()))
        })?;
        Catalogue::parse(&text).map_err(|misread| {
            Unreadable::new(format!("names {}, which is wrong: {misread}", path.display()))
        })
    });
    if let Some(over) = over {
        catalogue.merge(over.value);
    }
    table.finish();
    catalogue
}
