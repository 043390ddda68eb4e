// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the program was called: the two forms of request-key.conf(5).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::failure::{Errno, Failure};

pub(crate) const USAGE: &str = "\
key.tpm2_derived makes TPM-derived keys for the kernel. /sbin/request-key runs it, by one of
these lines in /etc/request-key.d/tpm2-derived.conf:

  create * tpm2:derived:* * /usr/sbin/key.tpm2_derived %k %t %d %c %u %g %S
  create * tpm2:derived:* * |/usr/sbin/key.tpm2_derived %t %d %c %u %g

Options, before the first argument:
  --config FILE   read FILE instead of /etc/tdk/config.toml
  --version       print the version
  --help          print this

By hand, 'tdk derive' makes the same keys.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    Serve(Arguments),
    Version,
    Help,
}

/// What request-key passed on from the kernel. Nothing of it is understood yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) form: Form,
    pub(crate) key_type: Vec<u8>,
    pub(crate) description: Vec<u8>,
    pub(crate) callout_info: Vec<u8>,
    pub(crate) uid: Vec<u8>,
    pub(crate) config: Option<PathBuf>,
}

/// Which of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `%k %t %d %c %u %g %S`: instantiate the key `%k`.
    Direct(i32),
    /// `|... %t %d %c %u %g`: write the payload to standard output.
    Pipe,
}

impl Invocation {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut arguments = arguments.into_iter().skip(1).peekable();
        let mut config = None;
        while let Some(option) =
            arguments.next_if(|argument| argument.as_bytes().starts_with(b"--"))
        {
            match option.as_bytes() {
                b"--version" => return Ok(Self::Version),
                b"--help" => return Ok(Self::Help),
                b"--config" => match arguments.next() {
                    Some(file) if config.is_none() => config = Some(PathBuf::from(file)),
                    Some(_) => return Err(usage("--config is there twice")),
                    None => return Err(usage("--config needs a file")),
                },
                b"--" => break,
                _ => return Err(usage("unknown option")),
            }
        }
        let words: Vec<Vec<u8>> = arguments.map(OsString::into_vec).collect();
        let (form, words) = match &words[..] {
            [key, rest @ ..] if rest.len() == 6 => (Form::Direct(serial(key)?), rest),
            rest if rest.len() == 5 => (Form::Pipe, rest),
            other => {
                return Err(usage(&format!(
                    "{} arguments instead of 7 (direct form) or 5 (pipe form)",
                    other.len()
                )));
            }
        };
        Ok(Self::Serve(Arguments {
            form,
            key_type: words[0].clone(),
            description: words[1].clone(),
            callout_info: words[2].clone(),
            uid: words[3].clone(),
            config,
        }))
    }
}

impl Arguments {
    /// `%u`: the asker's filesystem uid in the initial user namespace, which
    /// the kernel prints as a signed number.
    pub(crate) fn uid(&self) -> Result<u32, Failure> {
        let number = std::str::from_utf8(&self.uid).ok().and_then(|text| {
            let signed = text.parse::<i32>().ok().map(i32::cast_unsigned);
            signed.or_else(|| text.parse::<u32>().ok())
        });
        number.ok_or_else(|| usage("%u is no user id"))
    }
}

fn serial(word: &[u8]) -> Result<i32, Failure> {
    std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|serial| *serial > 0)
        .ok_or_else(|| usage("%k is no key's serial number"))
}

fn usage(what: &str) -> Failure {
    Failure::new(
        Errno::Failed,
        format!("called wrongly, {what}"),
        "see key.tpm2_derived --help, and correct /etc/request-key.d/tpm2-derived.conf",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&[u8]]) -> Result<Invocation, String> {
        let words = [&[&b"key.tpm2_derived"[..]], words].concat();
        let words = words.iter().map(|word| OsString::from_vec(word.to_vec()));
        Invocation::parse(words).map_err(|failure| failure.to_string())
    }

    fn arguments(words: &[&[u8]]) -> Arguments {
        match parse(words).unwrap() {
            Invocation::Serve(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_forms() {
        let direct = arguments(&[
            b"77",
            b"user",
            b"tpm2:derived:x",
            b"32 path",
            b"0",
            b"0",
            b"9",
        ]);
        assert_eq!(direct.form, Form::Direct(77));
        assert_eq!(direct.key_type, b"user");
        assert_eq!(direct.description, b"tpm2:derived:x");
        assert_eq!(direct.callout_info, b"32 path");
        let pipe = arguments(&[b"user", b"--help", b"\xff", b"1000", b"0"]);
        assert_eq!(pipe.form, Form::Pipe);
        assert_eq!(pipe.description, b"--help");
        assert_eq!(pipe.callout_info, b"\xff");
    }

    #[test]
    fn options_stand_first() {
        let with = arguments(&[b"--config", b"/x", b"user", b"d", b"c", b"0", b"0"]);
        assert_eq!(with.config, Some("/x".into()));
        assert_eq!(
            arguments(&[b"--", b"--user", b"d", b"c", b"0", b"0"]).key_type,
            b"--user"
        );
        assert_eq!(parse(&[b"--version"]), Ok(Invocation::Version));
        assert_eq!(parse(&[b"--help"]), Ok(Invocation::Help));
        for wrong in [
            &[&b"--config"[..]][..],
            &[b"--verbose"],
            &[b"--config", b"a", b"--config", b"b"],
        ] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn wrong_numbers() {
        assert!(parse(&[]).unwrap_err().contains("0 arguments instead of 7"));
        parse(&[&b"1"[..]; 6]).unwrap_err();
        parse(&[&b"1"[..]; 8]).unwrap_err();
        for key in [&b""[..], b"0", b"-1", b"x", b"99999999999"] {
            parse(&[key, b"user", b"d", b"c", b"0", b"0", b"9"]).unwrap_err();
        }
    }

    #[test]
    fn uids_are_printed_signed() {
        let uid = |uid: &[u8]| arguments(&[b"user", b"d", b"c", uid, b"0"]).uid().ok();
        assert_eq!(uid(b"0"), Some(0));
        assert_eq!(uid(b"1000"), Some(1000));
        assert_eq!(uid(b"-2"), Some(4_294_967_294));
        assert_eq!(uid(b"4294967294"), Some(4_294_967_294));
        assert_eq!(uid(b"-1"), Some(u32::MAX));
        for wrong in [&b""[..], b"x", b"4294967296", b"-2147483649", b"1 "] {
            assert_eq!(uid(wrong), None);
        }
    }
}
