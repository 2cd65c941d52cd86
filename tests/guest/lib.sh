# shellcheck shell=bash
# What the cases share. A case runs as root in a guest of its own, which is gone afterwards: it need not clean up.

set -uo pipefail
PATIENCE_SECONDS=90
exec 3>/dev/ttyS1

holdfast() { "$HOLDFAST_BINARY" "$@"; }

# check TITLE COMMAND...: a step of the case, which the command has to pass.
check() {
    local title=$1
    shift
    # In this shell: what a step sets is there for the next ones.
    if "$@" >/run/output 2>&1; then
        printf 'ok %s (at %s s)\n' "$title" "$SECONDS" >&3
    else
        printf 'not ok %s: %s: %s\n' "$title" "$*" "$(tail -n 5 /run/output | tr '\n' ' ')" >&3
        return 1
    fi
}

# need TITLE COMMAND...: a step without which the others make no sense.
need() { check "$@" || exit 1; }

# refused COMMAND...: passes if the command fails.
refused() { ! "$@"; }

# wait_for COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + PATIENCE_SECONDS)) output
    until output=$("$@" 2>&1); do
        if [ "$SECONDS" -ge "$end" ]; then
            printf '%s\n' "$output"
            return 1
        fi
        sleep 0.2
    done
}

# start_server ARGUMENT...: and waits until it listens. kill_server ends it as a crash would.
start_server() {
    export HOLDFAST_DATA=/data
    mkdir -p /data
    "$HOLDFAST_BINARY" serve --reactors 1 "$@" >>/run/server.log 2>&1 &
    server=$!
    wait_for holdfast volume list
}

kill_server() {
    kill -KILL "$server" && wait "$server" 2>/dev/null
    [ ! -d "/proc/$server" ]
}

# is_clean DISK DIRECTORY: unmounts a file system and passes if it is whole.
is_clean() { umount "$2" && e2fsck -fn "$1"; }

iqn() { holdfast volume show "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["iqn"])'; }

# url VOLUME: of its logical unit.
url() { echo "iscsi://127.0.0.1:3260/$(iqn "$1")/0"; }

# nvme_interrupts: how many the queues of NVMe disks have raised, but those for administration.
nvme_interrupts() { awk '/nvme[0-9]q[1-9]/ { for (i = 2; i <= 3; i++) sum += $i } END { print sum + 0 }' /proc/interrupts; }

# start_initiator: the daemons that a host with iSCSI disks runs.
start_initiator() {
    echo "InitiatorName=iqn.2024-01.test:first" >/etc/iscsi/initiatorname.iscsi
    hostname guest
    /lib/systemd/systemd-udevd --daemon
    iscsid
    multipathd
    wait_for pgrep -x iscsid
}

# disks: the SCSI disks that there are, one a line.
disks() { find /sys/block -name 'sd*' -printf '/dev/%f\n' | sort; }

# disk_count COUNT: passes once there are as many, ready for use.
disk_count() {
    local disk
    [ "$(disks | wc -l)" = "$1" ] || return
    for disk in $(disks); do [ -b "$disk" ] && blockdev --getsize64 "$disk" || return; done
}

# two_initiators VOLUME: the kernel logs in as two initiators, whose disks are then in $first and $other.
two_initiators() {
    local target
    target=$(iqn "$1")
    iscsiadm -m iface -o new -I other && iscsiadm -m iface -o update -I other -n iface.initiatorname -v iqn.2024-01.test:other || return
    log_in() { iscsiadm -m node -T "$target" -p 127.0.0.1:3260 -I "$1" -o new && iscsiadm -m node -T "$target" -I "$1" --login; }
    log_in default && wait_for disk_count 1 || return
    first=$(disks)
    log_in other && wait_for disk_count 2 || return
    other=$(disks | grep -vx "$first")
}

# write_on DISK: writes its first MiB all the time, each time another byte everywhere, until it may not. Of what
# a pipe gives in pieces, dd would write shorter ones through the page cache, and hear of no error.
write_on() {
    local byte=0
    while :; do
        byte=$((byte % 255 + 1))
        head -c 1048576 /dev/zero | tr '\0' "\\$(printf %03o $byte)" |
            dd of="$1" bs=1M iflag=fullblock oflag=direct status=none || return 0
        : >/run/written
    done
}
