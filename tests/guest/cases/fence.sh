# Two initiators of one kernel on one volume: what a preempted one has in flight is over once PREEMPT AND ABORT
# has been answered, as the kernel's own commands see it.
. "$GUEST/lib.sh"

need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create shared --backend ram --size 64MiB
target=$(iqn shared)
iscsiadm -m iface -o new -I other >/dev/null
iscsiadm -m iface -o update -I other -n iface.initiatorname -v iqn.2024-01.test:other >/dev/null
log_in() { iscsiadm -m node -T "$target" -p 127.0.0.1:3260 -I "$1" -o new && iscsiadm -m node -T "$target" -I "$1" --login; }
need "the first initiator logs in" log_in default
need "its disk is there" wait_for disk_count 1
first=$(disks)
need "the other one logs in" log_in other
need "its disk is there, too" wait_for disk_count 2
other=$(disks | grep -vx "$first")

persist() { sg_persist --no-inquiry "$@"; }
check "both register" persist --out --register --param-sark=a "$first" &&
    check "with keys of their own" persist --out --register --param-sark=b "$other"
check "the first one reserves (write exclusive, registrants only)" \
    persist --out --reserve --param-rk=a --prout-type=5 "$first"
holder() { persist --in --read-reservation "$other" | grep -q "Key=0x$1"; }
check "the other one sees who holds" holder a

# The other one writes all the time, each time another byte everywhere.
write_on() {
    local byte=0
    while :; do
        byte=$((byte % 255 + 1))
        head -c 1048576 /dev/zero | tr '\0' "\\$(printf %03o $byte)" |
            dd of="$other" bs=1M oflag=direct status=none || exit 0
        : >/run/written
    done
}
write_on >/dev/null 2>&1 &
writer=$!
need "the other one writes" wait_for test -e /run/written
preempt() { persist --out --preempt-abort --param-rk=a --param-sark=b --prout-type=5 "$first"; }
need "the first one preempts it" preempt
contents() { dd if="$first" bs=1M count=1 iflag=direct status=none | sha256sum; }
at_once=$(contents)
gone() { ! kill -0 "$writer"; }
check "the other one's writes fail" wait_for gone
check "nothing of them came after the answer" [ "$at_once" = "$(contents)" ]
check "it may not write any more" refused dd if=/dev/zero of="$other" bs=4k count=1 oflag=direct
check "the first one may" dd if=/dev/zero of="$first" bs=4k count=1 oflag=direct
keys() { [ "$(persist --in --read-keys "$first" | grep -c '0x[ab]$')" = "$1" ]; }
check "only the first one's key is left" keys 1
