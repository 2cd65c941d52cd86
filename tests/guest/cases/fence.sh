# Two initiators of one kernel on one volume: what a preempted one has in flight is over once PREEMPT AND ABORT
# has been answered, as the kernel's own commands see it.
. "$GUEST/lib.sh"

need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create shared --backend ram --size 64MiB
need "two initiators log in" two_initiators shared

persist() { sg_persist --no-inquiry "$@"; }
check "both register" persist --out --register --param-sark=a "$first" &&
    check "with keys of their own" persist --out --register --param-sark=b "$other"
check "the first one reserves (write exclusive, registrants only)" \
    persist --out --reserve --param-rk=a --prout-type=5 "$first"
holder() { persist --in --read-reservation "$other" | grep -q "Key=0x$1"; }
check "the other one sees who holds" holder a

write_on "$other" >/dev/null 2>&1 &
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
