// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Points in time, as people and logs write them. journalctl(1) reads its own; these
//! are for the other logs, and mean the same.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// A point in time, in microseconds since 1970: `2026-11-22 10:00`, `10:00`,
/// `yesterday`, `-1h`, `2 hours ago`, `@1700000000`.
pub(super) fn parse(text: &str, now: &Zoned) -> Option<i64> {
    let text = text.trim();
    let midnight = |days: i64| {
        let date = now.date().checked_add(Span::new().days(days)).ok()?;
        local(date.at(0, 0, 0, 0), now.time_zone())
    };
    match text {
        "now" => return Some(now.timestamp().as_microsecond()),
        "today" => return midnight(0),
        "yesterday" => return midnight(-1),
        "tomorrow" => return midnight(1),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse::<i64>().ok()?.checked_mul(1_000_000);
    }
    let (sign, span) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(span), _) => (-1, Some(span)),
        (_, Some(span)) => (1, Some(span)),
        _ => (-1, text.strip_suffix("ago")),
    };
    if let Some(span) = span {
        let span: Span = span.trim().parse().ok()?;
        let there = now.checked_add(sign * span).ok()?;
        return Some(there.timestamp().as_microsecond());
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    if !text.contains('-')
        && let Ok(time) = text.parse::<Time>()
    {
        return local(now.date().to_datetime(time), now.time_zone());
    }
    let datetime = text.parse::<DateTime>().or_else(|_| {
        let date: Result<Date, _> = text.parse();
        date.map(|date| date.at(0, 0, 0, 0))
    });
    local(datetime.ok()?, now.time_zone())
}

fn local(datetime: DateTime, zone: &TimeZone) -> Option<i64> {
    let zoned = datetime.to_zoned(zone.clone()).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// The time before a line of syslog's: RFC 3339, or `Nov 22 10:00:00`, of the last
/// twelve months.
pub(super) fn of_syslog(before: &[u8], now: &Zoned) -> Option<i64> {
    let text = std::str::from_utf8(before).ok()?;
    if let Ok(timestamp) = text.split(' ').next()?.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let words: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    let in_year = |year: i16| {
        let text = format!("{year} {}", words.join(" "));
        let datetime = DateTime::strptime("%Y %b %d %H:%M:%S", text).ok()?;
        local(datetime, now.time_zone())
    };
    // Clocks of hosts differ a little.
    let latest = now.timestamp().as_microsecond() + 86_400_000_000;
    in_year(now.year())
        .filter(|time| *time <= latest)
        .or_else(|| in_year(now.year() - 1))
}

/// As people read it, here.
pub(super) fn shown(time: Option<i64>, zone: &TimeZone) -> String {
    match time.and_then(|time| Timestamp::from_microsecond(time).ok()) {
        Some(timestamp) => {
            let zoned = timestamp.to_zoned(zone.clone());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        None => "?".repeat(19),
    }
}

/// RFC 3339.
pub(super) fn exact(time: i64) -> Option<String> {
    Some(Timestamp::from_microsecond(time).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        let timestamp: Timestamp = "2026-03-02T10:30:00Z".parse().unwrap();
        timestamp.to_zoned(TimeZone::UTC)
    }

    fn there(text: &str) -> Option<String> {
        exact(parse(text, &now())?)
    }

    #[test]
    fn points_in_time() {
        for (text, expected) in [
            ("now", "2026-03-02T10:30:00Z"),
            ("today", "2026-03-02T00:00:00Z"),
            ("yesterday", "2026-03-01T00:00:00Z"),
            ("-1h", "2026-03-02T09:30:00Z"),
            ("-1h 30min", "2026-03-02T09:00:00Z"),
            ("2 hours ago", "2026-03-02T08:30:00Z"),
            ("3 days ago", "2026-02-27T10:30:00Z"),
            ("+5min", "2026-03-02T10:35:00Z"),
            ("@1700000000", "2023-11-14T22:13:20Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-01-02 03:04", "2026-01-02T03:04:00Z"),
            ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("09:15", "2026-03-02T09:15:00Z"),
        ] {
            assert_eq!(there(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "soon",
            "-",
            "@",
            "@x",
            "2026-13-01",
            "25:00",
            "ago",
            "@99999999999999",
        ] {
            assert_eq!(there(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn syslogs() {
        for (before, expected) in [
            (
                "2026-03-02T10:00:00.5+01:00 host",
                Some("2026-03-02T09:00:00.5Z"),
            ),
            ("Mar  2 10:00:00 host", Some("2026-03-02T10:00:00Z")),
            ("Dec 31 23:59:59 host", Some("2025-12-31T23:59:59Z")),
            ("Xyz 31 23:59:59 host", None),
            ("", None),
        ] {
            let time = of_syslog(before.as_bytes(), &now());
            assert_eq!(time.and_then(exact).as_deref(), expected, "{before}");
        }
    }
}
