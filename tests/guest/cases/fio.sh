# bench/fio against the disk of the kernel's own session, and the page that is made of its results.
. "$GUEST/lib.sh"

bench=$GUEST/../../bench/fio/run
need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create measured --backend ram --size 64MiB
log_in() { iscsiadm -m node -T "$(iqn measured)" -p 127.0.0.1:3260 -o new && iscsiadm -m node -T "$(iqn measured)" --login; }
need "the kernel logs in" log_in
need "its disk is there" wait_for disk_count 1
disk=$(disks)

cd /run || exit
check "reads are measured" "$bench" --time 1s --ramp 0s --output first.json "$disk" 128k-read
check "no write is without leave" refused "$bench" --time 1s --ramp 0s "$disk" 4k-randwrite
check "reads and writes are, with leave" "$bench" --time 1s --ramp 0s --output second.json --destroy-everything-on-it "$disk"
check "a page is made of both" holdfast bench report before=first.json after=second.json --output page.html
check "which names them" grep -q "after" page.html
mkfs.ext4 -q "$disk"
check "a file system is not written over" refused "$bench" --time 1s --ramp 0s --destroy-everything-on-it "$disk"
