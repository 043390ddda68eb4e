// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other implementation, `tests/oracle`, which shares no code with this one.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
    let mut lines = String::new();
    for request in requests {
        lines += &request.to_json().to_string();
        lines += "\n";
    }
    let output = run(&[&["derive"], &place(tcti)[..]].concat(), &lines);
    let keys: Vec<_> = output
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            match answer["payload"].as_str() {
                Some(payload) => Ok(hex::decode(payload).unwrap()),
                None => Err(answer["error"].as_str().unwrap().to_owned()),
            }
        })
        .collect();
    assert_eq!(keys.len(), requests.len());
    keys
}

/// The key that one request gets.
pub fn key(tcti: &str, request: &Request) -> Vec<u8> {
    derive(tcti, std::slice::from_ref(request))
        .remove(0)
        .unwrap()
}

/// The Name of the root key of the TPM at `tcti`, in hex.
pub fn root(tcti: &str) -> String {
    run(&[&["root"], &place(tcti)[..]].concat(), "")
        .trim()
        .into()
}

fn place(tcti: &str) -> [&str; 2] {
    match tcti.strip_prefix("swtpm:path=") {
        Some(path) => ["--unix", path],
        None => ["--tcp", tcti.strip_prefix("tcp:").expect("unix or tcp")],
    }
}

fn run(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("python3")
        .arg(project().join("tests/oracle/oracle.py"))
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
