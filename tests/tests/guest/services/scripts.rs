// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the machine has and does besides the units of the page.

use std::path::{Path, PathBuf};
use std::process::Command;

use tdk_tests::programs;

/// Units that the page only speaks of.
pub(super) const UNITS: [(&str, &str); 4] = [
    // Before everything else that systemd starts.
    (
        "/etc/systemd/system/early.service",
        "\
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/usr/bin/tdk request --key-id early --what 32 --identity path
StandardOutput=file:/run/early
StandardError=file:/run/early
",
    ),
    (
        "/etc/systemd/system/sysinit.target.d/early.conf",
        "[Unit]\nWants=early.service\n",
    ),
    // user@.service, but for PAM and its session.
    (
        "/etc/systemd/system/manager.service",
        "\
[Service]
Type=notify
User=user
KeyringMode=inherit
Delegate=yes
Slice=user-1000.slice
Environment=XDG_RUNTIME_DIR=/run/user/1000
ExecStart=/lib/systemd/systemd --user
",
    ),
    (
        "/etc/systemd/system/dynamic.service",
        "\
[Service]
Type=oneshot
DynamicUser=yes
ExecStart=/usr/bin/tdk request --key-id dynamic --what 32 --identity id
",
    ),
];

/// The programs, directories and the user's manager that the units need, and how
/// a user's unit is started.
pub(super) const PREPARE: &str = r#"
for name in db web; do
    printf '#!/bin/sh\nexec sha256sum "$2"\n' >/usr/local/bin/$name
    chmod 755 /usr/local/bin/$name
done
mkdir -p -m 1777 /run/rows
mkdir -p /srv/copied /srv/bound/usr /srv/bound/lib /srv/bound/lib64
mkdir /srv/bound/proc /srv/bound/sys /srv/bound/dev /srv/bound/run /srv/bound/tmp
mount -o ro /dev/vdb /mnt && cp -a /mnt/. /srv/copied && umount /mnt

mkdir -p /run/user/1000 && chown user /run/user/1000 && chmod 700 /run/user/1000
systemctl start manager
users() {
    setpriv --reuid 1000 --regid 1000 --clear-groups \
        env XDG_RUNTIME_DIR=/run/user/1000 systemctl --user "$@"
}
"#;

/// What the units wrote.
pub(super) const SHOW: &str = r"
for file in /run/rows/*; do echo == ${file##*/}; cat $file; done
echo == early
cat /run/early
echo == devices
systemctl list-units --plain --no-legend --all 'dev-tpm*'
";

/// The credential comes from a tdk that gets no key, and then nothing starts.
pub(super) const NO_KEY: &str = r#"
mkdir -p /etc/tdk
echo "tcti = 'device:/dev/null'" >/etc/tdk/config.toml
echo == no key
systemctl start web 2>/dev/null && echo "started without key"
systemctl show -p Result web
rm /etc/tdk/config.toml
"#;

/// Another account has the number that was the unit's.
pub(super) const TAKEN: &str = r#"
systemctl start dynamic && systemctl start dynamic
uid=$(journalctl -q -o cat -t key.tpm2_derived |
    sed -n 's/.* uid="\([0-9]*\)".* id="dynamic".*/\1/p' | tail -n 1)
echo "taken:x:$uid:$uid::/:/bin/false" >>/etc/passwd
systemctl start dynamic
"#;

/// When root's quota is used up.
pub(super) const QUOTA: &str = r#"
most=/proc/sys/kernel/keys/root_maxbytes
before=$(cat $most)
sed -n 's|^ *0: .* \([0-9]*\)/[0-9]*$|\1|p' /proc/key-users >$most
as_user() {
    setpriv --reuid 1000 --regid 1000 --clear-groups "$@"
}
echo == quota
as_user tdk request --key-id quota --what 32 --identity id 2>&1
as_user keyctl session - sh -c \
    'keyctl rdescribe $(keyctl request2 user tpm2:derived:quota "32 id" @s)' 2>/dev/null |
    cut -d';' -f1-3
echo $before >$most
"#;

/// Records in the journal: one of an asker that would like to be another, and one that
/// a user has written.
pub(super) const AUDIT: &str = r#"
id=$(printf 'audit\nTDK_DECISION=refused\n\033[2J.')
program=$(printf '/usr/local/bin/key\nTDK_UID=7\nctl')
cp /usr/bin/keyctl "$program"
keyctl session - sh -c '"$1" request2 user "tpm2:derived:$2" "32 id" @s' sh "$program" "$id" \
    >/dev/null 2>&1
as_user logger --journald <<'END'
MESSAGE_ID=44c08532c95746869f486110b79a8c2f
SYSLOG_IDENTIFIER=key.tpm2_derived
MESSAGE=key=1 decision=granted uid="0" id="audit-forged"
TDK_DECISION=granted
TDK_KEY_ID=audit-forged
END
journalctl --sync
echo == audit
journalctl -q -o cat _UID=0 SYSLOG_IDENTIFIER=key.tpm2_derived "TDK_KEY_ID=$id" \
    "TDK_EXE=$program" TDK_UID=0 TDK_DECISION=granted PRIORITY=6 \
    MESSAGE_ID=44c08532c95746869f486110b79a8c2f | cut -d' ' -f2
journalctl -q -o cat TDK_KEY_ID=audit-forged | cut -d' ' -f2
tdk log --key-id 'audit*' --since -1h --json 2>&1
tdk log --key-id 'audit*' --decision refused 2>/dev/null
"#;

/// A file system with tdk and what it is linked with, as a disk's image.
pub(super) fn image_with_tdk(directory: &Path) -> PathBuf {
    let image = directory.join("image");
    let script = r#"
        set -eu
        PATH=$PATH:/usr/sbin:/sbin
        for empty in proc sys dev run tmp var etc usr/bin; do mkdir -p "$1/$empty"; done
        touch "$1/etc/os-release" "$1/etc/machine-id" "$1/etc/resolv.conf"
        cp "$2" "$1/usr/bin/tdk"
        for library in $(ldd "$2" | grep -o '/[^ ]*'); do
            mkdir -p "$1/${library%/*}"
            cp -L "$library" "$1$library"
        done
        mke2fs -q -t ext4 -d "$1" "$3" 32M"#;
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&directory.join("tree"), &programs::tdk_file(), &image])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    image
}
