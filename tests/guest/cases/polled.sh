# A disk with queues for polling: completions are polled for, and no interrupt tells of them.
. "$GUEST/lib.sh"

disk=/dev/nvme0n1
need "there is such a disk" test "$(cat /sys/block/nvme0n1/queue/io_poll)" = 1
need "the server starts" start_server --profile latency
need "a volume on the disk" holdfast volume create polled --backend block --path "$disk"
check "its route says that it is polled" grep -q "route .*IOPOLL" <(holdfast volume show polled)
interrupts() { awk '/nvme0q[1-9]/ { for (i = 2; i <= 3; i++) sum += $i } END { print sum + 0 }' /proc/interrupts; }
requests() { awk '{ print $1 + $5 }' /sys/block/nvme0n1/stat; }
before=$(interrupts) requests_before=$(requests)
check "what is written is read again" holdfast bench "iscsi://127.0.0.1:3260/$(iqn polled)/0" \
    --rw randrw --bs 4k:4,64k:1 --depth 8 --verify --time 5s --yield
check "the disk had requests" [ "$(($(requests) - requests_before))" -gt 100 ]
check "and told of none by an interrupt" [ "$(interrupts)" = "$before" ]
# The kernel splits them, and polls for none of the parts.
check "what is longer than the disk takes is read again, too" holdfast bench \
    "iscsi://127.0.0.1:3260/$(iqn polled)/0" --rw randrw --bs 1m --depth 4 --verify --time 5s --yield
