//! Text that a shell, PowerShell or YAML takes as it is.

/// One word of a POSIX shell.
pub(super) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word in a comment, quoted where a shell would take it for something else. It has no line's end.
pub(super) fn shell_if_needed(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/[]@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => shell(&text.replace(char::is_control, "?")),
    }
}

/// One string of PowerShell, in which nothing is expanded. It takes typographic quotes for quotes.
pub(super) fn powershell(text: &str) -> String {
    let mut quoted = String::from("'");
    for character in text.chars() {
        if matches!(
            character,
            '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}'
        ) {
            quoted.push(character);
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

/// One scalar of YAML: every JSON string is one.
pub(super) fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value in a list of QEMU options, where a comma ends a value and two stand for one.
pub(super) fn qemu(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_quote_ends_early() {
        assert_eq!(shell_if_needed("a\nb"), "'a?b'");
        assert_eq!(shell_if_needed("10.0.0.1:3260"), "10.0.0.1:3260");
        assert_eq!(shell("a'b $c"), r"'a'\''b $c'");
        assert_eq!(powershell("a'b$c\u{2019}"), "'a''b$c\u{2019}\u{2019}'");
        assert_eq!(yaml("a\"b: #c"), r#""a\"b: #c""#);
        assert_eq!(qemu("a,b"), "a,,b");
    }
}
