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

/// The message with what to do, if that is known. `line` is where the error lies; nothing of it is
/// repeated, since it may hold a password.
pub(super) fn hinted(message: String, line: &str) -> String {
    if NO_FORM.iter().any(|start| message.starts_with(start)) {
        let key = line.split('=').next().unwrap_or_default();
        let is_named = |name| {
            key.split(['.', '[', ']', ' ', '\t'])
                .any(|word| word == name)
        };
        let named = FORMS.iter().find(|(name, _)| is_named(*name));
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
    let is_section = line.trim_start().starts_with('[');
    if is_section && message.starts_with("unknown field") {
        return format!(
            "{message}; a domain with a dot in its name stands in quotes: [domain.\"a.b\"]"
        );
    }
    message
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
