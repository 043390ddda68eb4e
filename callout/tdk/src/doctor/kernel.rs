// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel has to have, and how it is set up.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use tdk_sys::{NO_KEYRING, PROCESS_KEYRING};
use tpm_derived_keys::request::KeyType;

use super::report::{Check, Finding, Report};

/// The description of keys that are never made.
const NOBODYS: &CStr = c"tdk:doctor";

/// All types that derived keys come in.
const TYPES: [KeyType; 4] = [
    KeyType::User,
    KeyType::Logon,
    KeyType::BigKey,
    KeyType::Asymmetric,
];

/// Looks at all of it. Gives the key types that the kernel has and that we serve.
pub(super) fn examine(report: &mut Report) -> Vec<&'static str> {
    // Without callout info nobody is asked.
    let asked = tdk_sys::request_key(c"user", NOBODYS, None, NO_KEYRING).map(drop);
    let keyrings = keyrings(asked, fs::read("/proc/keys").map(drop));
    let usable = keyrings.remedy.is_none();
    report.add(keyrings);
    let mut served = TYPES.map(KeyType::name).to_vec();
    if usable {
        let types = Types::of_this_kernel();
        report.add(types.judge());
        served.retain(|name| types.has(name));
    } else {
        report.add(Check::KeyTypes.depends_on(Check::Keyrings));
    }
    let quota = match fs::read_to_string("/proc/key-users") {
        Ok(text) => quota(&text),
        Err(_) if !usable => Check::Quota.depends_on(Check::Keyrings),
        Err(error) => Check::Quota.not_checked(
            format!("/proc/key-users: {error}"),
            "mount /proc, and look at it by hand",
        ),
    };
    report.add(quota);
    report.add(if Path::new("/proc/self").exists() {
        let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
        user_namespaces(
            Path::new("/proc/self/ns/user").exists(),
            setting("kernel/unprivileged_userns_clone").as_deref(),
            setting("user/max_user_namespaces").as_deref(),
        )
    } else {
        Check::UserNamespaces.not_checked("there is no /proc/self", "mount /proc")
    });
    served
}

/// What request_key(2) says to a request that nobody is asked, and whether
/// /proc/keys can be read.
fn keyrings(asked: io::Result<()>, proc_keys: io::Result<()>) -> Finding {
    let check = Check::Keyrings;
    let errno = asked.err().and_then(|error| Errno::from_io_error(&error));
    match (errno, proc_keys) {
        (Some(Errno::NOSYS), _) => check.wrong(
            "request_key(2) is not there (ENOSYS)",
            "use a kernel with CONFIG_KEYS; in a container, allow it the system call",
        ),
        (Some(Errno::PERM), _) => check.wrong(
            "request_key(2) is forbidden here (EPERM), by a system call filter",
            "allow request_key, keyctl and add_key, or run it outside of the container",
        ),
        (_, Err(error)) => check.wrong(
            format!("/proc/keys, from which the callout knows askers: {error}"),
            "mount /proc; use a kernel with CONFIG_KEYS",
        ),
        (_, Ok(())) => check.ok("request_key(2) and /proc/keys are there"),
    }
}

/// What a key type says to a payload that it can't take: nothing comes of it.
struct Types(Vec<(&'static str, io::Result<i32>)>);

impl Types {
    fn of_this_kernel() -> Self {
        let ask = |name, key_type, payload| {
            let answer = tdk_sys::add_key(key_type, NOBODYS, payload, PROCESS_KEYRING);
            (name, answer)
        };
        Self(vec![
            // Empty payloads, or for a keyring any.
            ask("user", c"user", b""),
            ask("logon", c"logon", b""),
            ask("keyring", c"keyring", b"x"),
            ask("big_key", c"big_key", b""),
            ask("asymmetric", c"asymmetric", NO_PRIVATE_KEY),
        ])
    }

    fn errno(&self, wanted: &str) -> Option<Errno> {
        let (_, answer) = self.0.iter().find(|(name, _)| *name == wanted)?;
        Errno::from_io_error(answer.as_ref().err()?)
    }

    fn has(&self, name: &str) -> bool {
        self.errno(name) != Some(Errno::NODEV)
    }

    fn judge(&self) -> Finding {
        let check = Check::KeyTypes;
        let quota = self
            .0
            .iter()
            .any(|(name, _)| self.errno(name) == Some(Errno::DQUOT));
        if quota {
            return check.not_checked("this user's quota of keys is used up", "see kernel.quota");
        }
        let needed = ["user", "logon", "keyring"];
        if let Some(missing) = needed.into_iter().find(|name| !self.has(name)) {
            return check.wrong(
                format!("this kernel has no keys of type {missing}"),
                "use a kernel with CONFIG_KEYS",
            );
        }
        let mut lacks = Vec::new();
        if !self.has("big_key") {
            lacks.push("big_key (CONFIG_BIG_KEYS)");
        }
        if !self.has("asymmetric") {
            lacks.push("asymmetric (CONFIG_ASYMMETRIC_KEY_TYPE)");
        } else if self.errno("asymmetric") != Some(Errno::NOPKG) {
            lacks.push("the parser for private keys (modprobe pkcs8_key_parser)");
        }
        if lacks.is_empty() {
            return check.ok("user, logon, keyring, big_key and asymmetric");
        }
        check.remark(format!(
            "user, logon and keyring are there; missing, and not needed: {}",
            lacks.join(", ")
        ))
    }
}

/// PKCS#8 of a private key of an algorithm that has none: SHA-256. Where there is
/// no parser for it, the kernel says EBADMSG, and where there is one, ENOPKG.
const NO_PRIVATE_KEY: &[u8] = &[
    0x30, 0x13, // PrivateKeyInfo
    0x02, 0x01, 0x00, // version
    0x30, 0x0B, // privateKeyAlgorithm: 2.16.840.1.101.3.4.2.1
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, //
    0x04, 0x01, 0x00, // privateKey
];

/// Whether this kernel knows of no private keys, but only of certificates.
pub(crate) fn lacks_private_key_parser() -> bool {
    let answer = tdk_sys::add_key(c"asymmetric", NOBODYS, NO_PRIVATE_KEY, PROCESS_KEYRING);
    let errno = answer.err().and_then(|error| Errno::from_io_error(&error));
    errno == Some(Errno::BADMSG)
}

/// A user's line in /proc/key-users: `UID: USAGE KEYS/INSTANTIATED
/// QUOTA_KEYS/MAX_KEYS QUOTA_BYTES/MAX_BYTES`.
#[derive(Debug, PartialEq, Eq)]
struct User<'t> {
    uid: &'t str,
    keys: (u64, u64),
    bytes: (u64, u64),
}

impl<'t> User<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let (uid, rest) = line.trim_start().split_once(':')?;
        let words: Vec<_> = rest.split_ascii_whitespace().collect();
        let [_, _, keys, bytes] = words[..] else {
            return None;
        };
        let pair = |word: &str| {
            let (used, most) = word.split_once('/')?;
            Some((used.parse().ok()?, most.parse().ok()?))
        };
        Some(Self {
            uid,
            keys: pair(keys)?,
            bytes: pair(bytes)?,
        })
    }
}

/// Where there is little room left: nine tenths are used, and the next few requests
/// may fail with EDQUOT.
fn is_near((used, most): (u64, u64)) -> bool {
    used.saturating_mul(10) >= most.saturating_mul(9)
}

fn quota(key_users: &str) -> Finding {
    let users: Vec<_> = key_users.lines().filter_map(User::parse).collect();
    if users.is_empty() {
        return Check::Quota.not_checked(
            "/proc/key-users names nobody that this program can read",
            "look at it by hand",
        );
    }
    let near = users.iter().find_map(|user| {
        let keys = ("keys", "maxkeys", user.keys);
        let bytes = ("bytes of keys", "maxbytes", user.bytes);
        let mut counts = [keys, bytes].into_iter();
        counts
            .find(|(.., count)| is_near(*count))
            .map(|count| (user, count))
    });
    let Some((user, (what, sysctl, (count, most)))) = near else {
        return Check::Quota.ok("no user is near their quota of keys");
    };
    let root = if user.uid == "0" { "root_" } else { "" };
    Check::Quota.warning(
        format!("uid {} has {count} of {most} {what}", user.uid),
        format!("free some (see /proc/keys), or raise the sysctl kernel.keys.{root}{sysctl}"),
    )
}

fn user_namespaces(built_in: bool, unprivileged: Option<&str>, most: Option<&str>) -> Finding {
    let check = Check::UserNamespaces;
    let is_zero = |setting: Option<&str>| setting.is_some_and(|value| value.trim() == "0");
    if !built_in || is_zero(unprivileged) || is_zero(most) {
        return check.ok("unprivileged users can't make them");
    }
    let name = match unprivileged {
        Some(_) => "kernel.unprivileged_userns_clone",
        None => "user.max_user_namespaces",
    };
    check.note(
        "unprivileged users can make them, so a program can pass for another of its user (path, \
         csum)",
        format!("the sysctl {name}=0 stops that, where nothing needs them"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    fn errno(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn kernels_without_keyrings() {
        let say = |asked: Option<Errno>, proc_keys: Option<Errno>| {
            let result = |error: Option<Errno>| error.map_or(Ok(()), |error| Err(errno(error)));
            let finding = keyrings(result(asked), result(proc_keys));
            (finding.status, finding.seen)
        };
        for fine in [None, Some(Errno::NOKEY), Some(Errno::KEYEXPIRED)] {
            assert_eq!(say(fine, None).0, Status::Ok);
        }
        let (status, seen) = say(Some(Errno::NOSYS), None);
        assert!(status == Status::Wrong && seen.contains("ENOSYS"), "{seen}");
        let (status, seen) = say(Some(Errno::PERM), None);
        assert!(status == Status::Wrong && seen.contains("filter"), "{seen}");
        let (status, seen) = say(Some(Errno::NOKEY), Some(Errno::NOENT));
        assert!(
            status == Status::Wrong && seen.contains("/proc/keys"),
            "{seen}"
        );
    }

    #[test]
    fn kernels_with_some_key_types() {
        let all = [
            ("user", Errno::INVAL),
            ("logon", Errno::INVAL),
            ("keyring", Errno::INVAL),
            ("big_key", Errno::INVAL),
            ("asymmetric", Errno::NOPKG),
        ];
        let but = |changes: &[(&'static str, Errno)]| {
            let answer = |(name, usual)| {
                let change = changes.iter().find(|(changed, _)| *changed == name);
                (name, Err(errno(change.map_or(usual, |(_, other)| *other))))
            };
            let types = Types(all.map(answer).into());
            let finding = types.judge();
            (finding.status, finding.seen, types.has("big_key"))
        };
        assert_eq!(
            but(&[]),
            (
                Status::Ok,
                "user, logon, keyring, big_key and asymmetric".into(),
                true
            )
        );
        for name in ["user", "logon", "keyring"] {
            let (status, seen, _) = but(&[(name, Errno::NODEV)]);
            assert_eq!(status, Status::Wrong);
            assert!(seen.ends_with(name), "{seen}");
        }
        let (status, seen, has_big_key) = but(&[("big_key", Errno::NODEV)]);
        assert!(status == Status::Note && !has_big_key);
        assert!(
            seen.ends_with("not needed: big_key (CONFIG_BIG_KEYS)"),
            "{seen}"
        );
        let (status, seen, _) = but(&[("asymmetric", Errno::BADMSG)]);
        assert!(status == Status::Note && seen.ends_with("(modprobe pkcs8_key_parser)"));
        let (status, seen, _) = but(&[("asymmetric", Errno::NODEV)]);
        assert!(
            status == Status::Note && seen.contains("CONFIG_ASYMMETRIC"),
            "{seen}"
        );
        assert_eq!(but(&[("user", Errno::DQUOT)]).0, Status::NotChecked);
    }

    #[test]
    fn users_near_their_quota() {
        let say = |lines: &str| {
            let finding = quota(lines);
            (finding.status, finding.seen, finding.remedy)
        };
        let root = "    0:     9 8/8 899999/1000000 80/25000000\n";
        let calm = "no user is near their quota of keys";
        assert_eq!(say(root), (Status::Ok, calm.into(), None));
        let user = " 1000:     2 2/2 179/200 17999/20000\n";
        assert_eq!(say(&format!("{root}{user}")).0, Status::Ok);
        for (line, seen, sysctl) in [
            (
                " 1000: 2 2/2 180/200 28/20000\n",
                "uid 1000 has 180 of 200 keys",
                "keys.maxkeys",
            ),
            (
                " 1000: 2 2/2 2/200 18000/20000\n",
                "uid 1000 has 18000 of 20000 bytes of keys",
                "keys.maxbytes",
            ),
            (
                "    0: 2 2/2 9/10 28/20000\n",
                "uid 0 has 9 of 10 keys",
                "keys.root_maxkeys",
            ),
        ] {
            let (status, told, remedy) = say(&format!("{root}{line}"));
            assert_eq!((status, told.as_str()), (Status::Warning, seen));
            assert!(remedy.is_some_and(|remedy| remedy.ends_with(sysctl)));
        }
        assert_eq!(say("").0, Status::NotChecked);
        assert_eq!(say("x\n1: 2\n").0, Status::NotChecked);
    }

    #[test]
    fn who_can_make_user_namespaces() {
        let status =
            |built_in, unprivileged, most| user_namespaces(built_in, unprivileged, most).status;
        assert_eq!(status(true, Some("1\n"), Some("7\n")), Status::Note);
        assert_eq!(status(true, Some("0\n"), Some("7\n")), Status::Ok);
        assert_eq!(status(true, Some("1\n"), Some("0\n")), Status::Ok);
        assert_eq!(status(true, None, Some("7\n")), Status::Note);
        assert_eq!(status(true, None, Some("0\n")), Status::Ok);
        assert_eq!(status(false, None, Some("7\n")), Status::Ok);
        let remedy = |unprivileged| user_namespaces(true, unprivileged, Some("7\n")).remedy;
        assert!(remedy(Some("1")).is_some_and(|text| text.contains("userns_clone=0")));
        assert!(remedy(None).is_some_and(|text| text.contains("max_user_namespaces=0")));
    }
}
