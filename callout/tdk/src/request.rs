// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk request`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::ValueEnum;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use tdk_client::{Identity, What};
use tpm_derived_keys::identity::Kind;
use tpm_derived_keys::request as grammar;

use crate::error::Error;
use crate::format::Format;
use crate::words::Words;
use crate::{Place, print};

/// What the command finds the number of the file descriptor in.
const VARIABLE: &str = "TDK_KEY_FD";

/// Asks the kernel for a key, as a careful program should, and prints it or passes it to a command
///
/// It asks into a new keyring, so that no key that somebody has planted can answer, and only takes
/// what the callout has made. It needs no privilege and no TPM device.
///
/// The one who asks is tdk, whatever command it runs: by path and csum, all commands of a user have
/// the same keys. A program that is to have keys apart from others of its user asks by itself.
///
/// A command reads the key, once, from a file descriptor: "cat <&3", "cryptsetup --key-file
/// /dev/fd/3". Its exit status is passed on.
#[derive(clap::Args)]
pub(crate) struct Request {
    /// What follows tpm2:derived: in the description
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    key_id: OsString,

    /// What the key is to be: a length in bytes, from 1 to 1024, or rsa2048, rsa3072, rsa4096, p256,
    /// p384 or ed25519, of which there is the PKCS#8
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    what: OsString,

    /// By what the asker is known: path, csum, id, cgroup or verity
    #[arg(long, value_name = "KIND", allow_hyphen_values = true)]
    identity: OsString,

    /// The key's generation, 0 by default
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    r#gen: Option<OsString>,

    /// The key type to ask by; both give the same bytes
    #[arg(long, value_name = "TYPE", default_value = "user")]
    r#type: KeyType,

    /// How to write the key: by default in hex, but raw for a command; pem is for keys that are not
    /// plain bytes, and what they are printed in by default
    #[arg(long)]
    format: Option<Format>,

    /// The file descriptor that the command reads the key from, 3 by default; its number is in
    /// TDK_KEY_FD, too. 0 is standard input
    #[arg(
        long,
        value_name = "N",
        requires = "command",
        allow_hyphen_values = true
    )]
    fd: Option<u16>,

    /// The command, and its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum KeyType {
    User,
    BigKey,
    /// Not for tdk, as it says.
    #[value(hide = true)]
    Logon,
    /// Likewise.
    #[value(hide = true)]
    Asymmetric,
}

impl Request {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        if place.is_given() {
            let what = "request asks the kernel, whose callout has its own configuration: \
                        leave out --tcti, --backend and --config";
            return Err(Error::Usage(what.into()));
        }
        if let Some(number @ 1..=2) = self.fd {
            let what = format!("--fd {number} is where messages go: give 0, 3 or above");
            return Err(Error::Usage(what));
        }
        let (request, what) = self.request()?;
        let format = self.format(what)?;
        let Some((program, arguments)) = self.command.split_first() else {
            let key = request.ask()?;
            return print(&format.encode(key.as_bytes()));
        };
        let number = RawFd::from(self.fd.unwrap_or(3));
        let end = key_to_read(&request, format, number)?;
        let mut command = Command::new(program);
        command.args(arguments).env(VARIABLE, number.to_string());
        let error = tdk_sys::with_limits_as_given(&mut command).exec();
        // Only here if there is no such command: the key goes with its pipe.
        drop(end);
        Err(Error::Command(program.clone(), error))
    }

    fn format(&self, what: What) -> Result<Format, Error> {
        let is_bytes = matches!(what, What::Bytes(_));
        match self.format {
            Some(Format::Pem) if is_bytes => {
                let what = "--format pem is for keys that are not plain bytes: give hex, base64 or \
                            raw";
                Err(Error::Usage(what.into()))
            }
            Some(format) => Ok(format),
            None if !self.command.is_empty() => Ok(Format::Raw),
            None if is_bytes => Ok(Format::Hex),
            None => Ok(Format::Pem),
        }
    }

    fn request(&self) -> Result<(tdk_client::Request, What), Error> {
        let mut words = Words::default();
        words.add("--what", "", &self.what)?;
        words.add("--identity", "", &self.identity)?;
        if let Some(generation) = &self.r#gen {
            words.add("--gen", "gen=", generation)?;
        }
        let (request, what) = of_client(&words.parse("user".as_ref(), &self.key_id)?);
        let key_type = match self.r#type {
            KeyType::User => tdk_client::KeyType::User,
            KeyType::BigKey => tdk_client::KeyType::BigKey,
            KeyType::Logon => return Err(unreadable("logon")),
            KeyType::Asymmetric => return Err(unreadable("asymmetric")),
        };
        Ok((request.key_type(key_type), what))
    }
}

fn unreadable(key_type: &str) -> Error {
    Error::Usage(format!(
        "the kernel lets nobody read {key_type} keys, so tdk can't hand one on: have it kept in a \
         keyring, by 'keyctl request2 {key_type} ...'"
    ))
}

/// The same request, as the client has it, and what is asked for.
pub(crate) fn of_client(request: &grammar::Request) -> (tdk_client::Request, What) {
    let identity = match request.kind() {
        Kind::Path => Identity::Path,
        Kind::Csum => Identity::Csum,
        Kind::Id => Identity::Id,
        Kind::Cgroup => Identity::Cgroup,
        Kind::Verity => Identity::Verity,
    };
    let what = match request.what() {
        grammar::What::Raw(length) => What::Bytes(length),
        grammar::What::Rsa(bits) => What::Rsa(bits),
        grammar::What::Ecdsa(256) => What::P256,
        grammar::What::Ecdsa(_) => What::P384,
        grammar::What::Ed25519 => What::Ed25519,
    };
    let request = tdk_client::Request::new(request.key_id().as_bytes(), what, identity)
        .generation(request.generation());
    (request, what)
}

/// Asks for the key, and leaves it in a pipe whose reading end has this number
/// and stays open in the command.
///
/// A pipe is read once, and nothing of it reaches a disk (as a memfd would by
/// being swapped out). There is room for every key in it, or an error.
fn key_to_read(
    request: &tdk_client::Request,
    format: Format,
    number: RawFd,
) -> Result<Option<OwnedFd>, Error> {
    let (reader, writer) = pipe_at(number)?;
    let key = request.ask()?;
    rustix::io::ioctl_fionbio(&writer, true).map_err(pipe_error)?;
    File::from(writer)
        .write_all(&format.encode(key.as_bytes()))
        .map_err(Error::Pipe)?;
    if number == 0 {
        rustix::stdio::dup2_stdin(reader).map_err(pipe_error)?;
        return Ok(None);
    }
    rustix::io::fcntl_setfd(&reader, FdFlags::empty()).map_err(pipe_error)?;
    Ok(Some(reader))
}

/// A pipe, with its reading end at this number unless that is standard input's.
fn pipe_at(number: RawFd) -> Result<(OwnedFd, OwnedFd), Error> {
    let (reader, mut writer) = pipe_with(PipeFlags::CLOEXEC).map_err(pipe_error)?;
    if number == 0 || reader.as_raw_fd() == number {
        return Ok((reader, writer));
    }
    if writer.as_raw_fd() == number {
        writer = fcntl_dupfd_cloexec(&writer, number + 1).map_err(pipe_error)?;
    }
    // The lowest free one from there, so another one if it is in use.
    let reader = fcntl_dupfd_cloexec(&reader, number).map_err(pipe_error)?;
    if reader.as_raw_fd() != number {
        let what = format!("file descriptor {number} is in use: give another one by --fd");
        return Err(Error::Usage(what));
    }
    Ok((reader, writer))
}

fn pipe_error(error: rustix::io::Errno) -> Error {
    Error::Pipe(io::Error::from(error))
}
