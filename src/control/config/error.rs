//! A configuration that can't be used: where, and what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration, in which file, on which line, at which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file; `None` where the command line or the environment is meant.
    pub file: Option<PathBuf>,
    /// Line and column, from 1.
    pub position: Option<(usize, usize)>,
    /// The key's full path, such as `limits.login_timeout`.
    pub key: Option<String>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl ConfigError {
    /// An error about a file as a whole.
    #[must_use]
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: Some(file.to_owned()),
            position: None,
            key: None,
            message: message.into(),
        }
    }

    /// An error about one key, wherever it was set.
    #[must_use]
    pub fn of_key(key: &str, message: impl Into<String>) -> Self {
        Self {
            file: None,
            position: None,
            key: Some(key.to_owned()),
            message: message.into(),
        }
    }

    /// An error about the command line.
    #[must_use]
    pub fn of_flags(message: impl Into<String>) -> Self {
        Self {
            file: None,
            position: None,
            key: None,
            message: message.into(),
        }
    }

    /// Places an error of the TOML parser in `text`.
    #[must_use]
    pub fn of_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let position = error.span().map(|span| position(text, span.start));
        Self {
            file: Some(file.to_owned()),
            position,
            key: key_path(error),
            message: match error.message().trim_end() {
                "duplicate key" => {
                    let key = error.span().and_then(|span| text.get(span));
                    let key = key.unwrap_or_default().trim();
                    format!("the key {key:?} stands here again; expected it once")
                }
                message => in_words(message),
            },
        }
    }
}

/// What the parser says, with what it expected as people call it and not as this program's types are named.
fn in_words(message: &str) -> String {
    let Some((found, kind)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let kind = match kind {
        "i64" | "u64" | "u32" | "u16" | "usize" => "a whole number",
        "f64" => "a number",
        "a sequence" => "a list in brackets",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a map" => "a table",
        _ if kind.starts_with("struct ") => "a table",
        kind => kind,
    };
    format!("{found}, expected {kind}")
}

/// Line and column of a byte offset, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// The key that the parser was at. It tells only where it has no text to point at.
fn key_path(error: &toml::de::Error) -> Option<String> {
    let mut bare = error.clone();
    bare.set_input(None);
    let told = bare.to_string();
    let key = told.rsplit_once("in `")?.1.trim_end().strip_suffix('`')?;
    (!key.is_empty()).then(|| key.to_owned())
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some((line, column)) = self.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
