// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other implementation, `tests/oracle`, which shares no code with this one.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::middle::host_and_port;
use crate::project;

/// A request and who makes it, as the oracle reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The key type.
    pub key_type: String,
    /// The description.
    pub description: Vec<u8>,
    /// The callout info.
    pub info: Vec<u8>,
    /// The asker's uid.
    pub uid: u32,
    /// The realm.
    pub realm: Vec<u8>,
    /// The value that belongs to the identity's kind.
    pub value: Vec<u8>,
}

impl Request {
    /// As a `user` key without realm.
    pub fn user(key_id: &str, info: &str, uid: u32, value: impl AsRef<[u8]>) -> Self {
        Self {
            key_type: "user".into(),
            description: format!("tpm2:derived:{key_id}").into(),
            info: info.into(),
            uid,
            realm: Vec::new(),
            value: value.as_ref().into(),
        }
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.key_type,
            "description": hex::encode(&self.description),
            "info": hex::encode(&self.info),
            "uid": self.uid,
            "realm": hex::encode(&self.realm),
            "value": hex::encode(&self.value),
        })
    }

    /// From what [`Request::to_json`] gives.
    pub fn from_json(json: &Value) -> Self {
        let text = |field: &str| json[field].as_str().expect(field);
        let bytes = |field: &str| hex::decode(text(field)).unwrap();
        Self {
            key_type: text("type").into(),
            description: bytes("description"),
            info: bytes("info"),
            uid: json["uid"].as_u64().unwrap().try_into().unwrap(),
            realm: bytes("realm"),
            value: bytes("value"),
        }
    }
}

/// The keys that these requests get from the TPM at `tcti`, or the oracle's
/// reasons why not.
pub fn derive(tcti: &str, requests: &[Request]) -> Vec<Result<Vec<u8>, String>> {
    let keys: Vec<_> = answers(tcti, requests)
        .iter()
        .map(|answer| match answer["payload"].as_str() {
            Some(payload) => Ok(hex::decode(payload).unwrap()),
            None => Err(answer["error"].as_str().unwrap().to_owned()),
        })
        .collect();
    assert_eq!(keys.len(), requests.len());
    keys
}

/// The keys that a kernel makes of these requests that has the root to itself,
/// under that PCR.
pub fn derive_kernel_root(tcti: &str, pcr: u8, requests: &[Request]) -> Vec<Vec<u8>> {
    let kernel_pcr = ["--kernel-pcr".into(), pcr.to_string()];
    let arguments = [place(tcti), kernel_pcr].concat();
    payloads(&answers_with(&arguments, requests))
}

/// The keys that follow from a root's secret, in hex.
pub fn derive_from_secret(secret: &str, requests: &[Request]) -> Vec<Vec<u8>> {
    payloads(&answers_with(
        &["--root-secret".into(), secret.into()],
        requests,
    ))
}

fn payloads(answers: &[Value]) -> Vec<Vec<u8>> {
    let payload = |answer: &Value| hex::decode(answer["payload"].as_str().unwrap()).unwrap();
    answers.iter().map(payload).collect()
}

fn answers(tcti: &str, requests: &[Request]) -> Vec<Value> {
    answers_with(&place(tcti), requests)
}

fn answers_with(arguments: &[String], requests: &[Request]) -> Vec<Value> {
    let mut lines = String::new();
    for request in requests {
        lines += &request.to_json().to_string();
        lines += "\n";
    }
    let output = run("derive", arguments, &lines);
    let answer = |line| serde_json::from_str(line).unwrap();
    output.lines().map(answer).collect()
}

/// All that is secret of a key.
#[derive(Clone, Debug)]
pub struct Secrets {
    identity_key: Vec<u8>,
    okm: Vec<u8>,
    payload: Vec<u8>,
}

impl Secrets {
    /// Those of a request, from the TPM at `tcti`.
    pub fn of(tcti: &str, request: &Request) -> Self {
        let answer = answers(tcti, std::slice::from_ref(request)).remove(0);
        let bytes = |field: &str| hex::decode(answer[field].as_str().unwrap()).unwrap();
        Self {
            identity_key: bytes("identity_key"),
            okm: bytes("okm"),
            payload: bytes("payload"),
        }
    }

    /// Each with its name; of the payload, what is not the same in all keys.
    pub fn all(&self) -> [(&'static str, Vec<u8>); 3] {
        let private = match self.payload.len() {
            // ECDSA on P-256: before it the algorithm, behind it the public key.
            138 => &self.payload[36..68],
            // RSA: the algorithm.
            500.. => &self.payload[48..],
            _ => &self.okm,
        };
        [
            ("the identity key", self.identity_key.clone()),
            ("the derived bytes", self.okm.clone()),
            ("the key", private.to_vec()),
        ]
    }
}

/// The key that one request gets.
pub fn key(tcti: &str, request: &Request) -> Vec<u8> {
    derive(tcti, std::slice::from_ref(request))
        .remove(0)
        .unwrap()
}

/// The Name of the root key of the TPM at `tcti`, in hex.
pub fn root(tcti: &str) -> String {
    run("root", &place(tcti), "").trim().into()
}

fn place(tcti: &str) -> [String; 2] {
    if let Some(path) = tcti.strip_prefix("swtpm:path=") {
        return ["--unix".into(), path.into()];
    }
    let (host, port) = host_and_port(tcti).expect("unix or tcp");
    ["--tcp".into(), format!("{host}:{port}")]
}

fn run(command: &str, arguments: &[String], input: &str) -> String {
    let mut child = Command::new("python3")
        .arg(project().join("tests/oracle/oracle.py"))
        .arg(command)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
