//! A PowerShell script for Windows: the initiator service, and MPIO where there are several sessions.

use super::plan::{Path, Plan};
use super::quote::powershell;

/// What is the same for every volume.
const BODY: &str = include_str!("windows.ps1");

pub(super) fn script(plan: &Plan, made_by: &str) -> String {
    let chap = plan.chap.as_ref();
    let user = chap.map_or("", |chap| &chap.user);
    let mutual = chap.and_then(|chap| chap.mutual.as_deref());
    let portal = |path: &Path| {
        format!(
            "    @{{ Address = {}; Port = {}; Sessions = {} }}",
            powershell(&path.host),
            path.port,
            path.sessions
        )
    };
    let portals: Vec<_> = plan.paths.iter().map(portal).collect();
    let initiators: Vec<_> = plan
        .initiators
        .iter()
        .map(|name| powershell(name))
        .collect();
    let multipath = if plan.sessions() > 1 {
        "$true"
    } else {
        "$false"
    };
    format!(
        "#Requires -Version 5.1\n\
         #Requires -RunAsAdministrator\n\
         # Connects a Windows host to volume {volume} of group {group}, at every boot again.\n\
         # Run it as often as you like: it does what is not done yet.\n\
         # Made by: {made_by}\n\
         [CmdletBinding()]\n\
         param(\n\
        \x20   # A file with the CHAP secret; without one it is asked for.\n\
        \x20   [string] $SecretFile = '',\n\
        \x20   # A file with the secret that the target proves to know.\n\
        \x20   [string] $MutualSecretFile = ''\n\
         )\n\n\
         $Target = {target}\n\
         $Portals = @(\n{portals}\n)\n\
         $Multipath = {multipath}\n\
         $ChapUser = {user}\n\
         $ChapMutual = {mutual}\n\
         $Initiators = @({initiators})\n\n\
         {BODY}",
        volume = plan.volume,
        group = plan.group,
        target = powershell(&plan.iqn),
        portals = portals.join("\n"),
        user = powershell(user),
        mutual = powershell(mutual.unwrap_or_default()),
        initiators = initiators.join(", "),
    )
}
