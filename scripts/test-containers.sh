#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# test-containers.sh [TEST]: the TPM tests against swtpm in containers. By the Docker that
# answers; where none does and this may (root, on Debian), by one that is installed,
# started for it alone, and ended. What can't be done is said; with CI=true it is an error.
#
# On the image of tests/containers/image/Dockerfile, if Debian's can be had from a
# registry, or else on one with this machine's swtpm and nothing else. With CI=true the
# first is put on a Debian that is made here, and the second has to run, too: containers
# begin and end, and the keys are right.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
export DOCKER_CLI_HINTS=false

context=tests/containers/image
label=tpm-derived-keys.tests
# Where a daemon of our own has what it needs while it runs: what one that was killed has
# left there, the next knows to clean up.
run=/run/tdk-containers

not_run() {
    if [ "${CI:-}" = true ]; then
        echo "error: not run: TPMs in containers ($1)" >&2
        exit 1
    fi
    echo "not run: TPMs in containers ($1)"
    exit 0
}

# A daemon may be gone, or hang, and have left its socket.
answers() {
    command -v docker >/dev/null && timeout 5 docker version >/dev/null 2>&1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/tdk-containers.XXXXXX")
# What the tests call their containers' owner: this process. Those that are killed leave
# theirs; those of earlier runs that were are removed by the tests.
TDK_CONTAINERS_OWNER=$$:$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)
export TDK_CONTAINERS_OWNER
dockerd=
service=

left() {
    timeout 60 docker ps --all --quiet --filter "label=$label=$TDK_CONTAINERS_OWNER"
}

clean_up() {
    trap - EXIT
    if answers; then
        for container in $(left); do
            timeout 60 docker rm --force --volumes "$container" >/dev/null || true
        done
    fi
    [ -z "$service" ] || systemctl stop docker.socket docker.service || true
    if [ -n "$dockerd" ]; then
        kill "$dockerd" 2>/dev/null || true
        wait "$dockerd" 2>/dev/null || true
        remove_bridge
        umount "$run"/exec/netns/* 2>/dev/null || true
        rm -rf "$run/exec" "$run/daemon.json" || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# The daemon's network, unless that was there before.
remove_bridge() {
    [ -e "$run/bridge" ] || return 0
    ip link delete docker0 2>/dev/null || true
    rm "$run/bridge"
}

# Whether the daemon of a script that was killed has not ended yet.
still_runs() {
    pid=$(cat "$run/pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]
}

# A daemon of our own, for this machine alone: it changes neither its firewall nor its
# routing, and keeps its images in the cache.
start_dockerd() {
    [ "$(id -u)" = 0 ] || not_run "no Docker answers, and only root can start one"
    before=$(command -v dockerd || true)
    CI=false scripts/deps.sh containers ||
        not_run "no Docker answers, and it could not be installed"
    # With systemd, the package has started one.
    if answers; then
        [ -n "$before" ] || service=started
        return 0
    fi
    data=${XDG_CACHE_HOME:-$HOME/.cache}/tpm-derived-keys/docker
    mkdir -p -m 700 "$run"
    mkdir -p "$data"
    exec 9>"$run/lock"
    flock -n 9 || not_run "another run has a Docker of its own"
    for _ in $(seq 60); do
        still_runs || break
        sleep 1
    done
    # An old network would answer in the place of new containers.
    remove_bridge
    ip link show docker0 >/dev/null 2>&1 || : >"$run/bridge"
    echo '{}' >"$run/daemon.json"
    export DOCKER_HOST="unix://$run/docker.sock"
    echo "test-containers: no Docker answers; starting one for these tests"
    # A Ctrl-C is for the tests; it is still needed then. Without this script it is not.
    setsid setpriv --pdeathsig TERM dockerd --config-file "$run/daemon.json" \
        --data-root "$data" --exec-root "$run/exec" --pidfile "$run/pid" \
        --host "$DOCKER_HOST" --ip 127.0.0.1 \
        --iptables=false --ip-forward=false --ip-masq=false >"$work/log" 2>&1 9>&- &
    dockerd=$!
    # Generous: it takes some seconds.
    for _ in $(seq 120); do
        ! answers || return 0
        kill -0 "$dockerd" 2>/dev/null || break
        sleep 1
    done
    tail -n 5 "$work/log" >&2
    not_run "a Docker was started, but does not answer"
}

# Older and newer clients build alike, and containers that build have this machine's
# network, as what the daemon has needs a firewall.
build() {
    timeout 600 docker build --quiet --network host \
        ${proxy:+--build-arg "http_proxy=$proxy"} "$@" >/dev/null 2>"$work/build"
}
must_build() {
    build "$@" || {
        cat "$work/build" >&2
        exit 1
    }
}
# As apt has it here.
proxy=${http_proxy:-}
if command -v apt-config >/dev/null; then
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
fi

build_scratch() {
    swtpm=$(command -v swtpm) || not_run "swtpm is missing: make deps"
    root=$work/root
    install -D "$swtpm" "$root/usr/bin/swtpm"
    ldd "$swtpm" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$root$library"
    done
    must_build --tag tdk-swtpm:scratch --file "$context/Dockerfile.scratch" "$root"
}

# Debian as of now, and once only: what is built on it has its packages of today.
build_on_bootstrapped() {
    base=tdk-debian:bookworm
    if ! docker image inspect "$base" >/dev/null 2>&1; then
        echo "test-containers: making a Debian to build on"
        mmdebstrap --quiet --variant=apt --dpkgopt=force-unsafe-io \
            ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
            bookworm "$work/debian.tar" "${DEBIAN_MIRROR:-http://deb.debian.org}/debian"
        docker import "$work/debian.tar" "$base" >/dev/null
        rm "$work/debian.tar"
    fi
    must_build --tag tdk-swtpm:debian --build-arg "BASE=$base" "$context"
}

if [ -n "${DOCKER_HOST:-}" ]; then
    answers || not_run "no Docker answers at $DOCKER_HOST"
else
    answers || start_dockerd
fi
if [ -z "${DOCKER_HOST:-}" ]; then
    # For tests, which know of no contexts.
    DOCKER_HOST=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
    export DOCKER_HOST
fi
case $DOCKER_HOST in
unix://*) ;;
*) not_run "the Docker at $DOCKER_HOST may be another machine's, and tests share files with theirs" ;;
esac

if [ "${CI:-}" = true ]; then
    build_on_bootstrapped
    build_scratch
    images="debian scratch"
elif build --tag tdk-swtpm:debian "$context"; then
    images=debian
else
    echo "test-containers: Debian's image can't be had; taking this machine's swtpm alone:"
    tail -n 1 "$work/build"
    build_scratch
    images=scratch
fi

# More at once than there are processors: containers are waited for most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}
run_tests() {
    cargo test --locked --package tdk-containers --lib --tests -- "$@" 2>&1 9>&- ||
        echo $? >"$work/status"
}

. scripts/locks.sh
status=0
for image in $images; do
    echo "== swtpm in containers of the image tdk-swtpm:$image"
    export TDK_CONTAINERS_IMAGE="tdk-swtpm:$image"
    if [ $# -gt 0 ] || [ "$image" = "${images%% *}" ]; then
        run_tests "$@"
    else
        # The TPM is the same: once everything was tried, this is enough.
        run_tests aborted:: ends:: ports:: ready:: golden_keys:: a_restart
    fi
done | tee "$work/tests"
[ ! -e "$work/status" ] || status=$(cat "$work/status")
remove_new_locks

containers=$(left)
if [ -n "$containers" ]; then
    echo "test-containers: tests have left containers: $containers" >&2
    status=1
fi
scripts/count.sh "$work/tests"
exit "$status"
