#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# deps.sh [guest|demo|bench|bench-rsa|kernel|kernel-check|containers]: installs what building and testing needs and is missing;
# with `guest`, also what virtual machines need, fetches their kernels and makes
# their Debian; with `demo`, only what the demonstration in virtual machines needs, and never by sudo;
# with `bench`, also what requests are compared with; with `bench-rsa`, what generators of RSA
# keys need; with `kernel`, also what building kernels and booting them needs; with
# `kernel-check`, also what looks for errors in their sources; with `containers`, also Docker.
# Fails, naming it, if it may not or can't.
set -eu
cd "$(dirname "$0")/.."

guest=
demo=
bench=
bench_rsa=
kernel=
check=
containers=
case "${1:-}" in
'') ;;
guest) guest=yes ;;
demo) guest=yes demo=yes ;;
bench) bench=yes ;;
bench-rsa) bench_rsa=yes ;;
kernel) kernel=yes ;;
kernel-check) kernel=yes check=yes ;;
containers) containers=yes ;;
*)
    echo "usage: deps.sh [guest|demo|bench|bench-rsa|kernel|kernel-check|containers]" >&2
    exit 2
    ;;
esac

rust=1.95
missing=

# Reads lines of a command and the Debian package that has it.
look_for() {
    while read -r command package; do
        command -v "$command" >/dev/null || [ -x "/usr/sbin/$command" ] ||
            missing="$missing $package"
    done
}
look_for <<END
cc gcc
keyctl keyutils
request-key keyutils
swtpm swtpm
openssl openssl
END
[ -n "$demo" ] || look_for <<END
cryptsetup cryptsetup-bin
ssh-keygen openssh-client
python3 python3
tpm2_createprimary tpm2-tools
c++ g++
perl perl-base
setpriv util-linux
unshare util-linux
END
[ -z "$guest$kernel" ] || look_for <<END
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
ldd libc-bin
xz xz-utils
END
[ -z "$guest" ] || [ -n "$demo" ] || look_for <<END
fsverity fsverity
mmdebstrap mmdebstrap
mke2fs e2fsprogs
dmsetup dmsetup
rpm rpm
rpmbuild rpm
END
[ -z "$kernel" ] || look_for <<END
dmsetup dmsetup
fsverity fsverity
mke2fs e2fsprogs
make make
flex flex
bison bison
bc bc
patch patch
ccache ccache
END
[ -z "$check" ] || look_for <<END
sparse sparse
spatch coccinelle
ocaml ocaml-nox
perl perl
git git
END
[ -z "$containers" ] || look_for <<END
dockerd docker.io
docker docker.io
ip iproute2
mmdebstrap mmdebstrap
END
# What the kernel's check of licences is written with.
[ -z "$check" ] || /usr/bin/python3 -c 'import git, ply' 2>/dev/null ||
    missing="$missing python3 python3-git python3-ply"
# The kernel's tools are linked with it.
[ -z "$kernel" ] || [ -e /usr/include/gelf.h ] || missing="$missing libelf-dev"
# What requests are compared with.
if [ -n "$bench" ]; then
    look_for <<END
clevis clevis
clevis-decrypt-tpm2 clevis-tpm2
END
    /usr/bin/python3 -c 'import tpm2_pytss' 2>/dev/null ||
        missing="$missing python3 python3-tpm2-pytss"
fi
# The generators that are compared.
if [ -n "$bench_rsa" ]; then
    [ -e /usr/include/gmp.h ] || [ -e "/usr/include/$(cc -print-multiarch)/gmp.h" ] ||
        missing="$missing libgmp-dev"
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
fi
# How others than root make a file system with root's files.
[ -z "$guest" ] || [ -n "$demo" ] || [ "$(id -u)" = 0 ] || look_for <<END
newuidmap uidmap
END
# Part of no command: what a static program is linked with.
case $(cc -print-file-name=libc.a 2>/dev/null) in
/*) ;;
*) missing="$missing libc6-dev" ;;
esac
# What tdk is linked with.
command -v pkg-config >/dev/null && pkg-config --exists tss2-esys tss2-tctildr ||
    missing="$missing libtss2-dev pkg-config"
# Installed, tpm2-abrmd takes the machine's TPM for itself: for tests only where
# none may be left out.
if [ "${CI:-}" = true ]; then
    look_for <<END
dbus-daemon dbus-daemon
dbus-send dbus-bin
tpm2-abrmd tpm2-abrmd libtss2-tcti-tabrmd0
END
fi
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')

install() {
    if ! command -v apt-get >/dev/null; then
        echo "deps: install these (Debian's names): $*" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" != 0 ]; then
        if [ -n "$demo" ] || ! command -v sudo >/dev/null; then
            echo "deps: run as root: apt-get install $*" >&2
            exit 1
        fi
        as_root=sudo
    fi
    echo "deps: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    $as_root apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}
# shellcheck disable=SC2086
[ -z "${missing% }" ] || install $missing

enough() {
    command -v cargo >/dev/null &&
        have=$(cargo --version | cut -d' ' -f2) &&
        [ "$(printf '%s\n%s\n' "$rust" "$have" | sort -V | head -n 1)" = "$rust" ]
}
if ! enough; then
    # Debian 12's own is too old.
    if ! command -v rustup >/dev/null; then
        echo "deps: Rust $rust or later is missing; installing it with rustup (https://rustup.rs)"
        command -v curl >/dev/null || install curl ca-certificates
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs || {
            echo "deps: can't fetch rustup: install Rust $rust or later" >&2
            exit 1
        }
        sh "$installer" -y -q --profile minimal
        rm -f "$installer"
        PATH=$HOME/.cargo/bin:$PATH
    else
        echo "deps: Rust $rust or later is missing; updating rustup's stable toolchain"
        rustup toolchain install --profile minimal stable
    fi
    enough || {
        echo "deps: Rust $rust or later is missing: 'rustup default stable' may help" >&2
        exit 1
    }
fi

[ -z "$guest" ] || scripts/kernels.sh
[ -z "$guest" ] || [ -n "$demo" ] || scripts/debian.sh
