set -euf
umask 077

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

usage() {
    say "usage: ${0##*/} [--secret-file FILE] [--mutual-secret-file FILE]"
    say "Connects this host to $target, as often as it is run. Without a file, a CHAP secret is asked for."
    say "HOLDFAST_ROOT: where /etc and /var/lib begin, if not at /."
}

# --- CHAP: no secret is printed, and none becomes an argument of a program ------------------------

# read_secret FILE WHAT: sets $secret to the file's first line, or asks for it.
read_secret() {
    secret=
    if [ -n "$1" ]; then
        [ -r "$1" ] || die "can't read $1"
        [ -z "$(find -L "$1" -prune -perm /077)" ] || die "others may read $1: chmod 600 $1"
        IFS= read -r secret <"$1" || [ -n "$secret" ] || die "$1 is empty"
    elif [ -t 0 ]; then
        terminal=$(stty -g)
        trap 'stty "$terminal"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '%s: ' "$2" >&2
        stty -echo
        IFS= read -r secret || :
        stty "$terminal"
        trap - EXIT HUP INT TERM
        printf '\n' >&2
    else
        die "there is no terminal to ask for the $2 on; put it into a file of mode 0600 and name that with ${3}"
    fi
    [ "${#secret}" -ge 12 ] || die "the $2 has fewer than 12 bytes (RFC 7143 section 9.2.1)"
}

# records ADDRESS PORT: the files in which open-iscsi keeps this node's record.
records() {
    for directory in "$root/etc/iscsi/nodes" "$root/var/lib/iscsi/nodes"; do
        [ -d "$directory/$target" ] || continue
        find "$directory/$target" -type f -path "$directory/$target/$1,$2*"
    done
}

# store_secret ADDRESS PORT KEY SECRET: iscsiadm would take the secret as an argument, where every
# user of this host could read it; so it goes into the record directly.
store_secret() {
    [ -n "$(records "$1" "$2")" ] || die "open-iscsi keeps the record of $target in none of the usual places"
    records "$1" "$2" | while IFS= read -r record; do
        written=
        # printf is the shell's own: it starts no program.
        while IFS= read -r line; do
            case $line in
                "$3 = "*) continue ;;
                '# END RECORD'*)
                    printf '%s = %s\n' "$3" "$4"
                    written=yes
                    ;;
            esac
            printf '%s\n' "$line"
        done <"$record" >"$work/record"
        [ -n "$written" ] || printf '%s = %s\n' "$3" "$4" >>"$work/record"
        cmp -s "$work/record" "$record" || cat "$work/record" >"$record"
        chmod 600 "$record"
    done
}

# --- One portal -----------------------------------------------------------------------------------

# set_value PORTAL KEY VALUE: on the record, before anybody logs in with it.
set_value() {
    iscsiadm -m node -T "$target" -p "$1" -o update -n "$2" -v "$3"
}

# sessions ADDRESS:PORT: how many this host has with the target there.
sessions() {
    { iscsiadm -m session 2>/dev/null || :; } |
        awk -v portal="$1," -v target="$target" \
            'index($3, portal) == 1 && $4 == target { count++ } END { print count + 0 }'
}

prepare() { # PORTAL ADDRESS PORT SESSIONS
    # Discovery is not needed, and would make records of everything else there.
    iscsiadm -m node -T "$target" -p "$1" >/dev/null 2>&1 ||
        iscsiadm -m node -T "$target" -p "$1" -o new >/dev/null
    set_value "$1" node.conn[0].iscsi.HeaderDigest "$digests"
    set_value "$1" node.conn[0].iscsi.DataDigest "$digests"
    set_value "$1" node.session.iscsi.InitialR2T No
    set_value "$1" node.session.iscsi.ImmediateData Yes
    set_value "$1" node.session.iscsi.MaxBurstLength "$length"
    set_value "$1" node.session.iscsi.FirstBurstLength "$length"
    set_value "$1" node.conn[0].iscsi.MaxRecvDataSegmentLength "$length"
    set_value "$1" node.session.nr_sessions "$4"
    if [ "$multipath" = yes ]; then
        # A path that is gone is given up soon, so that another one takes its commands.
        set_value "$1" node.session.timeo.replacement_timeout 15
    fi
    if [ -n "$chap_user" ]; then
        set_value "$1" node.session.auth.authmethod CHAP
        set_value "$1" node.session.auth.username "$chap_user"
        store_secret "$2" "$3" node.session.auth.password "$chap_secret"
        if [ -n "$chap_mutual" ]; then
            set_value "$1" node.session.auth.username_in "$chap_mutual"
            store_secret "$2" "$3" node.session.auth.password_in "$mutual_secret"
        fi
    fi
    # At every boot.
    set_value "$1" node.startup automatic
    set_value "$1" node.conn[0].startup automatic
}

log_in() { # PORTAL SESSIONS
    present=$(sessions "$1")
    if [ "$present" -ge "$2" ]; then
        say "$1: all $2 sessions are there"
        return
    fi
    # It makes those that are missing.
    iscsiadm -m node -T "$target" -p "$1" --login >/dev/null
    present=$(sessions "$1")
    [ "$present" -ge "$2" ] || die "$1: $present of $2 sessions; the server's log says why"
    say "$1: $present sessions"
}

# wait_for_disk DEVICE: the kernel looks for disks after the login has been answered.
wait_for_disk() {
    tries=0
    until [ -e "$1" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 10 ]; then
            say "there is no $1 yet"
            return
        fi
        sleep 1
    done
}

# --- Multipath ------------------------------------------------------------------------------------

configure_multipath() {
    command -v multipath >/dev/null ||
        die "several sessions need multipath: install multipath-tools, or device-mapper-multipath"
    directory=$root/etc/multipath/conf.d
    printf '%s\n' "$multipath_configuration" >"$work/multipath"
    if ! cmp -s "$work/multipath" "$directory/$multipath_file"; then
        mkdir -p "$directory"
        (umask 022 && cat "$work/multipath" >"$directory/$multipath_file")
        say "wrote $directory/$multipath_file"
        multipathd reconfigure >/dev/null 2>&1 || :
    fi
}

# The daemons that log in and watch paths at boot; their names differ between distributions.
start_at_boot() {
    command -v systemctl >/dev/null || return 0
    for unit in iscsid.service open-iscsi.service iscsi.service multipathd.service; do
        [ "$unit" != multipathd.service ] || [ "$multipath" = yes ] || continue
        if systemctl cat "$unit" >/dev/null 2>&1; then
            systemctl enable --now "$unit" >/dev/null 2>&1 || say "could not enable $unit"
        fi
    done
}

# --- Main -----------------------------------------------------------------------------------------

root=${HOLDFAST_ROOT:-}
secret_file=
mutual_secret_file=
while [ $# -gt 0 ]; do
    case $1 in
        --secret-file | --mutual-secret-file)
            [ $# -gt 1 ] || die "$1 needs a file"
            if [ "$1" = --secret-file ]; then secret_file=$2; else mutual_secret_file=$2; fi
            shift 2
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) die "unknown argument $1; --help says what there is" ;;
    esac
done

command -v iscsiadm >/dev/null || die "there is no iscsiadm: install open-iscsi, or iscsi-initiator-utils"
if [ -n "$initiators" ] && [ -r "$root/etc/iscsi/initiatorname.iscsi" ]; then
    own=$(sed -n 's/^InitiatorName=//p' "$root/etc/iscsi/initiatorname.iscsi")
    case " $initiators " in
        *" $own "*) ;;
        *) die "this host is called $own, and the volume's group lets in: $initiators" ;;
    esac
fi
chap_secret=
mutual_secret=
if [ -n "$chap_user" ]; then
    read_secret "$secret_file" "CHAP secret of $chap_user" --secret-file
    chap_secret=$secret
    if [ -n "$chap_mutual" ]; then
        read_secret "$mutual_secret_file" "CHAP secret of the target, $chap_mutual" --mutual-secret-file
        mutual_secret=$secret
        [ "$mutual_secret" != "$chap_secret" ] || die "the two directions need two secrets (RFC 7143 section 9.2.1)"
    fi
    secret=
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
start_at_boot
[ "$multipath" = no ] || configure_multipath
for entry in $portals; do
    host=${entry%%|*}
    rest=${entry#*|}
    port=${rest%%|*}
    wanted=${rest#*|}
    address=$host
    case $host in
        *:*) ;;
        *[!0-9.]*)
            address=$(getent ahosts "$host" | awk '{ print $1; exit }')
            [ -n "$address" ] || die "$host is no address that this host knows"
            ;;
    esac
    case $address in
        *:*) portal="[$address]:$port" ;;
        *) portal=$address:$port ;;
    esac
    prepare "$portal" "$address" "$port" "$wanted"
    log_in "$portal" "$wanted"
    device=$root/dev/disk/by-path/ip-$portal-iscsi-$target-lun-0
    wait_for_disk "$device"
    if [ "$multipath" = yes ]; then
        # Where only known devices are put together (find_multipaths), this makes it known. It takes no
        # other name than the kernel's own.
        if command -v udevadm >/dev/null; then udevadm settle --timeout=10 || :; fi
        [ ! -e "$device" ] || multipath -a "$(readlink -f "$device")" >/dev/null 2>&1 || :
    fi
done
if [ "$multipath" = yes ]; then
    multipath -r >/dev/null 2>&1 || :
    say "connected: multipath -ll shows the device"
else
    say "connected: $device"
fi
