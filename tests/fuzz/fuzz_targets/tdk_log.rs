// SPDX-License-Identifier: Apache-2.0 OR MIT
#![no_main]

#[path = "../../../callout/tdk/src/log/entry.rs"]
#[allow(dead_code)]
mod entry;
#[path = "../../../callout/tdk/src/log/when.rs"]
#[allow(dead_code)]
mod when;

use entry::{Entry, of_syslog, shown};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a terminal gets of a record.
fn assert_harmless(entry: &Entry) {
    for (_, value) in &entry.fields {
        assert!(!shown(value).contains(char::is_control));
    }
    assert!(!shown(&entry.message).contains(char::is_control));
    let _ = when::shown(entry.time, &TimeZone::UTC);
    let _ = entry.time.and_then(when::exact);
}

// A line of a log: the journal's JSON, or syslog's.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(entry) = Entry::of_journal(data) {
        let has = |what: &[u8]| data.windows(what.len()).any(|bytes| bytes == what);
        assert!(has(b"_UID") || has(b"_TRANSPORT") || has(b"\\u"));
        assert_harmless(&entry);
    }
    let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    if let Some((before, text)) = of_syslog(data) {
        assert_harmless(&Entry::of_line(text, when::of_syslog(before, &now)));
    }
    assert_harmless(&Entry::of_line(data, None));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = when::parse(text, &now);
    }
});
