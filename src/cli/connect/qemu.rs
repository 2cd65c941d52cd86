//! A script that starts QEMU with the volume as a disk, by its own initiator (libiscsi) or by the host's.

use super::plan::Plan;
use super::quote::{qemu, shell};

pub(super) fn script(plan: &Plan, made_by: &str) -> Result<String, String> {
    if plan.enforce_crc {
        return Err(format!(
            "group {} refuses logins without data digests (enforce_crc), and the initiator of QEMU has \
             none; connect the host with --client linux and give QEMU the multipath device:\n{}",
            plan.group,
            passed_through("  ")
        ));
    }
    let Some(path) = plan.paths.first() else {
        return Err("no portal is known".to_owned());
    };
    if plan.chap.as_ref().is_some_and(|chap| chap.mutual.is_some()) {
        return Err("the initiator of QEMU knows no mutual CHAP; leave --mutual out".to_owned());
    }
    let volume = &plan.volume;
    let mut options = vec![
        "driver=iscsi".to_owned(),
        format!("node-name={volume}"),
        "transport=tcp".to_owned(),
        format!("portal={}", qemu(&path.portal())),
        format!("target={}", qemu(&plan.iqn)),
        "lun=0".to_owned(),
        "header-digest=crc32c-none".to_owned(),
        "cache.direct=on".to_owned(),
    ];
    if plan.read_only {
        options.push("read-only=on".to_owned());
    }
    if let [only] = plan.initiators.as_slice() {
        options.push(format!("initiator-name={}", qemu(only)));
    }
    let mut arguments = Vec::new();
    let mut secret = String::new();
    if let Some(chap) = &plan.chap {
        options.push(format!("user={}", qemu(&chap.user)));
        options.push(format!("password-secret={volume}-secret"));
        // QEMU reads the file by itself: the secret is in no argument.
        arguments.push(format!(
            "-object \"secret,id={volume}-secret,file=$secret_file\""
        ));
        secret = "secret_file=${HOLDFAST_SECRET_FILE:?names a file of mode 0600 with the CHAP secret, \
                  without a newline}\n\
                  case $secret_file in *,*) echo 'the name of the file must have no comma' >&2; exit 1 ;; esac\n"
            .to_owned();
    }
    arguments.push(format!("-blockdev {}", shell(&options.join(","))));
    arguments.push(format!(
        "-device {}",
        shell(&format!("virtio-scsi-pci,id={volume}-bus"))
    ));
    arguments.push(format!(
        "-device {}",
        shell(&format!("scsi-block,drive={volume},bus={volume}-bus.0"))
    ));
    Ok(format!(
        "#!/bin/sh\n\
         # Starts QEMU with volume {volume} of group {group} as a SCSI disk: sh FILE [ARGUMENT]...\n\
         # Made by: {made_by}\n\
         #\n\
         # The initiator is QEMU's own: one session, through one portal. Persistent reservations of the\n\
         # guest reach the target as they are, each guest is a nexus of its own, and no PR manager is\n\
         # needed; give each guest an initiator name of its own with --initiator.\n\
         #\n\
         # Where the host is connected instead (--client linux), with all sessions and multipath, guests\n\
         # share the host's nexus, and a PR manager has to pass their reservations on:\n\
         {passed}\n\
         # shellcheck disable=SC2016 # a value is what it says\n\
         set -eu\n\
         {secret}\
         exec \"${{QEMU:-qemu-system-x86_64}}\" \\\n    {arguments} \\\n    \"$@\"\n",
        group = plan.group,
        passed = passed_through("#   "),
        arguments = arguments.join(" \\\n    "),
    ))
}

/// What QEMU is given where the host is the initiator.
fn passed_through(margin: &str) -> String {
    [
        "-object pr-manager-helper,id=pr,path=/run/qemu-pr-helper.sock",
        "-blockdev driver=host_device,node-name=disk,filename=/dev/mapper/DEVICE,cache.direct=on,pr-manager=pr",
        "-device virtio-scsi-pci -device scsi-block,drive=disk",
    ]
    .map(|line| format!("{margin}{line}\n"))
    .concat()
}
