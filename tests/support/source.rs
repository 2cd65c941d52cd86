//! Reading Rust source as the architecture tests need it: the module tree as `mod` declares it, and
//! code without comments and literals, so that prose about a rule never breaks the rule.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file of the crate, reached from a root by `mod` declarations.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Relative to the crate's `src`.
    pub(crate) path: PathBuf,
    /// Module path from the crate root; empty for the root itself.
    pub(crate) module: Vec<String>,
    /// Declared under `#[cfg(test)]`, or below a module that is.
    pub(crate) is_test: bool,
    /// Code without comments, and with empty literals.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, module: &[&str], text: &str) -> Self {
        Self {
            path: PathBuf::from(path),
            module: module.iter().map(|name| (*name).to_owned()).collect(),
            is_test: false,
            code: strip(text),
        }
    }

    /// The top-level module that the file belongs to; `None` for the crate root.
    pub(crate) fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// The code without inline `#[cfg(test)] mod … { … }`.
    pub(crate) fn code_without_tests(&self) -> String {
        let mut rest = self.code.as_str();
        let mut kept = String::new();
        while let Some(at) = rest.find("#[cfg(test)]") {
            kept.push_str(&rest[..at]);
            rest = &rest[at + "#[cfg(test)]".len()..];
            let item_end =
                rest.find([';', '{'])
                    .map_or(rest.len(), |end| match rest[end..].chars().next() {
                        Some('{') => end + block_length(&rest[end..]),
                        _ => end + 1,
                    });
            rest = &rest[item_end..];
        }
        kept.push_str(rest);
        kept
    }
}

/// Every file that `root` (such as `lib.rs`) reaches, itself first.
pub(crate) fn module_tree(src: &Path, root: &str) -> Vec<Source> {
    let mut found = Vec::new();
    visit(src, Path::new(root), &[], false, &mut found);
    found
}

fn visit(src: &Path, path: &Path, module: &[String], is_test: bool, found: &mut Vec<Source>) {
    let text = fs::read_to_string(src.join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let code = strip(&text);
    let children = declared_modules(&code);
    found.push(Source {
        path: path.to_owned(),
        module: module.to_owned(),
        is_test,
        code,
    });
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let parent = path.parent().unwrap_or(Path::new(""));
    let directory = match stem {
        "lib" | "main" | "mod" => parent.to_owned(),
        _ => parent.join(stem),
    };
    for (name, under_test) in children {
        let flat = directory.join(format!("{name}.rs"));
        let nested = directory.join(&name).join("mod.rs");
        let child = if src.join(&flat).is_file() {
            flat
        } else {
            nested
        };
        let module = [module, &[name]].concat();
        visit(src, &child, &module, is_test || under_test, found);
    }
}

/// `mod name;` declarations, and whether `#[cfg(test)]` stands before them.
fn declared_modules(code: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(';') {
        let statement = &code[..at];
        let start = statement.rfind([';', '{', '}']).map_or(0, |end| end + 1);
        let words: Vec<&str> = statement[start..].split_whitespace().collect();
        if let [.., "mod", name] = words[..] {
            let under_test = statement[start..].contains("#[cfg(test)]");
            found.push((name.to_owned(), under_test));
        }
    }
    found
}

/// Every `.rs` file below a directory, relative to it.
pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries = fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rs") {
                found.push(path.strip_prefix(directory).expect("below it").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Bytes of the block that opens at the start of `text`, braces included.
fn block_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Code without comments; string and character literals become empty.
pub(crate) fn strip(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += block_comment_length(rest);
            code.push(' ');
        } else if let Some(length) = raw_string_length(rest).filter(|_| !in_word(&code)) {
            at += length;
            code.push_str("\"\"");
        } else if rest.starts_with('"') {
            at += quoted_length(rest);
            code.push_str("\"\"");
        } else if let Some(length) = character_length(rest) {
            at += length;
            code.push_str("' '");
        } else {
            let character = rest.chars().next().expect("not at the end");
            code.push(character);
            at += character.len_utf8();
        }
    }
    code
}

/// Whether the last character belongs to a word, so that an `r` after it begins no raw string.
fn in_word(code: &str) -> bool {
    code.chars()
        .next_back()
        .is_some_and(|last| last.is_alphanumeric() || last == '_')
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let open = prefix.len() + hashes;
    if !text[open..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = open + 1;
    Some(
        text[body..]
            .find(&close)
            .map_or(text.len(), |end| body + end + close.len()),
    )
}

fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal; `None` for a lifetime or anything else.
fn character_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let end = inside[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then(|| 2 + first.len_utf8())
}
