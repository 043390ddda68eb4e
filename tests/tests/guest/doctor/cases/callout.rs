// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout, its configuration and its policy.

use tdk_tests::doctor::ANSWERS;

use super::{Case, case, wrong};

pub(super) fn callout() -> Vec<Case> {
    let program = |seen| wrong(&[("callout.program", "wrong", seen)], &["callout.version"]);
    vec![
        case(
            "no callout",
            "mv $callout /tmp",
            "mv /tmp/key.tpm2_derived $callout",
            program("/usr/sbin/key.tpm2_derived is missing"),
        ),
        case(
            "a callout that is not executable",
            "chmod -x $callout",
            "chmod +x $callout",
            program("is not executable"),
        ),
        case(
            "a callout that everybody can write",
            "chmod 777 $callout",
            "chmod 755 $callout",
            program("others than root can write /usr/sbin/key.tpm2_derived (mode 0777)"),
        ),
        case(
            "a callout that everybody can replace",
            "chmod 775 /usr/sbin",
            "chmod 755 /usr/sbin",
            program("others than root can write /usr/sbin (mode 0775)"),
        ),
        case(
            "a callout of another user",
            "chown 1000 $callout",
            "chown 0 $callout",
            program("/usr/sbin/key.tpm2_derived belongs to uid 1000"),
        ),
        case(
            "a callout of another version",
            "mv $callout /usr/sbin/real\n\
                   printf '#!/bin/sh\\n[ \"$1\" != --version ] || exec echo key.tpm2_derived 0.0.1\\n\
                   exec /usr/sbin/real \"$@\"\\n' >$callout; chmod +x $callout",
            "mv /usr/sbin/real $callout",
            vec![(
                "callout.version",
                "warning",
                "the callout is 0.0.1, and this tdk",
            )],
        ),
        case(
            "another program in its place",
            "mv $callout /usr/sbin/real; printf '#!/bin/sh\\necho hello\\n' >$callout; \
                   chmod +x $callout",
            "mv /usr/sbin/real $callout",
            wrong(&[("callout.version", "wrong", "it says 'hello'")], &[]),
        ),
        case(
            "a program that hangs in its place",
            "mv $callout /usr/sbin/real; printf '#!/bin/sh\\nsleep 60\\n' >$callout; \
                   chmod +x $callout",
            "mv /usr/sbin/real $callout",
            wrong(&[("callout.version", "wrong", "no answer within 5 s")], &[]),
        ),
        case(
            "a callout that fails",
            "mv $callout /usr/sbin/real\n\
                   printf '#!/bin/sh\\n[ \"$1\" = --version ] && exec /usr/sbin/real --version\\n' \
                   >$callout; chmod +x $callout",
            "mv /usr/sbin/real $callout",
            vec![("request", "wrong", "nobody answers")],
        ),
        case(
            "a callout that derives otherwise",
            "mv $callout /usr/sbin/real; echo 'realm = \"x\"' >/etc/other.toml\n\
                   printf '#!/bin/sh\\nexec /usr/sbin/real --config /etc/other.toml \"$@\"\\n' \
                   >$callout; chmod +x $callout",
            "mv /usr/sbin/real $callout",
            vec![("request", "wrong", "another than by hand")],
        ),
    ]
}

pub(super) fn callout_config() -> Vec<Case> {
    let config = |seen| {
        let dependent = [&["tpm.device", "tpm.access"], &ANSWERS[..]].concat();
        wrong(&[("callout.config", "wrong", seen)], &dependent)
    };
    vec![
        case(
            "a configuration",
            "mkdir /etc/tdk; printf 'realm = \"blue\"\\n' >/etc/tdk/config.toml",
            "rm -r /etc/tdk",
            vec![(
                "callout.config",
                "ok",
                "/etc/tdk/config.toml: device:/dev/tpmrm0, 10 s, a realm of 4 bytes",
            )],
        ),
        case(
            "a configuration that the line names",
            "printf 'deadline_seconds = 7\\n' >/etc/other.toml; cp $line /tmp\n\
                   sed -i 's|key.tpm2_derived |&--config /etc/other.toml |' $line",
            "cp /tmp/tpm2-derived.conf $line",
            vec![(
                "callout.config",
                "ok",
                "/etc/other.toml: device:/dev/tpmrm0, 7 s",
            )],
        ),
        case(
            "a configuration that is wrong",
            "mkdir /etc/tdk; echo tctii = 1 >/etc/tdk/config.toml",
            "rm -r /etc/tdk",
            config("/etc/tdk/config.toml:1:1: unknown field `tctii`"),
        ),
        case(
            "a configuration that everybody can write",
            "mkdir /etc/tdk; touch /etc/tdk/config.toml; chmod 666 /etc/tdk/config.toml",
            "rm -r /etc/tdk",
            config("others than root could have written it"),
        ),
        case(
            "a configuration that everybody can replace",
            "mkdir /etc/tdk; touch /etc/tdk/config.toml; chmod 777 /etc/tdk",
            "rm -r /etc/tdk",
            {
                let seen = "others than root can write /etc/tdk (mode 0777)";
                let mut changes = config(seen);
                changes.push(("callout.policy", "wrong", seen));
                changes
            },
        ),
        case(
            "a policy",
            "mkdir -p /etc/tdk/policy.d; echo 'default = \"deny\"' >/etc/tdk/policy.toml\n\
                   printf '[[rule]]\\naction = \"allow\"\\n' >/etc/tdk/policy.d/1.toml",
            "rm -r /etc/tdk",
            vec![(
                "callout.policy",
                "ok",
                "1 rule in 2 files, and by default: no key",
            )],
        ),
        case(
            "a policy that is wrong",
            "mkdir /etc/tdk; echo 'default = 1' >/etc/tdk/policy.toml",
            "rm -r /etc/tdk",
            wrong(
                &[("callout.policy", "wrong", "/etc/tdk/policy.toml:1:11: ")],
                &[],
            ),
        ),
    ]
}
