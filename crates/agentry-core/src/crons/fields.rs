//! The fields of a schedule, as sets of numbers.

use super::Invalid;

const TEXT_BYTES_MAX: usize = 255;

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Of the numbers from `min` on.
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0, and 7.
const WEEKDAY: Field = Field {
    name: "day of the week",
    min: 0,
    max: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

const SHORTHANDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0.checked_shr(number).unwrap_or(0) & 1 == 1)
    }

    /// The least that is not below `number`.
    pub(super) fn from(self, number: i8) -> Option<i8> {
        let below = u32::try_from(number).ok()?;
        let rest = self.0.checked_shr(below).filter(|rest| *rest != 0)?;
        i8::try_from(below + rest.trailing_zeros()).ok()
    }

    pub(super) fn first(self) -> i8 {
        self.from(0).unwrap_or(0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub seconds: Set,
    pub minutes: Set,
    pub hours: Set,
    pub days: Set,
    pub months: Set,
    /// From Sunday, which is 0.
    pub weekdays: Set,
    /// Whether one of the two kinds of days is enough, as it is when neither of them begins with `*`.
    pub either: bool,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Invalid(format!("`schedule` is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let text = text.trim();
        let text = match SHORTHANDS.iter().find(|(short, _)| short.eq_ignore_ascii_case(text)) {
            Some((_, long)) => long,
            None if text.starts_with('@') => {
                let known = SHORTHANDS.map(|(short, _)| short).join(", ");
                return Err(Invalid(format!("`{text}` is no schedule; there are {known}")));
            }
            None => text,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, rest) = match *fields.as_slice() {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => {
                (second, [minute, hour, day, month, weekday])
            }
            _ => {
                return Err(Invalid(format!(
                    "`schedule` has {} fields; write `minute hour day month weekday`, with the second before them if it \
                     matters",
                    fields.len()
                )));
            }
        };
        let [minute, hour, day, month, weekday] = rest;
        let weekdays = WEEKDAY.parse(weekday)?.0;
        Ok(Self {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: Set((weekdays | weekdays >> 7) & 0x7f),
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<Set, Invalid> {
        let mut set = 0;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(item, step)?)),
                None => (item, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.min, self.max),
                Some((first, last)) => (self.number(item, first)?, self.number(item, last)?),
                None if step.is_some() => (self.number(item, range)?, self.max),
                None => (self.number(item, range)?, self.number(item, range)?),
            };
            // A week may end on a Sunday.
            let last = if self.max == WEEKDAY.max && last == 0 && first > 0 { 7 } else { last };
            if first > last {
                return Err(self.wrong(item, "it ends before it begins; write two ranges"));
            }
            for number in (first..=last).step_by(step.unwrap_or(1)) {
                set |= 1 << number;
            }
        }
        Ok(Set(set))
    }

    fn step(&self, item: &str, text: &str) -> Result<usize, Invalid> {
        let step = digits(text).and_then(|step| usize::try_from(step).ok());
        step.filter(|step| *step > 0)
            .ok_or_else(|| self.wrong(item, "a step is a number from 1 on"))
    }

    fn number(&self, item: &str, text: &str) -> Result<u32, Invalid> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|place| u32::try_from(place).ok()).map(|place| self.min + place);
        let number = named.or_else(|| digits(text));
        number.filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(", and names from {first} to {last}"),
                _ => String::new(),
            };
            let (min, max) = (self.min, self.max);
            self.wrong(
                item,
                &format!(
                    "there are numbers from {min} to {max}{names}, `*`, `a-b`, `a,b` and `/step`"
                ),
            )
        })
    }

    fn wrong(&self, item: &str, why: &str) -> Invalid {
        Invalid(format!("`{item}` is no {} of a schedule: {why}", self.name))
    }
}

/// Without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
