// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Policies of many rules.

use std::fmt::Write;

/// A policy of so many rules, of which none is about anybody: their units are nobody's.
/// Every second one is for the keys of `key_id`, the others for keys that are nobody's
/// either.
pub fn rules(count: u64, key_id: &str) -> String {
    let mut text = String::from("default = \"allow\"\n");
    for n in 0..count {
        let key_id = if n % 2 == 0 {
            key_id
        } else {
            &format!("app{n}:*")
        };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n[[rule]]\nname = \"service {n}\"\naction = \"allow\"\nkey_id = \"{key_id}\"\n\
             user = \"www-*\"\nexe = \"/usr/sbin/**\"\nunit = \"app{n}.service\"\n\
             minimum_generation = 1\n",
        );
    }
    text
}
