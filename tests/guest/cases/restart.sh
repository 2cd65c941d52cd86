# The server dies under a mounted file system and comes back; the kernel logs in again and goes on.
. "$GUEST/lib.sh"

need "the server starts" start_server
need "the initiator's daemons start" start_initiator
need "a volume" holdfast volume create disk --size 128MiB
target=$(iqn disk)
log_in() { iscsiadm -m node -T "$target" -p 127.0.0.1:3260 -o new && iscsiadm -m node -T "$target" --login; }
need "the initiator logs in" log_in
need "the disk is there" wait_for disk_count 1
disk=$(disks)
need "a file system is made" mkfs.ext4 -q -F "$disk"
mkdir /mnt/disk
need "and mounted" mount "$disk" /mnt/disk

# Copies are made and flushed one after the other; what is noted is on the disk.
head -c 3000000 /dev/urandom >/run/content
copies() {
    local number
    for number in $(seq 16); do
        cp /run/content "/mnt/disk/$number" && sync "/mnt/disk/$number" && echo "$number" >>/run/copies || return
    done
}
copies >/run/copies.log 2>&1 &
copying=$!
copied() { [ "$(wc -l </run/copies)" -ge "$1" ]; }
need "files are copied" wait_for copied 3
before=$(wc -l </run/copies)
need "the server is killed" kill_server
need "and starts again" start_server
check "copying goes on" wait_for copied $((before < 14 ? before + 2 : 16))
check "no copy failed" wait "$copying"
echo 3 >/proc/sys/vm/drop_caches
all_same() { for number in $(seq 16); do cmp /run/content "/mnt/disk/$number" || return; done; }
check "all copies are whole" all_same
check "the file system is whole" is_clean "$disk" /mnt/disk
check "the initiator logs out" iscsiadm -m node --logout
need "the server is killed at last" kill_server
check "the catalogue is whole" holdfast repair --check
