//! Hints for errors of the TOML parser that do not say what to do.
#![forbid(unsafe_code)]

/// The forms of each mechanism's settings.
const FORMS: [(&str, &str); 4] = [
    ("null", "null = { any = true }"),
    (
        "plain",
        "plain = { users = { NAME = \"PASSWORD\" } } or plain = { file = \"FILE\" }",
    ),
    (
        "curve",
        "curve = { certificates = \"DIRECTORY\" }, curve = { keys = [\"KEY\", { key = \"KEY\", user = \
         \"NAME\" }, ..] } or curve = { any = true }",
    ),
    (
        "gssapi",
        "gssapi = { principals = [\"NAME\", ..] } or gssapi = { any = true }",
    ),
];

/// The beginnings of messages about a mechanism whose settings have none of its forms.
const NO_FORM: [&str; 4] = [
    "wanted exactly 1 element",
    "wanted string or table",
    "invalid type: unit, expected newtype variant",
    NOT_POSSIBLE,
];

const NOT_POSSIBLE: &str = "not one of the settings that are possible here";

/// The settings that are lists.
const LISTS: [&str; 7] = [
    "allow",
    "deny",
    "from",
    "keys",
    "principals",
    "subscribe",
    "publish",
];
/// The settings that are dates.
const DATES: [&str; 2] = ["not-before", "not-after"];

/// Adds a hint to the message, if there is one. `line` is the line of the error. No part of it is
/// repeated, because it may contain a password.
pub(super) fn with_hint(message: String, line: &str) -> String {
    if message.starts_with("duplicate key") {
        let what = if line.trim_start().starts_with('[') {
            "this table stands in the file twice: put its settings under one heading"
        } else {
            "this name stands in its table twice: remove one of them"
        };
        return what.to_owned();
    }
    let has_no_form = NO_FORM.iter().any(|start| message.starts_with(start));
    let is_of_wrong_type = message.starts_with("invalid type");
    let key = line.split('=').next().unwrap_or_default();
    let is_named = |name: &&str| words(key).any(|word| word == *name);
    if is_named(&"layout") && (has_no_form || is_of_wrong_type) {
        return "a layout is \"pyzmq\" or \"czmq\"".to_owned();
    }
    if has_no_form {
        let named = FORMS.iter().find(|(name, _)| is_named(name));
        return match named {
            Some((name, forms)) => format!("{name} takes exactly one form: {forms}"),
            // The message may be about something other than a mechanism.
            None if message.starts_with(NOT_POSSIBLE) => message,
            None => {
                let forms = FORMS.map(|(_, forms)| forms).join("; ");
                format!("a mechanism takes exactly one form: {forms}")
            }
        };
    }
    if is_of_wrong_type && message.ends_with("expected a sequence") {
        // In an inline table the name of the setting follows the first equals sign.
        let list = LISTS.iter().find(|name| words(line).any(|w| w == **name));
        let list = list.unwrap_or(&LISTS[0]);
        return format!("{message}; write a list: {list} = [\"..\"]");
    }
    let date = DATES.iter().find(|name| words(line).any(|w| w == **name));
    if let Some(name) = date
        && (is_of_wrong_type || message.contains("quoted"))
    {
        return format!("{message}; write a date without quotes: {name} = 2027-01-31T12:00:00Z");
    }
    if !line.trim_start().starts_with("[domain.") {
        return message;
    }
    if message.starts_with("unknown field") {
        return format!(
            "{message}; put a domain with a dot in its name in quotes: [domain.\"a.b\"]"
        );
    }
    if message.contains("unquoted key") {
        return format!("{message}; put such a name in quotes: [domain.\"*\"]");
    }
    message
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_gives_the_forms_of_a_mechanism_and_repeats_no_value() {
        let plain = with_hint(NO_FORM[1].into(), "plain = \"secret\"");
        assert!(plain.starts_with("plain takes exactly one form: plain = { users"));
        assert!(!plain.contains("secret"));
        let curve = with_hint(NO_FORM[0].into(), "domain.a.curve = {}");
        assert!(curve.contains("certificates") && !curve.contains("users"));
        let any = with_hint(NO_FORM[2].into(), "what = {}");
        assert!(any.contains("users") && any.contains("principals"));
    }

    /// The parser calls a name in TOML a key, which is another thing here.
    #[test]
    fn what_stands_twice_is_not_called_a_key() {
        let table = with_hint("duplicate key".into(), "[domain.a]");
        assert!(table.contains("table") && table.contains("twice"));
        let setting = with_hint("duplicate key".into(), "users.ada = \"secret\"");
        assert!(setting.contains("name") && setting.contains("twice"));
        for hint in [table, setting] {
            assert!(!hint.contains("key") && !hint.contains("secret"));
        }
    }

    #[test]
    fn the_hint_for_a_domain_with_dots_mentions_quotes() {
        let message = "unknown field `org`, expected `inherit`";
        let section = with_hint(message.into(), "[domain.example.org]");
        assert!(section.starts_with(message) && section.contains("quotes"));
        assert_eq!(with_hint(message.into(), "org = 3"), message);
    }
}
