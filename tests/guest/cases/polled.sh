# A disk with queues for polling: completions are polled for, and no interrupt tells of them.
. "$GUEST/lib.sh"

disk=/dev/nvme0n1
need "there is such a disk" test "$(cat /sys/block/nvme0n1/queue/io_poll)" = 1
printf '[tuning]\nnvme_passthrough = false\n' >/run/holdfast.toml
need "the server starts" start_server --profile latency --config /run/holdfast.toml
need "a volume on the disk" holdfast volume create polled --backend block --path "$disk"
check "its route says that it is polled" grep -q "route .*IOPOLL.*KiB$" <(holdfast volume show polled)
requests() { awk '{ print $1 + $5 }' /sys/block/nvme0n1/stat; }
before=$(nvme_interrupts) requests_before=$(requests)
check "what is written is read again" holdfast bench "$(url polled)" \
    --rw randrw --bs 4k:4,64k:1 --depth 8 --verify --time 5s --yield
check "the disk had requests" [ "$(($(requests) - requests_before))" -gt 100 ]
check "and told of none by an interrupt" [ "$(nvme_interrupts)" = "$before" ]
# The kernel splits them, and polls for none of the parts.
check "what is longer than the disk takes is read again, too" holdfast bench "$(url polled)" \
    --rw randrw --bs 1m --depth 4 --verify --time 5s --yield
