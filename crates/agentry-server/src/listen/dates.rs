//! The date that answers carry: written once a second, whatever is answered meanwhile.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use agentry_core::Timestamp;
use http::HeaderValue;

#[derive(Debug, Default)]
pub(super) struct Dates(Mutex<(u64, Option<HeaderValue>)>);

impl Dates {
    /// Nothing before 1970.
    pub(super) fn now(&self, now: Timestamp) -> Option<HeaderValue> {
        let second = u64::try_from(now.as_micros() / 1_000_000).ok()?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != second || last.1.is_none() {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *last = (second, HeaderValue::try_from(date).ok());
        }
        last.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_its_second() {
        let dates = Dates::default();
        let check = |micros: i64, expected: &str| {
            let date = dates.now(Timestamp::from_micros(micros)).unwrap();
            assert_eq!(date, expected);
        };
        check(784_111_777_000_000, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(784_111_777_999_999, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(784_111_778_000_000, "Sun, 06 Nov 1994 08:49:38 GMT");
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
