# Reads and writes of an NVMe disk as its own commands: past the block layer, which does what they can't.
. "$GUEST/lib.sh"

tracing=/sys/kernel/tracing
mount -t tracefs none "$tracing"
# count EVENT [FILTER]: begins to count the kernel's events of that kind. counted EVENT: how many there were.
count() { echo "hist:keys=common_type${2:+ if $2}" >"$tracing/events/$1/trigger"; }
counted() { awk '/Hits:/ { print $2 }' "$tracing/events/$1/hist"; }
need "commands to disks are counted" count nvme/nvme_setup_cmd "qid != 0 && opcode < 3"
need "and what goes through the block layer" count block/block_bio_queue

need "the server starts" start_server --profile latency
need "a volume on the disk" holdfast volume create disk --backend block --path /dev/nvme0n1
as_commands() { grep -q "route .*IOPOLL.*, as NVMe commands" <(holdfast volume show "$1"); }
check "its route says that it takes commands" as_commands disk
interrupts=$(nvme_interrupts) commands=$(counted nvme/nvme_setup_cmd) bios=$(counted block/block_bio_queue)
check "what is written is read again" holdfast bench "$(url disk)" \
    --rw randrw --bs 4k:4,64k:1 --depth 8 --verify --time 5s --yield
check "the disk had commands" [ "$(($(counted nvme/nvme_setup_cmd) - commands))" -gt 100 ]
check "and the block layer none of them" [ "$(($(counted block/block_bio_queue) - bios))" -lt 5 ]
echo 'opcode == 1' >"$tracing/events/nvme/nvme_setup_cmd/filter"
echo 1 >"$tracing/events/nvme/nvme_setup_cmd/enable"
check "writes that are to be durable, too" holdfast bench "$(url disk)" --rw write --fua --io-count 20 --yield
echo 0 >"$tracing/events/nvme/nvme_setup_cmd/enable"
check "are told to be (Force Unit Access)" [ "$(grep -c 'ctrl=0x4000' "$tracing/trace")" = 20 ]
check "no interrupt has told of any" [ "$(nvme_interrupts)" = "$interrupts" ]
bios=$(counted block/block_bio_queue)
check "what is longer than the disk takes is read again" holdfast bench "$(url disk)" \
    --rw randrw --bs 1m --depth 4 --verify --time 5s --yield
check "through the block layer" [ "$(($(counted block/block_bio_queue) - bios))" -gt 10 ]

need "a volume on a disk with flaws" holdfast volume create flawed --backend block --path /dev/nvme1n1
at() { holdfast bench "$(url flawed)" --rw "$1" --offset "$2" --size 4KiB --bs 4k --depth 1 --io-count 1 --yield; }
check "a read that fails is tried again" at read 8MiB
check "so is a write" at write 16MiB
unreadable() { grep -q "MEDIUM ERROR" <(at read 24MiB 2>&1); }
check "what can't be read is a medium error" unreadable
check "and no reason to send no more commands" as_commands flawed

# Commands of a server that is gone may still be on their way, and would change what the next one writes.
kill_server
exec 4<>/dev/ng0n1
need "somebody's commands are on their way" flock --exclusive --nonblock 4
need "a server starts" start_server --profile latency
offline() { holdfast volume show disk | grep -q "ng0n1 is in use"; }
check "which does not serve the disk until they have ended" offline
kill_server
exec 4>&-
need "the next server starts" start_server --profile latency
check "and serves it, with commands" as_commands disk
