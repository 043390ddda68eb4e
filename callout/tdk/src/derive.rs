// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk derive`.

use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::ValueEnum;
use tpm_derived_keys::identity::{Identity, Kind, Realm, Scope, Subject};
use tpm_derived_keys::request::{PREFIX, Request, What};
use tpm_derived_keys::tpm::RootKey;
use tpm_derived_keys::{IdentityKey, KeyInfo, Okm};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::format;
use crate::key_ids::KeyIds;
use crate::key_pair;
use crate::output::Gathered;
use crate::words::Words;
use crate::{Place, leave_if_hanging, warn};

/// Prints the key that an asker gets from request_key(2)
///
/// Nobody is identified and no policy is asked: this is for whoever may use the TPM, to recover a
/// key or to see why one differs. Several key ids give several keys for one TPM operation.
#[derive(clap::Args)]
pub(crate) struct Derive {
    /// What the key is to be: a length in bytes, from 1 to 1024, or rsa2048, rsa3072, rsa4096, p256,
    /// p384 or ed25519
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    what: OsString,

    /// By what the asker is known: path, csum, id, cgroup or verity
    #[arg(long, value_name = "KIND", allow_hyphen_values = true)]
    identity: OsString,

    /// Who that is. path: the executable's absolute path. csum: its SHA-256 in hex. cgroup: the
    /// path. verity: sha256:HEX or sha512:HEX. id: leave it out
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<OsString>,

    /// The asker's user id; required unless --scope any
    #[arg(
        long,
        value_name = "NUMBER",
        required_unless_present = "scope",
        allow_hyphen_values = true
    )]
    uid: Option<u32>,

    #[command(flatten)]
    key_ids: KeyIds,

    /// The key's generation, 0 by default
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    r#gen: Option<OsString>,

    /// "any" for a key that is bound to no user (no asker is served such a key yet)
    #[arg(long, conflicts_with = "uid")]
    scope: Option<Any>,

    /// The key type that the asker asks for: user (the default but for RSA), logon, big_key or
    /// asymmetric; keys that can't be read back (logon, asymmetric) differ from the others
    #[arg(long, value_name = "TYPE", allow_hyphen_values = true)]
    r#type: Option<OsString>,

    /// How to print the key: one line a key in hex (by default) or base64, or the bytes themselves;
    /// for a pair of keys also as text (pem, its default), der or OpenSSH's
    #[arg(long)]
    format: Option<Format>,

    /// Print the public key: SubjectPublicKeyInfo, or with --format ssh a line for authorized_keys
    #[arg(long)]
    public: bool,

    /// The realm, instead of the configured one
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    realm: Option<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Any {
    Any,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Hex,
    Base64,
    Raw,
    Pem,
    Der,
    Ssh,
}

impl Format {
    /// How bytes are written in it.
    fn bytes(self) -> format::Format {
        match self {
            Self::Hex => format::Format::Hex,
            Self::Base64 => format::Format::Base64,
            Self::Pem => format::Format::Pem,
            Self::Raw | Self::Der | Self::Ssh => format::Format::Raw,
        }
    }
}

impl Derive {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        // They have no secrets, and are not freed one by one before the end.
        let requests = ManuallyDrop::new(self.requests()?);
        let format = self.format(&requests)?;
        let identity = self.identity(&requests[0], place)?;

        let (identity_key, left) = place.with_owner_auth(|auth| {
            let mut tpm = place.open(auth)?;
            let mut root = RootKey::create(&mut tpm)?;
            let identity_key = root.identity_key(&identity.digest())?;
            Ok((identity_key, root.flush().err()))
        })?;
        if let Some(error) = &left {
            warn(&format!("the root key may be left in the TPM: {error}"));
        }

        let mut output = Gathered::new();
        let printed = self.print_keys(&identity_key, format, &requests, &mut output);
        // Those that were made come first, whatever there is to say of the next.
        output.write()?;
        printed?;
        left.iter().for_each(leave_if_hanging);
        Ok(())
    }

    fn print_keys(
        &self,
        identity_key: &IdentityKey,
        format: Format,
        requests: &[Request],
        output: &mut Gathered,
    ) -> Result<(), Error> {
        for request in requests {
            let okm = identity_key.expand(&KeyInfo::from(request));
            output.add(&self.encode(okm, format, request)?)?;
            // A pair of keys may take a second to be found.
            if !matches!(request.what(), What::Raw(_)) {
                output.write()?;
            }
        }
        Ok(())
    }

    /// The requests, by the grammar that askers' are read with.
    fn requests(&self) -> Result<Vec<Request>, Error> {
        let mut words = Words::default();
        words.add("--what", "", &self.what)?;
        words.add("--identity", "", &self.identity)?;
        if let Some(generation) = &self.r#gen {
            words.add("--gen", "gen=", generation)?;
        }
        if self.scope.is_some() {
            words.add("--scope", "scope=", "any".as_ref())?;
        }
        let key_type = self.r#type.as_deref().unwrap_or("user".as_ref());
        let requests = self.key_ids.requests(&words, key_type)?;
        let is_rsa = matches!(requests[0].what(), What::Rsa(_));
        if self.r#type.is_none() && is_rsa {
            let what = "--type asymmetric or --type user? They are two keys, for one can be read \
                        from the kernel";
            return Err(Error::Usage(what.into()));
        }
        Ok(requests)
    }

    /// The format that was asked for or is usual, if there is such a thing.
    fn format(&self, requests: &[Request]) -> Result<Format, Error> {
        let what = requests[0].what();
        let usage = |what: String| Err(Error::Usage(what));
        let is_pair = !matches!(what, What::Raw(_));
        let usual = if is_pair { Format::Pem } else { Format::Hex };
        let format = self.format.unwrap_or(usual);
        if !is_pair && self.public {
            return usage(format!("a key of {what} bytes has no public key"));
        }
        if !is_pair && matches!(format, Format::Pem | Format::Der | Format::Ssh) {
            let what = format!("a key of {what} bytes is printed in hex, base64 or raw");
            return usage(what);
        }
        if matches!(format, Format::Raw | Format::Der) && requests.len() > 1 {
            let name = if format == Format::Raw { "raw" } else { "der" };
            return usage(format!("--format {name} prints one key: give one key id"));
        }
        Ok(format)
    }

    fn encode(
        &self,
        okm: Okm,
        format: Format,
        request: &Request,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let key = match format {
            Format::Ssh => okm.private_key()?,
            _ if self.public => okm.private_key()?,
            _ => None,
        };
        let Some(key) = key else {
            return Ok(format.bytes().encode(okm.into_payload()?.as_bytes()));
        };
        // A key id can be any bytes; a comment is to be one line.
        let comment = || format!("{PREFIX}{}", request.key_id());
        Ok(Zeroizing::new(match (format, self.public) {
            (Format::Ssh, true) => key_pair::public(&key, &comment())?.into_bytes(),
            (Format::Ssh, false) => key_pair::private(&key, &comment())?.as_bytes().to_vec(),
            (Format::Pem, _) => key.to_public_pem()?.into_bytes(),
            _ => return Ok(format.bytes().encode(&key.to_public_der()?)),
        }))
    }

    fn identity(&self, request: &Request, place: &Place) -> Result<Identity, Error> {
        let realm = match &self.realm {
            Some(realm) => Realm::new(realm.as_bytes())?,
            None => place.config()?.realm().clone(),
        };
        let uid = match request.scope() {
            Scope::Any => 0,
            Scope::Uid => self.uid.unwrap_or_default(),
        };
        let subject = self.subject(request.kind())?;
        Ok(Identity::new(subject, request.scope(), uid, realm)?)
    }

    fn subject(&self, kind: Kind) -> Result<Subject, Error> {
        let value = self.value.as_ref().map(|value| value.as_bytes());
        let usage = |what: &str| Err(Error::Usage(what.into()));
        match (kind, value) {
            (Kind::Id, None) => Ok(Subject::Id),
            (Kind::Id, Some(_)) => usage("--identity id takes no --value"),
            (_, None) => usage("--value is missing: who is the asker?"),
            (Kind::Path, Some(path)) => {
                let subject = Subject::path(path)?;
                warn_of_links(path);
                Ok(subject)
            }
            (Kind::Cgroup, Some(path)) => Ok(Subject::cgroup(path)?),
            (Kind::Csum, Some(digest)) => {
                let mut bytes = [0; 32];
                match hex::decode_to_slice(digest, &mut bytes) {
                    Ok(()) => Ok(Subject::Csum(bytes)),
                    Err(_) => usage("--identity csum takes a --value of 64 hexadecimal digits"),
                }
            }
            (Kind::Verity, Some(digest)) => {
                let digest = std::str::from_utf8(digest).ok();
                let parts = digest.and_then(|digest| digest.split_once(':'));
                let (algorithm, digest) = match parts {
                    Some(("sha256", digest)) => (1, digest),
                    Some(("sha512", digest)) => (2, digest),
                    _ => {
                        return usage("--identity verity takes a --value sha256:HEX or sha512:HEX");
                    }
                };
                match hex::decode(digest) {
                    Ok(digest) => Ok(Subject::verity(algorithm, &digest)?),
                    Err(_) => usage("the --value's digest is not hexadecimal"),
                }
            }
        }
    }
}

/// An asker is known by the path without links.
fn warn_of_links(path: &[u8]) {
    let path = Path::new(OsStr::from_bytes(path));
    match path.canonicalize() {
        Ok(canonical) if canonical != path => warn(&format!(
            "{} is {} here; no asker is known by a path with links in it",
            path.display(),
            canonical.display()
        )),
        _ => {}
    }
}
