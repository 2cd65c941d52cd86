# Pacemaker's own fence agent, with two of the kernel's initiators as nodes: what it does to one that has failed
# lasts, also over a crash of the server.
. "$GUEST/lib.sh"

need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create shared --size 64MiB
need "two nodes log in" two_initiators shared

# Where the agent keeps the key of the node that it runs on. Here it runs on both.
on_node() { echo "$1" >/run/cluster.key; }
watchdog() { /usr/share/cluster/fence_scsi_check; }
fence() { fence_scsi --aptpl -k "$1" -d "$2" -o "$3"; }
check "the first node joins" fence aaaa "$first" on
check "the other node joins" fence bbbb "$other" on
check "it is in" fence bbbb "$other" status
check "its watchdog is content" watchdog
on_node aaaa

write_on "$other" >/dev/null 2>&1 &
writer=$!
need "the other node writes" wait_for test -e /run/written
check "the first node fences it" fence bbbb "$first" off
contents() { dd if="$first" bs=1M count=1 iflag=direct status=none | sha256sum; }
at_once=$(contents)
gone() { ! kill -0 "$writer"; }
check "its writes fail" wait_for gone
check "nothing of them came after the answer" [ "$at_once" = "$(contents)" ]
fenced() { fence_scsi -k bbbb -d "$first" -o status; [ $? = 2 ]; }
check "it is out" fenced
on_node bbbb
told() { watchdog; [ $? = 2 ]; }
check "its watchdog would reset it" told
on_node aaaa
check "nobody fences himself" refused fence aaaa "$first" off

kill_server
need "the server starts again after a crash" start_server
check "the first node is still in" wait_for fence_scsi -k aaaa -d "$first" -o status
check "and writes" dd if=/dev/zero of="$first" bs=4k count=1 oflag=direct
check "the other one may not" refused dd if=/dev/zero of="$other" bs=4k count=1 oflag=direct
check "until it joins again" fence bbbb "$other" on
check "then it may" dd if=/dev/zero of="$other" bs=4k count=1 oflag=direct
