//! CHAP accounts: from a file that only its owner may read, or from the environment.
//!
//! Secrets are never in the configuration file, never on the command line, and never printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::ConfigError;
use crate::iscsi::{ChapAccount, ChapPolicy, Secret};

/// The environment variable with accounts as `user:secret`, separated by commas.
pub const ACCOUNTS_VARIABLE: &str = "HOLDFAST_CHAP_ACCOUNTS";

/// Secrets are of at least 96 bits (RFC 7143 section 9.2.1).
const SECRET_BYTES_MIN: usize = 12;
const SECRET_BYTES_MAX: usize = 128;
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountFile {
    #[serde(default)]
    account: Vec<AccountEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountEntry {
    user: String,
    secret: String,
    mutual_user: Option<String>,
    mutual_secret: Option<String>,
}

/// CHAP_A values in the order of preference: SHA-256, SHA3-256, SHA-1, MD5 (RFC 7143 section 12.1.3
/// and the IANA registry of PPP authentication algorithms). The initiator's list decides.
const ALGORITHMS: [u8; 4] = [7, 8, 6, 5];

/// Reads a file of `[[account]]` tables.
///
/// # Errors
/// The file can't be read, others than its owner may read it, or an account is not complete. No
/// error shows any of its text.
pub fn read_accounts(path: &Path) -> Result<Arc<ChapPolicy>, ConfigError> {
    let unreadable = |error: std::io::Error| {
        ConfigError::of_file(path, format!("the CHAP accounts can't be read: {error}"))
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path_shown = path.display();
        return Err(ConfigError::of_file(
            path,
            format!(
                "others may read the CHAP secrets (mode {mode:04o}); expected mode 0600: \
                 chmod 600 {path_shown}"
            ),
        ));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let entries = toml::from_str::<AccountFile>(&text).map_err(|error| {
        // The parser's own message may quote a secret, so only the place is told.
        let position = ConfigError::of_toml(path, &text, &error).position;
        let expected = "expected [[account]] tables with user, secret and, for mutual CHAP, \
                        mutual_user and mutual_secret";
        ConfigError {
            position,
            ..ConfigError::of_file(path, expected)
        }
    })?;
    if entries.account.is_empty() {
        return Err(ConfigError::of_file(
            path,
            "expected at least one [[account]]",
        ));
    }
    policy(entries.account).map_err(|message| ConfigError::of_file(path, message))
}

/// Reads accounts in the form of [`ACCOUNTS_VARIABLE`].
///
/// # Errors
/// An account is not `user:secret`, or its secret is too short.
pub fn parse_accounts(text: &str) -> Result<Arc<ChapPolicy>, ConfigError> {
    let entry = |pair: &str| {
        let (user, secret) = pair
            .split_once(':')
            .ok_or_else(|| "expected user:secret, separated by commas".to_owned())?;
        let (user, secret) = (user.to_owned(), secret.to_owned());
        Ok(AccountEntry {
            user,
            secret,
            mutual_user: None,
            mutual_secret: None,
        })
    };
    let entries: Result<_, String> = text.split(',').map(entry).collect();
    entries
        .and_then(policy)
        .map_err(|message| ConfigError::of_key(ACCOUNTS_VARIABLE, message))
}

fn policy(entries: Vec<AccountEntry>) -> Result<Arc<ChapPolicy>, String> {
    let mut accounts = Vec::with_capacity(entries.len());
    let mut mutual: Option<ChapAccount> = None;
    for entry in entries {
        let (account, back) = entry.checked()?;
        accounts.push(account);
        let Some(back) = back else { continue };
        let other = |known: &ChapAccount| known.name != back.name || known.secret != back.secret;
        if mutual.as_ref().is_some_and(other) {
            return Err(
                "the target has one name and secret of its own: expected the same \
                        mutual_user and mutual_secret in every account"
                    .to_owned(),
            );
        }
        mutual = Some(back);
    }
    // Else an initiator could prove itself with what the target has proved itself with.
    if let Some(own) = &mutual
        && accounts.iter().any(|account| account.secret == own.secret)
    {
        return Err(
            "expected different secrets for the two directions (RFC 7143 section 9.2.1)".to_owned(),
        );
    }
    Ok(Arc::new(ChapPolicy {
        accounts,
        mutual,
        algorithms: ALGORITHMS.to_vec(),
    }))
}

impl AccountEntry {
    /// The initiator's account, and the target's own for mutual CHAP.
    fn checked(self) -> Result<(ChapAccount, Option<ChapAccount>), String> {
        let account = checked_account(self.user, self.secret)?;
        let mutual = match (self.mutual_user, self.mutual_secret) {
            (None, None) => None,
            (Some(user), Some(secret)) => Some(checked_account(user, secret)?),
            _ => {
                let user = account.name;
                return Err(format!(
                    "{user:?}: expected both mutual_user and mutual_secret"
                ));
            }
        };
        Ok((account, mutual))
    }
}

fn checked_account(name: String, secret: String) -> Result<ChapAccount, String> {
    if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
        return Err("expected a CHAP user of 1 to 255 bytes without control characters".to_owned());
    }
    let length = secret.len();
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&length) {
        return Err(format!(
            "{name:?}: expected a secret of {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes \
             (RFC 7143 section 9.2.1), got {length}"
        ));
    }
    Ok(ChapAccount {
        name,
        secret: Secret::new(secret),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    const GOOD: &str = "[[account]]\nuser = \"host1\"\nsecret = \"0123456789abc\"\n";

    #[test]
    fn accounts_come_from_a_private_file_alone() {
        let policy = read_accounts(file(GOOD, 0o600).path()).unwrap();
        assert_eq!(policy.accounts.len(), 1);
        assert_eq!(policy.accounts[0].secret, Secret::new("0123456789abc"));
        let error = read_accounts(file(GOOD, 0o644).path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_error_never_shows_a_secret() {
        for text in [
            "[[account]]\nuser = \"a\"\nsecret = hush-hush\n",
            "secret = \"hush-hush\"",
        ] {
            let error = read_accounts(file(text, 0o600).path())
                .unwrap_err()
                .to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        let error = parse_accounts("host1:hush").unwrap_err().to_string();
        assert!(
            error.contains("12 to 128") && !error.contains("hush"),
            "{error}"
        );
    }

    #[test]
    fn mutual_needs_both_and_differs() {
        let with = |more: &str| read_accounts(file(&format!("{GOOD}{more}"), 0o600).path());
        assert!(with("mutual_user = \"t\"\n").is_err());
        assert!(with("mutual_user = \"t\"\nmutual_secret = \"0123456789abc\"\n").is_err());
        assert!(with("mutual_user = \"t\"\nmutual_secret = \"abcdefghijklmn\"\n").is_ok());
    }
}
