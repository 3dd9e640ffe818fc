//! Calendar arithmetic: seconds since 1970 to and from year, month, day, hour, minute, second in UTC.
//!
//! Proleptic Gregorian, years 0 to 9999. A year is counted from March, so that the leap day is its last day
//! and the days before a month are a straight line; constant time, no tables, no allocation.

use super::Timestamp;

/// Seconds in a day.
const DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;
/// Days in 400 years.
const DAYS_PER_CYCLE: i64 = 146_097;

/// First second that can be kept: 1678-01-01.
pub(super) const FIRST_SECOND: i64 = days_since_1970(1678, 1, 1) * DAY;
/// First second that can no longer be kept: 2262-01-01.
pub(super) const END_SECOND: i64 = days_since_1970(2262, 1, 1) * DAY;

/// A moment as people write it, without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CivilTime {
    /// 0 to 9999.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// 0 to 23.
    pub(crate) hour: u32,
    /// 0 to 59.
    pub(crate) minute: u32,
    /// 0 to 59.
    pub(crate) second: u32,
    /// 0 to 999,999,999.
    pub(crate) nanos: u32,
}

impl CivilTime {
    /// The first moment of a day.
    pub(super) const fn midnight(year: i64, month: u32, day: u32) -> Self {
        Self { year, month, day, hour: 0, minute: 0, second: 0, nanos: 0 }
    }

    /// The moment this clock shows `offset` seconds east of Greenwich.
    ///
    /// Year 1 is what other systems send for "no time": all of it reads as [`Timestamp::ZERO`].
    ///
    /// # Errors
    ///
    /// The name of the first field that is out of range.
    pub(super) const fn to_timestamp(self, offset: i64) -> Result<Timestamp, &'static str> {
        if self.month < 1 || self.month > 12 {
            return Err("month");
        }
        if self.day < 1 || self.day > days_in_month(self.year, self.month) {
            return Err("day");
        }
        if self.hour > 23 {
            return Err("hour");
        }
        if self.minute > 59 {
            return Err("minute");
        }
        if self.second > 59 {
            return Err("second");
        }
        if self.year == 1 {
            return Ok(Timestamp::ZERO);
        }
        let clock = self.hour as i64 * 3600 + self.minute as i64 * 60 + self.second as i64;
        let seconds = days_since_1970(self.year, self.month, self.day) * DAY + clock - offset;
        if seconds < FIRST_SECOND || seconds >= END_SECOND {
            return Err("year");
        }
        Ok(Timestamp::from_nanos(seconds * 1_000_000_000 + self.nanos as i64))
    }

    /// The clock in Greenwich at `timestamp`.
    pub(crate) const fn from_timestamp(timestamp: Timestamp) -> Self {
        if timestamp.is_zero() {
            return Self::midnight(1, 1, 1);
        }
        let nanos = timestamp.as_nanos().rem_euclid(1_000_000_000) as u32;
        let seconds = timestamp.as_nanos().div_euclid(1_000_000_000);
        let clock = seconds.rem_euclid(DAY) as u32;
        let (year, month, day) = date_of(seconds.div_euclid(DAY));
        Self { year, month, day, hour: clock / 3600, minute: clock / 60 % 60, second: clock % 60, nanos }
    }

    /// Days since Sunday, 0 to 6.
    pub(crate) const fn weekday(self) -> u32 {
        // 1970-01-01 was a Thursday.
        (days_since_1970(self.year, self.month, self.day) + 4).rem_euclid(7) as u32
    }

    /// Days since the last day of the year before, 1 to 366.
    pub(crate) const fn day_of_year(self) -> u32 {
        let first = days_since_1970(self.year, 1, 1);
        (days_since_1970(self.year, self.month, self.day) - first + 1) as u32
    }
}

/// Days of the month, 28 to 31.
const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn days_since_1970(year: i64, month: u32, day: u32) -> i64 {
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year =
        march_year * 365 + march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    // Months from March have 31 30 31 30 31 days, twice, then 31 and the rest: a line of slope 153/5.
    let before_month = (153 * march_month as i64 + 2) / 5;
    before_year + before_month + day as i64 - 1 - DAYS_TO_1970
}

const fn date_of(days_since_1970: i64) -> (i64, u32, u32) {
    let days = days_since_1970 + DAYS_TO_1970;
    let cycle = days.div_euclid(DAYS_PER_CYCLE);
    let day_of_cycle = days.rem_euclid(DAYS_PER_CYCLE);
    // Takes out the leap days, so that what remains is whole years of 365 days.
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = cycle * 400 + year_of_cycle + if month <= 2 { 1 } else { 0 };
    (year, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_six_centuries_comes_back_and_follows_the_day_before() {
        let mut expected = (1678, 1, 1);
        for day in FIRST_SECOND / DAY..END_SECOND / DAY {
            assert_eq!(date_of(day), expected);
            let (year, month, date) = expected;
            assert_eq!(days_since_1970(year, month, date), day);
            expected = if date < days_in_month(year, month) {
                (year, month, date + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
        assert_eq!(expected, (2262, 1, 1));
    }

    #[test]
    fn weekdays_and_days_of_the_year_are_those_of_the_calendar() {
        assert_eq!(CivilTime::midnight(2021, 3, 9).weekday(), 2);
        assert_eq!(CivilTime::midnight(1, 1, 1).weekday(), 1);
        assert_eq!(CivilTime::midnight(2024, 12, 31).day_of_year(), 366);
        assert_eq!(CivilTime::midnight(2023, 3, 1).day_of_year(), 60);
    }
}
