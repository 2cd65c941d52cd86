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
# says WORDS ARGUMENT...: the script refuses these arguments, in such words.
says() {
    local words=$1
    shift
    refused "$bench" --time 1s --ramp 0s "$@" 2>said && grep -q "$words" said
}
check "no write is without leave" says "needs --destroy-everything-on-it" "$disk" 4k-randwrite
check "reads and writes are, with leave" "$bench" --time 1s --ramp 0s --output second.json --destroy-everything-on-it "$disk"
check "a page is made of both" holdfast bench report quartz=first.json basalt=second.json --output page.html
check "which has the first one's results" grep -q quartz page.html
check "and the other one's" grep -q basalt page.html
mkfs.ext4 -q "$disk"
check "a file system is not written over" says "ext4" --destroy-everything-on-it "$disk"
check "it is whole" e2fsck -fn "$disk"
