// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be wrong with a machine, and which lines of `tdk doctor` tell of it.

mod callout;

use callout::{callout, callout_config};
use tdk_tests::doctor::{ANSWERS, Change, depend};

/// All of it. The last one can't be mended.
pub(super) fn all() -> Vec<Case> {
    [
        kernel(),
        request_key(),
        request_key_config(),
        our_line(),
        other_lines(),
        callout(),
        callout_config(),
        tpm(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One thing that is wrong, or at least other than usual.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Shell commands that make it so, and that make it good again.
    pub(super) make: &'static str,
    pub(super) mend: &'static str,
    pub(super) changes: Vec<Change<'static>>,
}

fn case(
    name: &'static str,
    make: &'static str,
    mend: &'static str,
    changes: Vec<Change<'static>>,
) -> Case {
    Case {
        name,
        make,
        mend,
        changes,
    }
}

/// Changes, with lines that depend on the first of them: these, and the request.
fn wrong(changes: &[Change<'static>], dependent: &[&'static str]) -> Vec<Change<'static>> {
    let on = changes[0].0;
    let dependent = [dependent, &["request"]].concat();
    [changes, &depend(&dependent, on)].concat()
}

fn kernel() -> Vec<Case> {
    vec![
        case(
            "no /proc",
            "cat >/tmp/bare <<'END'\numount -l /proc\nexec \"$@\"\nEND",
            "",
            wrong(
                &[
                    ("kernel.keyrings", "wrong", "/proc/keys"),
                    ("kernel.user-namespaces", "not checked", "/proc/self"),
                ],
                &["kernel.key-types", "kernel.quota"],
            ),
        ),
        case(
            "a user's quota",
            "as_user keyctl add user a b @u >/dev/null; echo 3 >/proc/sys/kernel/keys/maxkeys",
            "echo 200 >/proc/sys/kernel/keys/maxkeys",
            vec![("kernel.quota", "warning", "uid 1000 has 3 of 3 keys")],
        ),
        case(
            "root's quota",
            // Near to it, but with room for this request.
            "for i in $(seq 150); do keyctl add user filler$i x @u; done >/dev/null\n\
                   keys=$(sed -n 's/^ *0: *[0-9]* [0-9/]* \\([0-9]*\\).*/\\1/p' /proc/key-users)\n\
                   echo $((keys + 10)) >/proc/sys/kernel/keys/root_maxkeys",
            "echo 1000000 >/proc/sys/kernel/keys/root_maxkeys; keyctl clear @u",
            vec![("kernel.quota", "warning", "uid 0 has ")],
        ),
        case(
            "no user namespaces",
            "echo 0 >/proc/sys/user/max_user_namespaces",
            "echo 1000 >/proc/sys/user/max_user_namespaces",
            vec![("kernel.user-namespaces", "ok", "can't make them")],
        ),
        case(
            "no unprivileged user namespaces",
            "echo 0 >/proc/sys/kernel/unprivileged_userns_clone",
            "echo 1 >/proc/sys/kernel/unprivileged_userns_clone",
            vec![("kernel.user-namespaces", "ok", "can't make them")],
        ),
    ]
}

fn request_key() -> Vec<Case> {
    let program = |seen| wrong(&[("request-key.program", "wrong", seen)], &[]);
    vec![
        case(
            "no request-key",
            "mv /sbin/request-key /tmp",
            "mv /tmp/request-key /sbin",
            program("/sbin/request-key is missing"),
        ),
        case(
            "request-key is not executable",
            "chmod -x /sbin/request-key",
            "chmod +x /sbin/request-key",
            program("is not executable"),
        ),
        case(
            "request-key is another user's",
            "chown 1000 /sbin/request-key",
            "chown 0 /sbin/request-key",
            program("/sbin/request-key belongs to uid 1000"),
        ),
        case(
            "everybody can replace request-key",
            "chmod 777 /sbin",
            "chmod 755 /sbin",
            program("others than root can write /sbin (mode 0777)"),
        ),
    ]
}

fn request_key_config() -> Vec<Case> {
    let config = |seen| wrong(&[("request-key.config", "wrong", seen)], &[]);
    // What is read no further than that has no lines.
    let unread = |seen| {
        let lines = ["request-key.line", "request-key.other-lines"];
        let callout = ["callout.program", "callout.version"];
        let changes = wrong(&[("request-key.config", "wrong", seen)], &lines);
        [changes, depend(&callout, "request-key.line")].concat()
    };
    vec![
        case(
            "everybody can write a line",
            "chmod 666 $rules",
            "chmod 644 $rules",
            config("others than root can write /etc/request-key.conf (mode 0666)"),
        ),
        case(
            "everybody can add lines",
            "chmod 777 /etc/request-key.d",
            "chmod 755 /etc/request-key.d",
            config("others than root can write /etc/request-key.d (mode 0777)"),
        ),
        case(
            "a line that breaks off",
            "cp $rules /tmp; echo create user >>$rules",
            "cp /tmp/request-key.conf $rules",
            unread("breaks off, and request-key gives up"),
        ),
        case(
            "a line without newline",
            "cp $rules /tmp; printf 'create user debug:y * /bin/x' >>$rules",
            "cp /tmp/request-key.conf $rules",
            vec![("request-key.config", "warning", "drops its last character")],
        ),
        case(
            "configuration that can't be read",
            "mv $rules /tmp; mkdir $rules",
            "rmdir $rules; mv /tmp/request-key.conf $rules",
            {
                let mut changes = wrong(
                    &[("request-key.config", "wrong", "Is a directory")],
                    &["request-key.line", "request-key.other-lines"],
                );
                let rest = ["callout.program", "callout.version"];
                changes.extend(depend(&rest, "request-key.line"));
                changes
            },
        ),
    ]
}

fn our_line() -> Vec<Case> {
    let no_line = |seen| {
        let changes = [
            ("request-key.line", "wrong", seen),
            ("request-key.config", "ok", "1 file "),
        ];
        let callout = ["callout.program", "callout.version"];
        wrong(
            &changes,
            &[&["request-key.other-lines"], &callout[..]].concat(),
        )
    };
    vec![
        case(
            "no line",
            "mv $line /tmp",
            "mv /tmp/tpm2-derived.conf $line",
            no_line("no line of request-key's configuration runs"),
        ),
        case(
            "a line behind a link",
            "mv $line /etc/line; ln -s /etc/line $line",
            "mv /etc/line $line",
            no_line("tpm2-derived.conf is no regular file"),
        ),
        case(
            "a line with other arguments",
            "cp $line /tmp; sed -i 's/ %S//' $line",
            "cp /tmp/tpm2-derived.conf $line",
            wrong(
                &[("request-key.line", "wrong", "passes '%k %t %d %c %u %g' to")],
                &[],
            ),
        ),
        case(
            "a line for one type",
            "cp $line /tmp; sed -i 's/create\t\\*/create\tuser/' $line",
            "cp /tmp/tpm2-derived.conf $line",
            vec![(
                "request-key.line",
                "warning",
                "leaves out keys of type logon",
            )],
        ),
    ]
}

fn other_lines() -> Vec<Case> {
    let others = |seen| wrong(&[("request-key.other-lines", "wrong", seen)], &[]);
    vec![
        case(
            "a line for all user keys",
            "cp $rules /tmp; echo 'create user * * /bin/false' >>$rules",
            "cp /tmp/request-key.conf $rules",
            others("(create user * *) is chosen before"),
        ),
        case(
            "a line for all keys of a user",
            "echo 'create * tpm2:derived:disk* * /bin/false' >/etc/request-key.d/a.conf",
            "rm /etc/request-key.d/a.conf",
            {
                let mut changes = others("for the user key tpm2:derived:disk, and runs /bin/false");
                changes.push(("request-key.config", "ok", "3 files"));
                changes
            },
        ),
        case(
            "another line of ours",
            "echo \"create * tpm2:derived:disk * $callout $arguments\" >/etc/request-key.d/a.conf",
            "rm /etc/request-key.d/a.conf",
            vec![
                ("request-key.config", "ok", "3 files"),
                (
                    "request-key.other-lines",
                    "note",
                    "for the user key tpm2:derived:disk",
                ),
            ],
        ),
    ]
}

fn tpm() -> Vec<Case> {
    let root = &ANSWERS[5..];
    vec![
        case(
            "everybody can wait in line",
            "chmod 755 /run/tdk",
            "chmod 700 /run/tdk",
            wrong(
                &[("tpm.lock", "wrong", "others than root can enter /run/tdk")],
                &[],
            ),
        ),
        case(
            "a lock that is none",
            "mkdir /run/tdk/x.lock",
            "rmdir /run/tdk/x.lock",
            wrong(&[("tpm.lock", "wrong", "/run/tdk/x.lock is no file")], &[]),
        ),
        case(
            "everybody can use the TPM",
            "chmod 666 /dev/tpmrm0",
            "chmod 600 /dev/tpmrm0",
            vec![(
                "tpm.access",
                "wrong",
                "everybody can use /dev/tpmrm0 (mode 0666)",
            )],
        ),
        case(
            "everybody can use the TPM by its other device",
            "chmod 666 /dev/tpm0",
            "chmod 600 /dev/tpm0",
            vec![(
                "tpm.access",
                "wrong",
                "everybody can use /dev/tpm0 (mode 0666)",
            )],
        ),
        case(
            "a group can use the TPM",
            "chgrp 1000 /dev/tpmrm0; chmod 660 /dev/tpmrm0",
            "chgrp 0 /dev/tpmrm0; chmod 600 /dev/tpmrm0",
            vec![("tpm.access", "note", "besides root, group user can use it")],
        ),
        case(
            "no resource manager",
            "mv /dev/tpmrm0 /dev/hidden",
            "mv /dev/hidden /dev/tpmrm0",
            vec![
                ("callout.config", "ok", "by default: device:/dev/tpm0"),
                (
                    "tpm.device",
                    "warning",
                    "its resource manager /dev/tpmrm0 is not",
                ),
            ],
        ),
        case(
            "past the resource manager, with what somebody left",
            "mkdir /etc/tdk; echo 'tcti = \"device:/dev/tpm0\"' >/etc/tdk/config.toml\n\
                   tpm 8002 '00000131 40000001 00000009 40000009 0000 00 0000 0004 0000 \
                   0000 0023 0008 000b 00040472 0000 0005 000b 0013 \
                   74706d2d646572697665642d6b657973207631 0000 00000000'",
            "rm -r /etc/tdk; tpm 8001 '00000165 80000000'",
            vec![
                ("callout.config", "ok", "device:/dev/tpm0"),
                ("tpm.device", "warning", "one user at a time"),
                ("tpm.leftovers", "warning", "0x80000000"),
            ],
        ),
        case(
            "no TPM",
            "mv /dev/tpmrm0 /dev/hidden; mv /dev/tpm0 /dev/hidden0",
            "mv /dev/hidden /dev/tpmrm0; mv /dev/hidden0 /dev/tpm0",
            wrong(
                &[("tpm.device", "wrong", "there is no /dev/tpmrm0")],
                &[&["tpm.access"], &ANSWERS[..]].concat(),
            ),
        ),
        case(
            "lockout",
            "tpm 8002 '0000013a 4000000a 00000009 40000009 0000 00 0000 00000000 \
                   000003e8 000003e8'",
            "tpm 8002 '0000013a 4000000a 00000009 40000009 0000 00 0000 00000003 \
                   000003e8 000003e8'",
            vec![("tpm.lockout", "note", "harmless here")],
        ),
        case(
            "the owner has a password",
            "tpm 8002 '00000129 40000001 00000009 40000009 0000 00 0000 0003 616263'",
            "tpm 8002 '00000129 40000001 0000000c 40000009 0000 00 0003 616263 0000'",
            wrong(&[("tpm.owner-auth", "wrong", "has a password")], root),
        ),
        // Until the machine is switched off.
        case(
            "the owner hierarchy is off",
            "tpm 8002 '00000121 40000001 00000009 40000009 0000 00 0000 40000001 00'",
            "",
            wrong(&[("tpm.hierarchy", "wrong", "hierarchy is off")], root),
        ),
    ]
}
