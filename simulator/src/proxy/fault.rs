// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can happen to a command on its way to a TPM, or to the answer on its way
//! back.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use super::command::{response_code, response_name};

/// What happens to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `rc=CODE`: the answer is this response code; the TPM sees nothing of the
    /// command.
    Answer(u32),
    /// `delay=MILLISECONDS`: the answer comes later.
    Delay(Duration),
    /// `cut=BYTES`: the connection is closed after as many bytes of the answer.
    Cut(usize),
    /// `corrupt=BYTE`: that byte of the answer, counted from 0, is inverted; the last
    /// one if there are fewer.
    Corrupt(usize),
    /// `duplicate`: the answer comes twice.
    Duplicate,
    /// `drop`: the TPM does it, and the answer never comes.
    Drop,
    /// `hang`: there is never an answer; the TPM sees nothing of the command.
    Hang,
    /// `close`: the connection is closed; the TPM sees nothing of the command.
    Close,
    /// `power-cycle`: the TPM loses its power (TPM Reset) and is started up, as
    /// firmware does it, before it gets the command.
    PowerCycle,
    /// `reset`: the same without startup, as a TPM that resets itself: it answers
    /// TPM_RC_INITIALIZE from then on.
    Reset,
    /// `raw=HEX`: the answer is these bytes; the TPM sees nothing of the command.
    Raw(Vec<u8>),
    /// `instead=HEX`: the TPM does it, and the answer is these bytes.
    Instead(Vec<u8>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(code) => match response_name(*code).split_once(' ') {
                Some((name, _)) if response_code(name) == Some(*code) => write!(f, "rc={name}"),
                _ => write!(f, "rc={code:#x}"),
            },
            Self::Delay(delay) => write!(f, "delay={}", delay.as_millis()),
            Self::Cut(bytes) => write!(f, "cut={bytes}"),
            Self::Corrupt(byte) => write!(f, "corrupt={byte}"),
            Self::Duplicate => write!(f, "duplicate"),
            Self::Drop => write!(f, "drop"),
            Self::Hang => write!(f, "hang"),
            Self::Close => write!(f, "close"),
            Self::PowerCycle => write!(f, "power-cycle"),
            Self::Reset => write!(f, "reset"),
            Self::Raw(bytes) => write!(f, "raw={}", hex(bytes)),
            Self::Instead(bytes) => write!(f, "instead={}", hex(bytes)),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let value = match (name, value) {
            ("duplicate", None) => return Ok(Self::Duplicate),
            ("drop", None) => return Ok(Self::Drop),
            ("hang", None) => return Ok(Self::Hang),
            ("close", None) => return Ok(Self::Close),
            ("power-cycle", None) => return Ok(Self::PowerCycle),
            ("reset", None) => return Ok(Self::Reset),
            ("rc" | "delay" | "cut" | "corrupt" | "raw" | "instead", Some(value)) => value,
            _ => {
                return Err(format!(
                    "'{text}' is none of rc=CODE, delay=MILLISECONDS, cut=BYTES, corrupt=BYTE, \
                     duplicate, drop, hang, close, power-cycle, reset, raw=HEX, instead=HEX"
                ));
            }
        };
        let number = || value.parse().map_err(|_| format!("'{value}' is no number"));
        let bytes = || {
            from_hex(value).ok_or_else(|| format!("'{value}' is no even row of hexadecimal digits"))
        };
        match name {
            "rc" => match response_code(value) {
                Some(0) | None => Err(format!(
                    "'{value}' is no response code: write TPM_RC_RETRY, or 0x922"
                )),
                Some(code) => Ok(Self::Answer(code)),
            },
            "delay" => number().map(|number| Self::Delay(Duration::from_millis(number))),
            "cut" => length(number()?).map(Self::Cut),
            "corrupt" => length(number()?).map(Self::Corrupt),
            "raw" => bytes().map(Self::Raw),
            _ => bytes().map(Self::Instead),
        }
    }
}

fn length(number: u64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| format!("{number} bytes are too many"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        for text in [
            "rc=TPM_RC_RETRY",
            "rc=TPM_RC_FAILURE",
            "rc=0x9a2",
            "rc=0x7ff",
            "delay=250",
            "cut=0",
            "corrupt=12",
            "duplicate",
            "drop",
            "hang",
            "close",
            "power-cycle",
            "reset",
            "raw=8001",
            "instead=",
        ] {
            assert_eq!(
                text.parse::<Fault>().map(|fault| fault.to_string()),
                Ok(text.into())
            );
        }
        assert_eq!("rc=0x922".parse(), Ok(Fault::Answer(0x922)));
        for text in [
            "", "rc", "rc=", "rc=0x0", "rc=retry", "delay=x", "cut=-1", "hang=1", "raw=123",
            "raw=x1", "explode",
        ] {
            text.parse::<Fault>().expect_err(text);
        }
    }
}
