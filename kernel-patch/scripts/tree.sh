# SPDX-License-Identifier: GPL-2.0-only
# To be sourced by what builds kernels of $version: the source tree it builds
# them in, and how.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/kernel
mkdir -p "$cache/src" "$cache/built"

# One at a time: it is enough for any machine. The lock goes with this process.
exec 9>"$cache/.lock"
flock 9

# What a tree with a kernel built in it takes, and what is to be left of the
# machine's memory for the rest, in MiB.
tree_takes=3000
rest_takes=3000

# Whether that is there to be had in a file system in memory.
fits_in_memory() {
    [ -w /dev/shm ] || return
    room=$(df --output=avail --block-size=1M /dev/shm | tail -n 1)
    free=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo) / 1024))
    [ "$room" -ge $tree_takes ] && [ "$free" -ge $((tree_takes + rest_takes)) ]
}

# A new directory for what is thrown away again, with the tree in it.
if fits_in_memory; then
    work=$(mktemp -d /dev/shm/tdk-kernel.XXXXXX)
else
    work=$(mktemp -d "$cache/.work.XXXXXX")
fi
tree=$work/tree
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# Unpacks Debian's sources there.
unpack_sources() {
    mkdir "$tree"
    tar -C "$tree" --strip-components=1 --use-compress-program='xz -T0' \
        -xf "$cache/src/$version.tar.xz"
}

# If make(1) runs this: its variables, and where it builds, are not the kernel's. The
# selftests would be put into the root directory.
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES

compiler=gcc
if command -v ccache >/dev/null; then
    compiler="ccache gcc"
    export CCACHE_DIR="$cache/ccache"
    # Wherever the tree is, it is the same to ccache.
    export CCACHE_BASEDIR="$tree"
    # It need not be told what the preprocessor makes of a file, which takes a fifth
    # of the time: the compiler names all that it has read.
    export CCACHE_DEPEND=1
fi
kmake() {
    make -s -C "$tree" CC="$compiler" KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=tdk \
        KBUILD_BUILD_HOST=tdk "$@"
}

# configure FRAGMENT...: writes the tree's configuration, in which nothing else is
# that can be left out.
configure() {
    cat "$@" >"$work/all.config"
    kmake KCONFIG_ALLCONFIG="$work/all.config" allnoconfig
}
