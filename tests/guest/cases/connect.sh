# The script that `holdfast connect --client linux` prints, carried out by open-iscsi, multipath and the kernel.
. "$GUEST/lib.sh"

need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create disk --size 128MiB
holdfast connect disk --client linux --sessions 2 --portal 127.0.0.1:3260 >/run/connect.sh
need "the script connects" bash /run/connect.sh
need "there are two disks" wait_for disk_count 2
check "the second run finds everything done" grep -q "all 2 sessions are there" <(bash /run/connect.sh)

one_map() { [ "$(multipath -l -v1 | wc -l)" = 1 ] && [ -b "/dev/mapper/$(multipath -l -v1)" ]; }
need "multipath makes one device of both" wait_for one_map
device=/dev/mapper/$(multipath -l -v1)
both_paths() { [ "$(multipath -ll | grep -c 'active ready running')" = 2 ]; }
check "both paths are active" wait_for both_paths
check "holdfast connect --check has nothing against it" holdfast connect disk --check

check "a file system is made" mkfs.ext4 -q -F "$device"
mkdir /mnt/disk
check "and mounted" mount "$device" /mnt/disk
head -c 20000000 /dev/urandom >/run/content
copy() { cp /run/content /mnt/disk/ && sync && echo 3 >/proc/sys/vm/drop_caches; }
check "files are written" copy
check "and are the same when they are read again" cmp /run/content /mnt/disk/content
check "discard is taken (UNMAP)" fstrim /mnt/disk
check "and spares what is in use" cmp /run/content /mnt/disk/content
check "the file system is whole" is_clean "$device" /mnt/disk

check "the volume grows" holdfast volume resize disk --size 256MiB
grown() {
    iscsiadm -m session --rescan
    for disk in $(disks); do [ "$(blockdev --getsize64 "$disk")" = $((256 << 20)) ] || return; done
}
check "and the kernel's disks with it" wait_for grown
