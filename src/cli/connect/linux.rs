//! A shell script for Linux: open-iscsi, and multipath where there are several sessions.

use super::plan::{LENGTH_BYTES, Plan};
use super::quote::shell;

/// What is the same for every volume.
const BODY: &str = include_str!("linux.sh");

pub(super) fn script(plan: &Plan, made_by: &str) -> String {
    let Plan {
        volume, group, iqn, ..
    } = plan;
    let multipath = plan.sessions() > 1;
    let portals: Vec<_> = plan
        .paths
        .iter()
        .map(|path| format!("{}|{}|{}", path.host, path.port, path.sessions))
        .collect();
    let chap = plan.chap.as_ref();
    let user = chap.map_or("", |chap| &chap.user);
    let mutual = chap.and_then(|chap| chap.mutual.as_deref());
    let settings = [
        ("target", iqn.clone()),
        ("portals", portals.join(" ")),
        ("digests", plan.digests().to_owned()),
        ("length", LENGTH_BYTES.to_string()),
        ("chap_user", user.to_owned()),
        ("chap_mutual", mutual.unwrap_or_default().to_owned()),
        ("initiators", plan.initiators.join(" ")),
        ("multipath", if multipath { "yes" } else { "no" }.to_owned()),
        ("multipath_file", format!("{}.conf", device_name(plan))),
        ("multipath_configuration", multipath_configuration(plan)),
    ];
    let mut text = format!(
        "#!/bin/sh\n\
         # Connects a Linux host to volume {volume} of group {group}, at every boot again.\n\
         # Run it as root, as often as you like: it does what is not done yet.\n\
         # Made by: {made_by}\n\n\
         # shellcheck disable=SC2016 # a value is what it says\n\
         # ADDRESS|PORT|SESSIONS of each portal, and what the node records are to say.\n"
    );
    for (name, value) in settings {
        text.push_str(&format!("{name}={}\n", shell(&value)));
    }
    text.push('\n');
    text.push_str(BODY);
    text
}

/// All volumes with the same INQUIRY texts have one configuration.
fn device_name(plan: &Plan) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let text = format!("{}-{}", plan.vendor, plan.product);
    text.chars().map(plain).collect()
}

/// The device section of multipath.conf; vendor and product are regular expressions there.
fn multipath_configuration(plan: &Plan) -> String {
    let pattern = |text: &str| -> String {
        let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_') {
            true => c,
            false => '.',
        };
        text.trim_end().chars().map(plain).collect()
    };
    format!(
        "devices {{\n\
        \x20   device {{\n\
        \x20       vendor \"^{}\"\n\
        \x20       product \"^{}\"\n\
        \x20       path_grouping_policy multibus\n\
        \x20       path_selector \"round-robin 0\"\n\
        \x20       path_checker tur\n\
        \x20       failback immediate\n\
        \x20       no_path_retry 12\n\
        \x20   }}\n\
         }}",
        pattern(&plan.vendor),
        pattern(&plan.product)
    )
}
