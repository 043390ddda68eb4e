// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of users and groups, as `/etc/passwd` and `/etc/group` have them. Other
//! sources (LDAP, systemd) would have to be asked by libraries and daemons, which
//! this program does not wait for.

use std::fs;

use tpm_derived_keys::policy::Found;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The names of a uid.
pub(crate) fn names_of_user(uid: u32) -> Found {
    names(PASSWD, "uid", &[uid])
}

/// The names of all these gids.
pub(crate) fn names_of_groups(gids: &[u32]) -> Found {
    names(GROUP, "gid", gids)
}

fn names(file: &str, kind: &str, ids: &[u32]) -> Found {
    match fs::read(file) {
        Ok(lines) => names_in(&lines, file, kind, ids),
        Err(error) => Found::unknown(format_args!("{file}: {error}")),
    }
}

/// Both files have the name first and the number third.
pub(crate) fn names_in(lines: &[u8], file: &str, kind: &str, ids: &[u32]) -> Found {
    let mut found = Found::default();
    let mut named = vec![false; ids.len()];
    for line in lines.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|n| n.parse().ok());
        if let Some(place) = number.and_then(|number: u32| ids.iter().position(|id| *id == number))
        {
            named[place] = true;
            found.values.push(name.to_vec());
        }
    }
    let nameless = ids.iter().zip(named).find(|(_, named)| !named);
    found.unknown = nameless.map(|(id, _)| format!("{kind} {id} has no name in {file}"));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# x:y:7\ntoor:x:0:0::/:\n\
        broken\nbob:x:1000:1000::/home:/bin/sh\n\xff:x:7:7\n";

    fn names(ids: &[u32]) -> (Vec<String>, Option<String>) {
        let found = names_in(LINES, "FILE", "uid", ids);
        let text = |name: Vec<u8>| name.escape_ascii().to_string();
        (found.values.into_iter().map(text).collect(), found.unknown)
    }

    #[test]
    fn every_name_of_a_number() {
        assert_eq!(names(&[0]), (vec!["root".into(), "toor".into()], None));
        assert_eq!(names(&[1000]), (vec!["bob".into()], None));
        assert_eq!(names(&[7]).0, ["# x", "\\xff"]);
        let (known, unknown) = names(&[1000, 8]);
        assert_eq!(known, ["bob"]);
        assert_eq!(unknown.as_deref(), Some("uid 8 has no name in FILE"));
        assert_eq!(names(&[]), (vec![], None));
    }
}
