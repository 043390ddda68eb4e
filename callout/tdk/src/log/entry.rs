// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout's records, read back: from the journal's JSON, and from the lines that
//! other logs have.

use serde_json::{Map, Value};
use tdk_request_key::{Field, IDENTIFIER};

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Microseconds since 1970, if the log tells.
    pub(super) time: Option<i64>,
    /// What it says, as the callout has seen it.
    pub(super) fields: Vec<(Field, Vec<u8>)>,
    /// The line, in a record that is about no request.
    pub(super) message: Vec<u8>,
}

impl Entry {
    /// What it says of something.
    pub(super) fn get(&self, field: Field) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(other, _)| *other == field);
        found.map(|(_, value)| &value[..])
    }

    /// The same as text, if it is some.
    pub(super) fn text(&self, field: Field) -> Option<&str> {
        std::str::from_utf8(self.get(field)?).ok()
    }

    /// A line of `journalctl --output=json`. Nothing if it is none of the callout's:
    /// everybody can send the journal whatever fields they like, but those that begin
    /// with an underscore are the journal's own.
    pub(super) fn of_journal(line: &[u8]) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let of_root = text("_UID") == Some("0") && text("_TRANSPORT") != Some("stdout");
        if !of_root && text("_TRANSPORT") != Some("kernel") {
            return None;
        }
        if text("SYSLOG_IDENTIFIER") != Some(IDENTIFIER) {
            return None;
        }
        let message = object.get("MESSAGE").and_then(bytes).unwrap_or_default();
        let mut fields: Vec<_> = Field::ALL
            .into_iter()
            .filter_map(|field| Some((field, bytes(object.get(field.in_journal())?)?)))
            .collect();
        if fields.is_empty() {
            // From before there was a journal, which has it from the kernel's log.
            fields = fields_of(&message);
        }
        Some(Self {
            time: text("__REALTIME_TIMESTAMP").and_then(|number| number.parse().ok()),
            fields,
            message,
        })
    }

    /// What follows `key.tpm2_derived[pid]: ` in a line.
    pub(super) fn of_line(line: &[u8], time: Option<i64>) -> Self {
        Self {
            time,
            fields: fields_of(line),
            message: line.to_vec(),
        }
    }
}

/// The text of a line of syslog's behind who has written it, if that is the callout,
/// and what stands before.
pub(super) fn of_syslog(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = [b" ", IDENTIFIER.as_bytes(), b"["].concat();
    let place = line.windows(name.len()).position(|bytes| bytes == name)?;
    let (before, rest) = line.split_at(place);
    let rest = &rest[name.len()..];
    let pid = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A time and a host: what is further behind is another program's text.
    let words = before.split(|byte| *byte == b' ');
    if words.filter(|word| !word.is_empty()).count() > 4 || pid == 0 {
        return None;
    }
    Some((before, rest[pid..].strip_prefix(b"]: ")?))
}

/// A value of the journal's JSON: text, or bytes as numbers, or the first of several.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(values) => values
            .iter()
            .map(|value| u8::try_from(value.as_u64()?).ok())
            .collect::<Option<_>>()
            .or_else(|| bytes(values.first().filter(|value| !value.is_array())?)),
        _ => None,
    }
}

/// The `name=value` pairs of a line. What is no pair is left out.
fn fields_of(mut line: &[u8]) -> Vec<(Field, Vec<u8>)> {
    let mut fields: Vec<(Field, Vec<u8>)> = Vec::new();
    while let Some(start) = line.iter().position(|byte| *byte != b' ') {
        line = &line[start..];
        let end = line.iter().position(|byte| b" =".contains(byte));
        let Some(end) = end.filter(|end| line[*end] == b'=') else {
            line = &line[end.unwrap_or(line.len())..];
            continue;
        };
        let (name, rest) = (&line[..end], &line[end + 1..]);
        let (value, rest) = if let Some(quoted) = rest.strip_prefix(b"\"") {
            unquoted(quoted)
        } else {
            let end = rest.iter().position(|byte| *byte == b' ');
            let (value, rest) = rest.split_at(end.unwrap_or(rest.len()));
            (value.to_vec(), rest)
        };
        line = rest;
        let field = Field::ALL
            .into_iter()
            .find(|field| field.in_line().as_bytes() == name);
        if let Some(field) = field
            && fields.iter().all(|(other, _)| *other != field)
        {
            fields.push((field, value));
        }
    }
    fields
}

/// A value up to its closing quote, which a line that was cut lacks, and the rest.
fn unquoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => break,
            b'\\' => {
                let (byte, length) = match after {
                    [b'n', ..] => (b'\n', 1),
                    [b'r', ..] => (b'\r', 1),
                    [b't', ..] => (b'\t', 1),
                    [b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
                        let number = digit(*a) * 16 + digit(*b);
                        (u8::try_from(number).unwrap_or_default(), 3)
                    }
                    [other @ (b'"' | b'\'' | b'\\'), ..] => (*other, 1),
                    _ => (b'\\', 0),
                };
                value.push(byte);
                rest = &after[length..];
            }
            other => value.push(*other),
        }
    }
    (value, rest)
}

/// For a terminal: in quotes where it is not one word, and escaped where it is not
/// plain text. No two values look alike.
pub(super) fn shown(value: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => shown.push_str("\\\\"),
                '"' => shown.push_str("\\\""),
                ' '..='~' => shown.push(c),
                c if c.is_alphanumeric() => shown.push(c),
                c => shown.extend(c.escape_default()),
            }
        }
        for byte in chunk.invalid() {
            shown.extend(byte.escape_ascii().map(char::from));
        }
    }
    let is_word = |c: char| !c.is_whitespace() && c != '"';
    if shown.is_empty() || !shown.chars().all(is_word) {
        shown = format!("\"{shown}\"");
    }
    shown
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
