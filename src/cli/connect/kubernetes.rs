//! Manifests for Kubernetes: a PersistentVolume of the built-in iSCSI plugin, and the Secret that it
//! logs in with.

use super::plan::{Path, Plan};
use super::quote::yaml;

const KIBIBYTE: u64 = 1024;

pub(super) fn manifest(plan: &Plan, namespace: &str, made_by: &str) -> String {
    // Names of Kubernetes have no underscores (RFC 1123).
    let name = plan.volume.replace('_', "-");
    let secret = format!("{name}-chap");
    let portals: Vec<_> = plan.paths.iter().map(Path::portal).collect();
    let mut text = format!(
        "# Volume {volume} of group {group} as a PersistentVolume: kubectl apply -f FILE, as often as you\n\
         # like. Made by: {made_by}\n\
         #\n\
         # The nodes' own open-iscsi logs in, with one session for each portal; what a login asks for comes\n\
         # from /etc/iscsi/iscsid.conf of each node. Digests belong there before the first pod starts:\n\
         #   node.conn[0].iscsi.HeaderDigest = {digests}\n\
         #   node.conn[0].iscsi.DataDigest = {digests}\n",
        volume = plan.volume,
        group = plan.group,
        digests = plan.digests(),
    );
    if let Some(chap) = &plan.chap {
        text.push_str(&secret_manifest(
            &secret,
            namespace,
            &chap.user,
            chap.mutual.as_deref(),
        ));
    }
    text.push_str(&format!(
        "---\n\
         apiVersion: v1\n\
         kind: PersistentVolume\n\
         metadata:\n\
        \x20 name: {name}\n\
        \x20 labels:\n\
        \x20   app.kubernetes.io/managed-by: holdfast\n\
         spec:\n\
        \x20 capacity:\n\
        \x20   storage: {capacity}\n\
        \x20 # The volume is shared; the plugin knows no mode for a block device of several writers.\n\
        \x20 volumeMode: Block\n\
        \x20 accessModes:\n\
        \x20   - {mode}\n\
        \x20 persistentVolumeReclaimPolicy: Retain\n\
        \x20 storageClassName: \"\"\n\
        \x20 iscsi:\n\
        \x20   targetPortal: {first}\n",
        name = yaml(&name),
        capacity = yaml(&format!("{}Ki", plan.size_bytes / KIBIBYTE)),
        mode = if plan.read_only { "ReadOnlyMany" } else { "ReadWriteOnce" },
        first = yaml(portals.first().map_or("", String::as_str)),
    ));
    if portals.len() > 1 {
        text.push_str("    portals:\n");
        for portal in &portals[1..] {
            text.push_str(&format!("      - {}\n", yaml(portal)));
        }
    }
    text.push_str(&format!(
        "    iqn: {}\n    lun: 0\n    readOnly: {}\n",
        yaml(&plan.iqn),
        plan.read_only
    ));
    if let [only] = plan.initiators.as_slice() {
        text.push_str(&format!("    initiatorName: {}\n", yaml(only)));
    }
    if plan.chap.is_some() {
        // Discovery shows targets that ask for CHAP to those alone who have proved themselves.
        text.push_str(&format!(
            "    chapAuthDiscovery: true\n\
            \x20   chapAuthSession: true\n\
            \x20   secretRef:\n\
            \x20     name: {}\n\
            \x20     namespace: {}\n",
            yaml(&secret),
            yaml(namespace)
        ));
    }
    text
}

/// The Secret without its passwords: a manifest is no place for them, and one that has none leaves those
/// that are there when it is applied again.
fn secret_manifest(name: &str, namespace: &str, user: &str, mutual: Option<&str>) -> String {
    let mut pairs = vec![
        ("discovery.sendtargets.auth.username", user),
        ("node.session.auth.username", user),
    ];
    if let Some(mutual) = mutual {
        pairs.push(("discovery.sendtargets.auth.username_in", mutual));
        pairs.push(("node.session.auth.username_in", mutual));
    }
    let mut text = "#\n\
         # The passwords are not here. Put each from a file of mode 0600 into the Secret, once:\n\
         #   secret() { printf '{\"data\":{\"%s\":\"' \"$1\"; base64 -w0 <\"$2\"; printf '\"}}'; }\n"
        .to_owned();
    for (key, _) in &pairs {
        let key = key.replace("username", "password");
        text.push_str(&format!(
            "#   secret {key} FILE |\n\
             #     kubectl -n {namespace} patch secret {name} --type merge --patch-file /dev/stdin\n"
        ));
    }
    text.push_str(&format!(
        "---\n\
         apiVersion: v1\n\
         kind: Secret\n\
         metadata:\n\
        \x20 name: {}\n\
        \x20 namespace: {}\n\
         type: kubernetes.io/iscsi-chap\n\
         stringData:\n",
        yaml(name),
        yaml(namespace)
    ));
    for (key, value) in pairs {
        text.push_str(&format!("  {key}: {}\n", yaml(value)));
    }
    text
}
