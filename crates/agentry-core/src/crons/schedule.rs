//! When a cron comes next.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Span, ToSpan as _};

use super::Invalid;
use super::fields::Fields;
use crate::Timestamp;

/// Longer than from one 29th of February on a given day of the week to the next one.
const YEARS: i64 = 50;

/// Moments that come again and again, by the clocks of a time zone.
///
/// Where clocks are put forward, what was to happen in the time that is left out happens once, at the end of it. Where they
/// are put back, what happens in the hour that comes twice happens in the first one only. A schedule of every hour of the
/// day goes by hours that pass instead: it neither makes up for anything nor leaves any out.
#[derive(Debug, Clone)]
pub struct Schedule {
    fields: Fields,
    zone: TimeZone,
}

/// A time in which clocks are not changed.
struct Stretch {
    /// When it begins, and by how much clocks differed before.
    begin: Option<(jiff::Timestamp, Offset)>,
    offset: Offset,
    end: Option<jiff::Timestamp>,
}

impl Schedule {
    /// Five fields `minute hour day month weekday`, or six with the second before them, or a shorthand such as `@daily`. The
    /// zone has a name such as `Europe/Berlin`; without one it is UTC.
    pub fn new(text: &str, zone: Option<&str>) -> Result<Self, Invalid> {
        let fields = Fields::parse(text)?;
        let zone = match zone {
            None => TimeZone::UTC,
            // The zones that came with the program, so that all machines agree.
            Some(name) => TimeZoneDatabase::bundled().get(name).map_err(|_| {
                let name: String = name.chars().take(60).collect();
                Invalid(format!("`{name}` is no time zone; write one such as `Europe/Berlin`"))
            })?,
        };
        let schedule = Self { fields, zone };
        let begin = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        if schedule.civil(begin, begin.saturating_add(YEARS.years())).is_none() {
            return Err(Invalid(format!("`{}` never comes: no month has such a day", text.trim())));
        }
        Ok(schedule)
    }

    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let seconds = after.as_micros().div_euclid(1_000_000) + 1;
        let start = jiff::Timestamp::from_second(seconds).ok()?;
        let until = start.checked_add(Span::new().hours(YEARS * 366 * 24)).ok()?;
        let mut stretch = self.stretch(start);
        let mut from = start;
        while from < until {
            if let Some(found) = self.within(&stretch, from) {
                return Some(Timestamp::from_micros(found.as_microsecond()));
            }
            from = stretch.end?;
            stretch = self.stretch(from);
        }
        None
    }

    /// The stretch that `at` lies in.
    fn stretch(&self, at: jiff::Timestamp) -> Stretch {
        let just_after = at.checked_add(1.nanosecond()).unwrap_or(at);
        let begin = self.zone.preceding(just_after).next().map(|change| change.timestamp());
        let begin = begin.and_then(|begin| {
            let just_before = begin.checked_sub(1.second()).ok()?;
            Some((begin, self.zone.to_offset(just_before)))
        });
        let end = self.zone.following(at).next().map(|change| change.timestamp());
        Stretch { begin, offset: self.zone.to_offset(at), end }
    }

    fn within(&self, stretch: &Stretch, from: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let Stretch { begin, offset, end } = *stretch;
        let mut civil = offset.to_datetime(from);
        if let Some((begin, before)) = begin.filter(|_| !self.is_hourly()) {
            // What clocks would have shown.
            let unchanged = before.to_datetime(begin);
            if from == begin && self.civil(unchanged, offset.to_datetime(begin)).is_some() {
                return Some(begin);
            }
            civil = civil.max(unchanged);
        }
        let until = match end {
            Some(end) => offset.to_datetime(end),
            None => civil.saturating_add(YEARS.years()),
        };
        offset.to_timestamp(self.civil(civil, until)?).ok()
    }

    fn is_hourly(&self) -> bool {
        (0..24).all(|hour| self.fields.hours.has(hour))
    }

    /// The first that clocks show from `from` on, and before `until`.
    fn civil(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let (mut date, mut time) = (from.date(), from.time());
        while date.to_datetime(Time::midnight()) < until {
            if !self.fields.months.has(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                let found = self.is_day(date).then(|| self.time(time)).flatten();
                if let Some(time) = found {
                    return Some(date.to_datetime(time)).filter(|found| *found < until);
                }
                date = date.tomorrow().ok()?;
            }
            time = Time::midnight();
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = self.fields.days.has(date.day());
        let weekday = self.fields.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.fields.either { day || weekday } else { day && weekday }
    }

    /// The first of a day that is not before `from`.
    fn time(&self, from: Time) -> Option<Time> {
        let Fields { seconds, minutes, hours, .. } = self.fields;
        let at = |hour, minute, second| Time::new(hour, minute, second, 0).ok();
        let hour = hours.from(from.hour())?;
        if hour > from.hour() {
            return at(hour, minutes.first(), seconds.first());
        }
        if let Some(minute) = minutes.from(from.minute()) {
            if minute > from.minute() {
                return at(hour, minute, seconds.first());
            }
            if let Some(second) = seconds.from(from.second()) {
                return at(hour, minute, second);
            }
            if let Some(minute) = minutes.from(minute + 1) {
                return at(hour, minute, seconds.first());
            }
        }
        at(hours.from(hour + 1)?, minutes.first(), seconds.first())
    }
}
