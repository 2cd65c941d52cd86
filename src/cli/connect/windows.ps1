Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# The first line of a file, or what is typed. It is never printed and becomes no argument of a program.
function Read-Secret([string] $File, [string] $What) {
    if ($File) {
        $Secret = Get-Content -LiteralPath $File -TotalCount 1
    } else {
        $Typed = Read-Host -Prompt $What -AsSecureString
        $Secret = (New-Object System.Net.NetworkCredential('', $Typed)).Password
    }
    if ($Secret.Length -lt 12 -or $Secret.Length -gt 16) {
        throw "$What has $($Secret.Length) characters; the initiator of Windows takes 12 to 16"
    }
    return $Secret
}

# Sessions of this host with the target through one portal.
function Get-SessionCount([string] $Address, [int] $Port) {
    $Found = @(Get-IscsiSession | Where-Object { $_.TargetNodeAddress -eq $Target -and $_.IsConnected } |
        Get-IscsiConnection |
        Where-Object { $_.TargetAddress -eq $Address -and $_.TargetPortNumber -eq $Port })
    return $Found.Count
}

# The initiator service, now and at every boot.
Set-Service -Name MSiSCSI -StartupType Automatic
Start-Service -Name MSiSCSI

if ($Initiators.Count -gt 0) {
    $Own = (Get-InitiatorPort | Where-Object { $_.ConnectionType -eq 'iSCSI' } |
        Select-Object -First 1).NodeAddress
    if ($Initiators -notcontains $Own) {
        throw "this host is called $Own, and the volume's group lets in: $Initiators"
    }
}

if ($Multipath) {
    if (Get-Command -Name Get-WindowsFeature -ErrorAction SilentlyContinue) {
        if (-not (Get-WindowsFeature -Name Multipath-IO).Installed) {
            $Installed = Install-WindowsFeature -Name Multipath-IO
            if ($Installed.RestartNeeded -ne 'No') {
                throw 'MPIO is installed and needs a restart: restart, and run this again'
            }
        }
    } elseif (-not (Get-Command -Name Enable-MSDSMAutomaticClaim -ErrorAction SilentlyContinue)) {
        throw 'several sessions need MPIO, which this edition of Windows does not have: use --sessions 1'
    }
    Enable-MSDSMAutomaticClaim -BusType iSCSI | Out-Null
    Set-MSDSMGlobalDefaultLoadBalancePolicy -Policy RR
}

$Authentication = @{}
if ($ChapUser) {
    $Authentication = @{
        AuthenticationType = 'ONEWAYCHAP'
        ChapUsername       = $ChapUser
        ChapSecret         = Read-Secret $SecretFile "CHAP secret of $ChapUser"
    }
    if ($ChapMutual) {
        $Authentication.AuthenticationType = 'MUTUALCHAP'
        # What the target has to prove is one secret for all targets of this host.
        Set-IscsiChapSecret -ChapSecret (Read-Secret $MutualSecretFile "CHAP secret of the target, $ChapMutual")
    }
}

foreach ($Portal in $Portals) {
    $Known = Get-IscsiTargetPortal | Where-Object {
        $_.TargetPortalAddress -eq $Portal.Address -and $_.TargetPortalPortNumber -eq $Portal.Port
    }
    if (-not $Known) {
        # Discovery shows targets that ask for CHAP to those alone who have proved themselves.
        New-IscsiTargetPortal -TargetPortalAddress $Portal.Address -TargetPortalPortNumber $Portal.Port @Authentication |
            Out-Null
    }
    $Present = Get-SessionCount $Portal.Address $Portal.Port
    for ($Index = $Present; $Index -lt $Portal.Sessions; $Index++) {
        Connect-IscsiTarget -NodeAddress $Target -TargetPortalAddress $Portal.Address `
            -TargetPortalPortNumber $Portal.Port -IsPersistent $true -IsMultipathEnabled $Multipath `
            -IsHeaderDigest $true -IsDataDigest $true @Authentication | Out-Null
    }
    $Present = Get-SessionCount $Portal.Address $Portal.Port
    if ($Present -lt $Portal.Sessions) {
        throw "$($Portal.Address): $Present of $($Portal.Sessions) sessions; the server's log says why"
    }
    Write-Output "$($Portal.Address):$($Portal.Port): $Present sessions"
}
Update-HostStorageCache
Write-Output 'connected: Get-Disk shows the volume'
