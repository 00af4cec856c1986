//! What the shop sells, and to whom.

use crate::random::Random;

pub(crate) const CATEGORIES: [&str; 4] = ["coffee", "tea", "mugs", "filters"];
pub(crate) const PRODUCTS: u64 = 64;

/// Countries by how often an order comes from there.
pub(crate) const COUNTRIES: [(&str, &str); 10] = [
    ("DE", "EUR"),
    ("FR", "EUR"),
    ("GB", "GBP"),
    ("US", "USD"),
    ("DE", "EUR"),
    ("NL", "EUR"),
    ("CH", "CHF"),
    ("US", "USD"),
    ("DE", "EUR"),
    ("GB", "GBP"),
];

pub(crate) fn sku(number: u64) -> String {
    format!("SKU-{}", 1_000 + number.checked_rem(PRODUCTS).unwrap_or(0))
}

pub(crate) fn category(sku: &str) -> &'static str {
    let number = sku.trim_start_matches("SKU-").parse::<usize>().unwrap_or(0);
    CATEGORIES.into_iter().cycle().nth(number % CATEGORIES.len()).unwrap_or("coffee")
}

pub(crate) fn currency(country: &str) -> &'static str {
    COUNTRIES
        .into_iter()
        .find_map(|(name, currency)| (name == country).then_some(currency))
        .unwrap_or("EUR")
}

pub(crate) fn country(random: &mut Random) -> &'static str {
    random.pick(&COUNTRIES).map_or("DE", |(country, _)| country)
}
