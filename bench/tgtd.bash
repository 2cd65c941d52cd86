# Debian's tgtd, started to be measured beside Holdfast. Sourced by bench/run.

tgtd_id='' tgtd_directory='' tgtd_control=''

tgtd_install() {
    command -v tgtd >/dev/null && command -v tgtadm >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
        echo "tgtd is missing: install it with: apt-get install tgt" >&2
        return 1
    }
    echo "installing tgt" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends tgt >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends tgt; } >/dev/null 2>&1
}

tgtd_admin() { tgtadm --control-port "$tgtd_control" --lld iscsi "$@"; }

# tgtd_start DIRECTORY: starts tgtd on a free port of the loopback and the first core, with a logical unit
# that throws everything away and one of 256 MiB of tmpfs, and sets tgtd_null and tgtd_ram to their URLs.
tgtd_start() {
    local iqn=iqn.2024-01.internal.holdfast:tgtd port tries
    tgtd_directory=$1
    mkdir -p "$tgtd_directory"
    : >"$tgtd_directory/log"
    tgtd_install >>"$tgtd_directory/log" 2>&1 || return
    [ "$(id -u)" = 0 ] || { echo "tgtd wants to be root" >>"$tgtd_directory/log"; return 1; }
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    # It names its control socket by that; the port is nobody else's, so the name is not either.
    tgtd_control=$((port % 32768))
    mkdir -p /var/run/tgtd
    taskset -c 0 tgtd --foreground --control-port "$tgtd_control" \
        --iscsi "portal=127.0.0.1:$port" >>"$tgtd_directory/log" 2>&1 &
    tgtd_id=$!
    for ((tries = 0; tries < 50; tries++)); do
        tgtd_admin --mode target --op new --tid 1 --targetname "$iqn" >>"$tgtd_directory/log" 2>&1 && break
        kill -0 "$tgtd_id" 2>/dev/null || return
        sleep 0.1
    done
    tgtd_image=$(mktemp /dev/shm/holdfast-tgtd-XXXXXX)
    head -c 256M /dev/zero >"$tgtd_image"
    {
        tgtd_admin --mode logicalunit --op new --tid 1 --lun 1 --bstype null --backing-store "$tgtd_image" &&
            tgtd_admin --mode logicalunit --op new --tid 1 --lun 2 --bstype rdwr --backing-store "$tgtd_image" &&
            tgtd_admin --mode target --op bind --tid 1 --initiator-address ALL
    } >>"$tgtd_directory/log" 2>&1 || return
    # shellcheck disable=SC2034 # bench/run reads them
    tgtd_null=iscsi://127.0.0.1:$port/$iqn/1 tgtd_ram=iscsi://127.0.0.1:$port/$iqn/2
}

# It takes no notice of SIGTERM: it ends when it is told to and has no target any more.
tgtd_stop() {
    local tries
    rm -f "${tgtd_image:-}"
    [ -n "$tgtd_id" ] || return 0
    tgtd_admin --mode target --op delete --force --tid 1 >/dev/null 2>&1 || true
    tgtd_admin --mode system --op delete --force >/dev/null 2>&1 || true
    for ((tries = 0; tries < 20; tries++)); do
        kill -0 "$tgtd_id" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$tgtd_id" 2>/dev/null || true
    wait "$tgtd_id" 2>/dev/null || true
    rm -f "/var/run/tgtd/socket.$tgtd_control" "/var/run/tgtd/socket.$tgtd_control.lock"
    tgtd_id=
}
