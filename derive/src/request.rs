// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is asked for: key type, description and callout info of a
//! `request_key(2)`, parsed.
//!
//! The grammar is section 5 of `docs/derivation.md`. Parsing never guesses: a
//! request it does not understand to the last byte is refused.

use std::fmt;

use crate::identity::{Identified, Identity, IdentityError, Kind, Realm, Scope, Subject};

/// What every description that is meant for this project begins with.
pub const PREFIX: &str = "tpm2:derived:";

/// The longest raw key that can be asked for, in bytes.
pub const MAX_LENGTH: u16 = 1024;

/// The longest key id, in bytes.
pub const MAX_KEY_ID: usize = 255;

/// A key type of the kernel, as far as derived keys come in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `user`: its payload can be read back.
    User,
    /// `logon`: its payload can be used by the kernel, never read back.
    Logon,
    /// `big_key`: as `user`, kept in encrypted shared memory when large.
    BigKey,
    /// `asymmetric`: a key the kernel signs and decrypts with.
    Asymmetric,
}

impl KeyType {
    /// The name `request_key(2)` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Logon => "logon",
            Self::BigKey => "big_key",
            Self::Asymmetric => "asymmetric",
        }
    }

    pub(crate) fn parse(name: &[u8]) -> Result<Self, RequestError> {
        [Self::User, Self::Logon, Self::BigKey, Self::Asymmetric]
            .into_iter()
            .find(|t| t.name().as_bytes() == name)
            .ok_or_else(|| RequestError::KeyType(Quoted::new(name)))
    }
}

/// What the key is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// That many raw bytes, 1 to [`MAX_LENGTH`].
    Raw(u16),
    /// An RSA key with a modulus of that many bits: 2048, 3072 or 4096.
    Rsa(u16),
    /// An ECDSA key on the NIST curve of that many bits: 256 or 384.
    Ecdsa(u16),
    /// An Ed25519 key.
    Ed25519,
}

impl What {
    pub(crate) fn parse(word: &[u8]) -> Result<Self, RequestError> {
        match word {
            b"rsa2048" => Ok(Self::Rsa(2048)),
            b"rsa3072" => Ok(Self::Rsa(3072)),
            b"rsa4096" => Ok(Self::Rsa(4096)),
            b"p256" => Ok(Self::Ecdsa(256)),
            b"p384" => Ok(Self::Ecdsa(384)),
            b"ed25519" => Ok(Self::Ed25519),
            _ => match decimal(word) {
                Some(n @ 1..=1024) => u16::try_from(n).map(Self::Raw).ok(),
                _ => None,
            }
            .ok_or_else(|| RequestError::What(Quoted::new(word))),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(length) => write!(f, "{length}"),
            Self::Rsa(bits) => write!(f, "rsa{bits}"),
            Self::Ecdsa(bits) => write!(f, "p{bits}"),
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// What follows [`PREFIX`] in the description: 1 to 255 bytes, none of them 0.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyId(Vec<u8>);

impl KeyId {
    /// Checks length and bytes.
    ///
    /// # Errors
    ///
    /// [`RequestError::KeyIdLength`] unless there are 1 to 255 bytes,
    /// [`RequestError::KeyIdNul`] if one of them is 0.
    pub fn new(bytes: &[u8]) -> Result<Self, RequestError> {
        if !(1..=MAX_KEY_ID).contains(&bytes.len()) {
            return Err(RequestError::KeyIdLength(bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(RequestError::KeyIdNul);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Readable, whatever the bytes: escaped as `\xff` where they don't print.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A request, parsed. The next stage is [`Request::identify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    key_type: KeyType,
    key_id: KeyId,
    what: What,
    kind: Kind,
    generation: u32,
    scope: Scope,
}

impl Request {
    /// Parses the three strings of a `request_key(2)`, in the order in which
    /// the system call takes them.
    ///
    /// # Errors
    ///
    /// A [`RequestError`] that names the word, length or prefix at fault.
    pub fn parse(
        key_type: &[u8],
        description: &[u8],
        callout_info: &[u8],
    ) -> Result<Self, RequestError> {
        let key_type = KeyType::parse(key_type)?;
        let key_id = description
            .strip_prefix(PREFIX.as_bytes())
            .ok_or_else(|| RequestError::Prefix(Quoted::new(description)))?;
        let key_id = KeyId::new(key_id)?;

        let mut words = callout_info
            .split(|&byte| byte == b' ' || byte == b'\t')
            .filter(|word| !word.is_empty());
        let what = What::parse(words.next().ok_or(RequestError::MissingWhat)?)?;
        let kind = words.next().ok_or(RequestError::MissingIdentity)?;
        let kind =
            Kind::from_word(kind).ok_or_else(|| RequestError::Identity(Quoted::new(kind)))?;
        let options = Options::parse(words)?;

        let what = match (key_type, what) {
            (KeyType::Asymmetric, What::Raw(_)) => What::Rsa(2048),
            (KeyType::Asymmetric, What::Ecdsa(_) | What::Ed25519) => {
                return Err(RequestError::NotRsa(what));
            }
            _ => what,
        };
        Ok(Self {
            key_type,
            key_id,
            what,
            kind,
            generation: options.generation.unwrap_or(0),
            scope: options.scope.unwrap_or(Scope::Uid),
        })
    }

    /// Which key type the key is to have.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key id.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What the key is to be.
    pub fn what(&self) -> What {
        self.what
    }

    /// By what the asker wants to be known.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which generation of the key, 0 unless asked otherwise.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the key is bound to the asker's uid.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Next stage: joins the request with what was found out about its asker.
    ///
    /// `uid` is the asker's filesystem uid in the initial user namespace; it
    /// enters the key unless the request said `scope=any`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::WrongKind`] if `subject` is not of the kind asked for,
    /// [`IdentityError::Uid`] if `uid` is 4294967295.
    pub fn identify(
        self,
        subject: Subject,
        uid: u32,
        realm: &Realm,
    ) -> Result<Identified, IdentityError> {
        if subject.kind() != self.kind {
            return Err(IdentityError::WrongKind {
                asked: self.kind,
                found: subject.kind(),
            });
        }
        let identity = Identity::new(subject, self.scope, uid, realm.clone())?;
        Ok(Identified::new(self, identity))
    }
}

/// The words after the identity.
#[derive(Default)]
struct Options {
    generation: Option<u32>,
    scope: Option<Scope>,
    version: Option<()>,
}

impl Options {
    fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, RequestError> {
        let mut options = Self::default();
        for word in words {
            let twice = if let Some(number) = word.strip_prefix(b"gen=") {
                let number = decimal(number)
                    .and_then(|n| u32::try_from(n).ok())
                    .ok_or_else(|| RequestError::Generation(Quoted::new(word)))?;
                options.generation.replace(number).is_some()
            } else if word == b"scope=any" {
                options.scope.replace(Scope::Any).is_some()
            } else if word == b"v=1" {
                options.version.replace(()).is_some()
            } else {
                return Err(RequestError::Option(Quoted::new(word)));
            };
            if twice {
                return Err(RequestError::Twice(Quoted::new(word)));
            }
        }
        Ok(options)
    }
}

/// A decimal number without sign or leading zeros.
fn decimal(word: &[u8]) -> Option<u64> {
    let canonical = word == b"0" || word.first().is_some_and(|first| *first != b'0');
    if !canonical || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Somebody else's bytes, made fit for a message: escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    /// As many bytes as a message bears.
    const MOST: usize = 40;

    pub(crate) fn new(bytes: &[u8]) -> Self {
        let shown = &bytes[..bytes.len().min(Self::MOST)];
        let dots = if shown.len() < bytes.len() { "..." } else { "" };
        Self(format!("'{}{dots}'", shown.escape_ascii()))
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a request was not understood. The asker gets EINVAL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The key type is none that derived keys come in.
    KeyType(Quoted),
    /// The description does not begin with [`PREFIX`].
    Prefix(Quoted),
    /// The key id has this many bytes, not 1 to 255.
    KeyIdLength(usize),
    /// The key id contains a byte 0.
    KeyIdNul,
    /// The callout info is empty.
    MissingWhat,
    /// The callout info ends after its first word.
    MissingIdentity,
    /// The first word is neither a length nor a kind of key.
    What(Quoted),
    /// The second word is no identity.
    Identity(Quoted),
    /// `gen=` is not followed by a number from 0 to 4294967295.
    Generation(Quoted),
    /// A word after the identity is no option.
    Option(Quoted),
    /// An option was given twice.
    Twice(Quoted),
    /// An `asymmetric` key of a kind that the kernel has no private keys of.
    NotRsa(What),
}

impl RequestError {
    /// What the asker can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::KeyType(_) => "ask for a user, logon, big_key or asymmetric key",
            Self::Prefix(_) => "the description of a derived key is tpm2:derived:<key id>",
            Self::KeyIdLength(_) | Self::KeyIdNul => "a key id has 1 to 255 bytes, none of them 0",
            Self::What(_) => {
                "the first word is a length in bytes from 1 to 1024, in plain decimal digits, or \
                 one of rsa2048, rsa3072, rsa4096, p256, p384, ed25519"
            }
            Self::MissingWhat | Self::MissingIdentity => {
                "callout info is '<length or kind> <path|csum|id|cgroup|verity> [gen=N]', for \
                 example '32 path'"
            }
            Self::Identity(_) => "the second word is one of path, csum, id, cgroup, verity",
            Self::Generation(_) => "write gen=N with N from 0 to 4294967295",
            Self::Option(_) => "the options are gen=N and v=1",
            Self::Twice(_) => "give each option once",
            Self::NotRsa(_) => {
                "the kernel takes only RSA private keys: ask for rsa2048, rsa3072 or rsa4096, or \
                 for a user key"
            }
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyType(name) => write!(f, "derived keys don't come in key type {name}"),
            Self::Prefix(description) => {
                write!(f, "description {description} does not begin with {PREFIX}")
            }
            Self::KeyIdLength(0) => write!(f, "the key id is empty"),
            Self::KeyIdLength(length) => write!(f, "the key id is {length} bytes long"),
            Self::KeyIdNul => write!(f, "the key id contains a byte 0"),
            Self::MissingWhat => write!(f, "the callout info is empty"),
            Self::MissingIdentity => {
                write!(
                    f,
                    "the callout info does not say by what the asker is to be known"
                )
            }
            Self::What(word) => write!(f, "{word} is neither a length nor a kind of key"),
            Self::Identity(word) => write!(f, "{word} is no identity"),
            Self::Generation(word) => write!(f, "{word} is no generation"),
            Self::Option(word) => write!(f, "{word} is no option"),
            Self::Twice(word) => write!(f, "option {word} is there twice"),
            Self::NotRsa(what) => write!(f, "key type asymmetric can't be {what}"),
        }
    }
}

impl std::error::Error for RequestError {}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
