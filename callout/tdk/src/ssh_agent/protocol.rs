// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is answered to what is asked: draft-miller-ssh-agent, for an agent whose
//! keys come and go with it.

use ssh_agent_lib::proto::signature::{RSA_SHA2_256, RSA_SHA2_512};
use ssh_agent_lib::proto::{self, PublicCredential, Request, Response, SignRequest};
use ssh_agent_lib::ssh_encoding::{Decode, Encode};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, Signature};

/// The messages that are read, by their first byte: `SSH_AGENTC_REQUEST_IDENTITIES`
/// and `SSH_AGENTC_SIGN_REQUEST`. Others are refused unread; they could carry
/// private keys and passphrases.
const READ: [u8; 2] = [11, 13];

/// How an RSA key signs: RFC 8332. Its older way, ssh-rsa with SHA-1, is none of
/// ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Sha256,
    Sha512,
}

impl Scheme {
    /// What the flags of a request ask for. Without any they ask for ssh-rsa.
    fn of(flags: u32) -> Option<Self> {
        if flags & RSA_SHA2_256 != 0 {
            Some(Self::Sha256)
        } else if flags & RSA_SHA2_512 != 0 {
            Some(Self::Sha512)
        } else {
            None
        }
    }

    fn algorithm(self) -> Algorithm {
        let hash = match self {
            Self::Sha256 => HashAlg::Sha256,
            Self::Sha512 => HashAlg::Sha512,
        };
        Algorithm::Rsa { hash: Some(hash) }
    }
}

/// Whatever has private keys.
pub(super) trait Sign {
    /// The signature of this data, or `None` if the key can't give one any more.
    fn sign(&self, scheme: Scheme, data: &[u8]) -> Option<Vec<u8>>;
}

/// A key, as clients see it.
pub(super) struct Identity<K> {
    public: KeyData,
    comment: String,
    key: K,
}

impl<K: Sign> Identity<K> {
    /// A key, and by what name people know it.
    pub(super) fn new(key: K, public: KeyData, name: &str) -> Self {
        Self {
            public,
            // It is printed on terminals, and as one line.
            comment: name.replace(|c: char| c.is_control(), "?"),
            key,
        }
    }
}

/// The answer to a message, both without their lengths before them.
pub(super) fn answer<K: Sign>(message: &[u8], identities: &[Identity<K>]) -> Vec<u8> {
    let response = respond(message, identities).unwrap_or(Response::Failure);
    encode(&response).unwrap_or_else(|| encode(&Response::Failure).expect("a single byte"))
}

fn encode(response: &Response) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    response.encode(&mut bytes).ok()?;
    Some(bytes)
}

fn respond<K: Sign>(message: &[u8], identities: &[Identity<K>]) -> Option<Response> {
    if !READ.contains(message.first()?) {
        return None;
    }
    let request = Request::decode(&mut &*message).ok()?;
    // Nothing more may be in it than has been understood.
    let mut understood = Vec::new();
    request.encode(&mut understood).ok()?;
    match request {
        _ if understood != message => None,
        Request::RequestIdentities => Some(Response::IdentitiesAnswer(list(identities))),
        Request::SignRequest(request) => sign(&request, identities).map(Response::SignResponse),
        _ => None,
    }
}

fn list<K>(identities: &[Identity<K>]) -> Vec<proto::Identity> {
    let identity = |identity: &Identity<K>| proto::Identity {
        credential: PublicCredential::Key(identity.public.clone()),
        comment: identity.comment.clone(),
    };
    identities.iter().map(identity).collect()
}

fn sign<K: Sign>(request: &SignRequest, identities: &[Identity<K>]) -> Option<Signature> {
    let PublicCredential::Key(public) = &request.credential else {
        return None;
    };
    let identity = identities.iter().find(|known| known.public == *public)?;
    let scheme = Scheme::of(request.flags)?;
    let signature = identity.key.sign(scheme, &request.data)?;
    Signature::new(scheme.algorithm(), signature).ok()
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
