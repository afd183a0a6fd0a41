//! What to do about errors of the parser that do not say it.
#![forbid(unsafe_code)]

/// What each mechanism takes.
const FORMS: [(&str, &str); 4] = [
    ("null", "null = { any = true }"),
    (
        "plain",
        "plain = { users = { NAME = \"PASSWORD\" } } or plain = { file = \"FILE\" }",
    ),
    (
        "curve",
        "curve = { certificates = \"DIRECTORY\" }, curve = { keys = [\"KEY\", ..] } or curve = { \
         any = true }",
    ),
    (
        "gssapi",
        "gssapi = { principals = [\"NAME\", ..] } or gssapi = { any = true }",
    ),
];

/// How the parser complains of a mechanism with something else than one of its forms.
const NO_FORM: [&str; 4] = [
    "wanted exactly 1 element",
    "wanted string or table",
    "invalid type: unit, expected newtype variant",
    NEITHER,
];

const NEITHER: &str = "neither of what can stand here";

/// The settings that are lists.
const LISTS: [&str; 4] = ["allow", "deny", "keys", "principals"];
/// The settings that are dates.
const DATES: [&str; 2] = ["not-before", "not-after"];

/// The message with what to do, if that is known. `line` is where the error lies; nothing of it is
/// repeated, since it may hold a password.
pub(super) fn hinted(message: String, line: &str) -> String {
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
            // It may be about something else than a mechanism.
            None if message.starts_with(NEITHER) => message,
            None => {
                let forms = FORMS.map(|(_, forms)| forms).join("; ");
                format!("a mechanism takes exactly one form: {forms}")
            }
        };
    }
    if is_of_wrong_type && message.ends_with("expected a sequence") {
        // In an inline table the name stands behind the first sign of equality.
        let list = LISTS.iter().find(|name| words(line).any(|w| w == **name));
        let list = list.unwrap_or(&LISTS[0]);
        return format!("{message}; a list: {list} = [\"..\"]");
    }
    let date = DATES.iter().find(|name| words(line).any(|w| w == **name));
    if let Some(name) = date
        && (is_of_wrong_type || message.contains("quoted"))
    {
        return format!("{message}; a date without quotes: {name} = 2027-01-31T12:00:00Z");
    }
    if !line.trim_start().starts_with("[domain.") {
        return message;
    }
    if message.starts_with("unknown field") {
        return format!(
            "{message}; a domain with a dot in its name stands in quotes: [domain.\"a.b\"]"
        );
    }
    if message.contains("unquoted key") {
        return format!("{message}; such a name stands in quotes: [domain.\"*\"]");
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
    fn a_mechanism_is_told_its_forms_and_no_value_is_repeated() {
        let plain = hinted(NO_FORM[1].into(), "plain = \"secret\"");
        assert!(plain.starts_with("plain takes exactly one form: plain = { users"));
        assert!(!plain.contains("secret"));
        let curve = hinted(NO_FORM[0].into(), "domain.a.curve = {}");
        assert!(curve.contains("certificates") && !curve.contains("users"));
        let any = hinted(NO_FORM[2].into(), "what = {}");
        assert!(any.contains("users") && any.contains("principals"));
    }

    #[test]
    fn a_domain_with_dots_is_told_of_quotes() {
        let message = "unknown field `org`, expected `inherit`";
        let section = hinted(message.into(), "[domain.example.org]");
        assert!(section.starts_with(message) && section.contains("quotes"));
        assert_eq!(hinted(message.into(), "org = 3"), message);
    }
}
