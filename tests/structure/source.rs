//! A small lexer for the checks of this crate: Rust text as tokens, without comments and literals.

/// One token and the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// Splits text into identifiers, `::` and single characters. Comments and literals are left out.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < chars.len() {
        let start = at;
        let rest = &chars[at..];
        match rest {
            ['/', '/', ..] => at += until(rest, |c| c == '\n'),
            ['/', '*', ..] => at += block_comment(rest),
            ['"', ..] => at += quoted(rest, '"'),
            ['\'', '\\', ..] | ['\'', _, '\'', ..] => at += quoted(rest, '\''),
            [c, ..] if c.is_whitespace() => at += 1,
            [c, ..] if is_word(*c) => {
                let length = until(rest, |c| !is_word(c));
                let word: String = rest[..length].iter().collect();
                if let Some(raw) = raw_string(&word, &rest[length..]) {
                    at += length + raw;
                } else {
                    at += length;
                    found.push(Token { text: word, line });
                }
            }
            [':', ':', ..] => {
                at += 2;
                found.push(Token {
                    text: "::".into(),
                    line,
                });
            }
            [c, ..] => {
                at += 1;
                found.push(Token {
                    text: c.to_string(),
                    line,
                });
            }
            [] => {}
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub fn until(chars: &[char], stop: impl Fn(char) -> bool) -> usize {
    chars.iter().position(|c| stop(*c)).unwrap_or(chars.len())
}

/// Length of a block comment; they nest.
pub fn block_comment(chars: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < chars.len() {
        match &chars[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Length of a literal between two equal quotes, escapes understood.
pub fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Length of the text after the prefix `word`, if both form a raw string.
pub fn raw_string(word: &str, rest: &[char]) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = until(rest, |c| c != '#');
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 1;
    while at < rest.len() {
        let closes = rest[at] == '"' && until(&rest[at + 1..], |c| c != '#') >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// The lines of the file that do not belong to a `#[cfg(test)] mod`.
pub fn lines_without_tests(source: &str) -> usize {
    let tokens = tokens(source);
    let total = source.lines().count();
    let mut tests = 0;
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(
            &tokens[at..],
            &["#", "[", "cfg", "(", "test", ")", "]", "mod"],
        ) && let Some(end) = closing_brace(&tokens, at)
        {
            tests += tokens[end].line - tokens[at].line + 1;
            at = end;
        }
        at += 1;
    }
    total - tests
}

/// True if the tokens begin with these texts.
pub fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len()
        && tokens
            .iter()
            .zip(texts)
            .all(|(token, text)| token.text == *text)
}

/// The brace that closes the first one opened at or after `from`, unless a `;` comes first.
fn closing_brace(tokens: &[Token], from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            ";" if depth == 0 => return None,
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> String {
        let texts: Vec<_> = tokens(source).into_iter().map(|t| t.text).collect();
        texts.join(" ")
    }

    #[test]
    fn comments_are_gone_and_code_beside_them_stays() {
        assert_eq!(texts("a // crate::x\nb /* c /* d */ e */ f"), "a b f");
        assert_eq!(texts("//! crate::x\n/// y"), "");
    }

    #[test]
    fn literals_are_gone_and_code_beside_them_stays() {
        assert_eq!(texts(r#"a("crate::x \" y") b"#), "a ( ) b");
        assert_eq!(texts(r###"r#"crate " x"# a br"\" b"###), "a b");
        assert_eq!(texts(r"x('\'', '{', 'é') y"), "x ( , , ) y");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_do_not_open_literals() {
        assert_eq!(
            texts("fn f<'a>(x: &'a str) {}"),
            "fn f < ' a > ( x : & ' a str ) { }"
        );
        assert_eq!(texts("r#type::x"), "r # type :: x");
    }

    #[test]
    fn lines_are_counted_through_literals_of_many_lines() {
        let found = tokens("a \"\n\n\" b\nc");
        let lines: Vec<_> = found.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn test_modules_do_not_count_as_lines_of_code() {
        let source = "a\n#[cfg(test)]\nmod tests {\n  fn f() { \"}\" }\n}\nb\n";
        assert_eq!(lines_without_tests(source), 2);
        assert_eq!(
            lines_without_tests("#[cfg(test)]\nmod tests;\nfn f() {}\n"),
            3
        );
    }
}
