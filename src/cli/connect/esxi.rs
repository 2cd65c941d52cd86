//! A shell script for the software initiator of ESXi.

use super::plan::{Path, Plan};
use super::quote::shell;

/// What is the same for every volume.
const BODY: &str = include_str!("esxi.sh");

pub(super) fn script(plan: &Plan, made_by: &str) -> String {
    let chap = plan.chap.as_ref();
    let portals: Vec<_> = plan.paths.iter().map(Path::portal).collect();
    let user = chap.map_or("", |chap| &chap.user);
    let mutual = chap.and_then(|chap| chap.mutual.as_deref());
    let settings = [
        ("target", plan.iqn.as_str()),
        ("portals", &portals.join(" ")),
        (
            "digests",
            if plan.enforce_crc {
                "required"
            } else {
                "preferred"
            },
        ),
        ("vendor", &plan.vendor),
        ("product", &plan.product),
        ("chap_user", user),
        ("chap_mutual", mutual.unwrap_or_default()),
    ];
    let mut text = format!(
        "#!/bin/sh\n\
         # Connects an ESXi host to volume {} of group {}, at every boot again.\n\
         # Run it on the host, as often as you like: it does what is not done yet.\n\
         # Made by: {made_by}\n\n\
         # shellcheck disable=SC2016 # a value is what it says\n",
        plan.volume, plan.group
    );
    for (name, value) in settings {
        text.push_str(&format!("{name}={}\n", shell(value)));
    }
    text.push('\n');
    text.push_str(BODY);
    text
}
