set -euf

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# read_secret FILE WHAT: sets $secret to the file's first line, or asks for it.
read_secret() {
    secret=
    if [ -n "$1" ]; then
        IFS= read -r secret <"$1" || [ -n "$secret" ] || die "$1 is empty"
    else
        [ -t 0 ] || die "there is no terminal to ask for the $2 on; name a file with $3"
        printf '%s: ' "$2" >&2
        stty -echo
        IFS= read -r secret || :
        stty echo
        printf '\n' >&2
    fi
    [ "${#secret}" -ge 12 ] || die "the $2 has fewer than 12 bytes (RFC 7143 section 9.2.1)"
}

secret_file=
mutual_secret_file=
while [ $# -gt 0 ]; do
    case $1 in
        --secret-file | --mutual-secret-file)
            [ $# -gt 1 ] || die "$1 needs a file"
            if [ "$1" = --secret-file ]; then secret_file=$2; else mutual_secret_file=$2; fi
            shift 2
            ;;
        *) die "unknown argument $1; there are --secret-file FILE and --mutual-secret-file FILE" ;;
    esac
done

esxcli iscsi software get | grep -q true || esxcli iscsi software set --enabled=true
adapter=$(esxcli iscsi adapter list | awk '$2 == "iscsi_vmk" { print $1; exit }')
[ -n "$adapter" ] || die "there is no software iSCSI adapter"

# Round robin over all paths, one command each, before the first path is claimed.
if ! esxcli storage nmp satp rule list | grep -F "$vendor" | grep -qF "$product"; then
    esxcli storage nmp satp rule add --satp=VMW_SATP_DEFAULT_AA --vendor="$vendor" --model="$product" \
        --psp=VMW_PSP_RR --psp-option=iops=1 --description="$vendor $product"
fi

if [ -n "$chap_user" ]; then
    read_secret "$secret_file" "CHAP secret of $chap_user" --secret-file
    chap_secret=$secret
    if [ -n "$chap_mutual" ]; then
        read_secret "$mutual_secret_file" "CHAP secret of the target, $chap_mutual" --mutual-secret-file
        mutual_secret=$secret
    fi
fi
for address in $portals; do
    # Static discovery: nothing else that is there becomes a target of this host.
    esxcli iscsi adapter discovery statictarget list | grep -F "$address" | grep -qF "$target" ||
        esxcli iscsi adapter discovery statictarget add --adapter="$adapter" --address="$address" --name="$target"
    for key in HeaderDigest DataDigest; do
        esxcli iscsi adapter target portal param set --adapter="$adapter" --address="$address" \
            --name="$target" --key="$key" --value="$digests"
    done
    if [ -n "$chap_user" ]; then
        # esxcli takes a secret as an argument and in no other way. Nobody but root has a shell here.
        esxcli iscsi adapter target portal auth chap set --adapter="$adapter" --address="$address" \
            --name="$target" --direction=uni --level=required --authname="$chap_user" --secret="$chap_secret"
        [ -z "$chap_mutual" ] ||
            esxcli iscsi adapter target portal auth chap set --adapter="$adapter" --address="$address" \
                --name="$target" --direction=mutual --level=required --authname="$chap_mutual" \
                --secret="$mutual_secret"
    fi
done
# A session for each portal and each bound VMkernel port; static targets come back at every boot.
esxcli storage core adapter rescan --adapter="$adapter"
sessions=$(esxcli iscsi session list --adapter="$adapter" --name="$target" | grep -c "ISID:" || :)
[ "$sessions" -gt 0 ] || die "no session; the server's log says why"
say "connected: $sessions sessions; esxcli storage core path list shows the paths"
