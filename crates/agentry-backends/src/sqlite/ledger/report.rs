//! Sums over usage.

use agentry_core::MicroUsd;
use agentry_core::ledger::{By, Report, ReportQuery, ReportRow, Spent, Sums, Tokens};
use rusqlite::{Connection, Result, Row, params};

use crate::sqlite::command::signed;

const TOTALS: &str = "
SELECT coalesce(sum(calls), 0), coalesce(sum(failed), 0), coalesce(sum(from_cache), 0),
  coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(output_tokens), 0),
  coalesce(sum(reasoning_tokens), 0), coalesce(sum(cost), 0), coalesce(sum(estimated), 0), coalesce(sum(saved), 0)
FROM used
WHERE at >= ?1 AND at < ?2
  AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR key = ?4) AND (?5 IS NULL OR \"user\" = ?5)
  AND (?6 IS NULL OR team = ?6) AND (?7 IS NULL OR session = ?7) AND (?8 IS NULL OR run = ?8)
  AND (?9 IS NULL OR model = ?9)";

/// A day has 86,400,000,000 microseconds; times before 1970 do not occur.
const ROWS: &str = "
SELECT sum(calls), sum(failed), sum(from_cache), sum(input_tokens),
  sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens), sum(cost), sum(estimated), sum(saved),
  at / 86400000000 AS day, tenant, key, model
FROM used
WHERE at >= ?1 AND at < ?2
  AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR key = ?4) AND (?5 IS NULL OR \"user\" = ?5)
  AND (?6 IS NULL OR team = ?6) AND (?7 IS NULL OR session = ?7) AND (?8 IS NULL OR run = ?8)
  AND (?9 IS NULL OR model = ?9)
GROUP BY day, tenant, key, model ORDER BY day, tenant, key, model LIMIT ?10";

/// A day is given as its number.
const SPENDING: &str = "
SELECT sum(calls), sum(failed), sum(from_cache), sum(input_tokens),
  sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens), sum(cost) AS spent, sum(estimated), sum(saved),
  CASE ?11 WHEN 'model' THEN model WHEN 'target' THEN target WHEN 'key' THEN key
    WHEN 'day' THEN CAST(at / 86400000000 AS TEXT) WHEN 'tenant' THEN tenant WHEN 'team' THEN team
    WHEN 'user' THEN \"user\" WHEN 'session' THEN session WHEN 'run' THEN run END AS name
FROM used
WHERE at >= ?1 AND at < ?2
  AND (?3 IS NULL OR tenant = ?3) AND (?4 IS NULL OR key = ?4) AND (?5 IS NULL OR \"user\" = ?5)
  AND (?6 IS NULL OR team = ?6) AND (?7 IS NULL OR session = ?7) AND (?8 IS NULL OR run = ?8)
  AND (?9 IS NULL OR model = ?9)
GROUP BY name ORDER BY spent DESC, coalesce(name, '') LIMIT ?10";

pub(super) fn report(connection: &Connection, query: &ReportQuery) -> Result<Report> {
    let ReportQuery { tenant, key, user, team, session, run, model, from, to, rows_max } = query;
    let (from, to) = (from.as_micros(), to.as_micros());
    let totals = connection
        .prepare_cached(TOTALS)?
        .query_row(params![from, to, tenant, key, user, team, session, run, model], sums)?;
    let most = signed(*rows_max as u64);
    let mut rows = connection.prepare_cached(ROWS)?;
    let rows = rows.query_map(
        params![from, to, tenant, key, user, team, session, run, model, most],
        |row| {
            Ok(ReportRow {
                day: ReportRow::day_name(row.get(10)?),
                tenant: row.get(11)?,
                key: row.get(12)?,
                model: row.get(13)?,
                sums: sums(row)?,
            })
        },
    )?;
    Ok(Report { rows: rows.collect::<Result<_>>()?, totals })
}

pub(super) fn spending(connection: &Connection, query: &ReportQuery, by: By) -> Result<Vec<Spent>> {
    let ReportQuery { tenant, key, user, team, session, run, model, from, to, rows_max } = query;
    let (from, to) = (from.as_micros(), to.as_micros());
    let most = signed(*rows_max as u64);
    let mut groups = connection.prepare_cached(SPENDING)?;
    let groups = groups.query_map(
        params![from, to, tenant, key, user, team, session, run, model, most, by.as_str()],
        |row| {
            let name: Option<String> = row.get(10)?;
            let name = match by {
                By::Day => name.and_then(|day| day.parse().ok()).map(ReportRow::day_name),
                _ => name,
            };
            Ok(Spent { name, sums: sums(row)? })
        },
    )?;
    groups.collect()
}

fn sums(row: &Row<'_>) -> Result<Sums> {
    let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
    Ok(Sums {
        calls: number(0)?,
        failed: number(1)?,
        from_cache: number(2)?,
        tokens: Tokens {
            input: number(3)?,
            cached: number(4)?,
            output: number(5)?,
            reasoning: number(6)?,
        },
        cost: MicroUsd(row.get(7)?),
        estimated: MicroUsd(row.get(8)?),
        saved: MicroUsd(row.get(9)?),
    })
}
