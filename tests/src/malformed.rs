// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What askers may write and nobody understands: the callout and the kernel's own
//! key type answer EINVAL to all of it.

/// Callout info, each wrong in one way.
pub fn callout_info() -> Vec<Vec<u8>> {
    let long = format!("32 path {}", "x".repeat(4080));
    let text = [
        " ",
        "32",
        "path",
        "path 32",
        "paht 32",
        "32 paht",
        "32 path junk",
        "0 path",
        "1025 path",
        "99999999999 path",
        "-1 path",
        "+32 path",
        "0x20 path",
        "032 path",
        "32.0 path",
        "32 path gen",
        "32 path gen=",
        "32 path gen=-1",
        "32 path gen=4294967296",
        "32 path v=2",
        "32 path scope=uid",
        "32 path gen=1 gen=2",
        "32 path\n",
        "32\u{a0}path",
        "rsa2048",
        "rsa2048 path 32",
        "rsa1024 path",
        "RSA2048 path",
        "p521 path",
        "32 cgroups",
        "32 sha256",
        &long,
    ];
    let mut all: Vec<Vec<u8>> = text.iter().map(|text| text.as_bytes().into()).collect();
    all.push(b"32 path \xff\xfe".into());
    all
}
