//! The changed lines of the example host that the guide for embedding states.

/// The number of lines that `after` adds to `before`, and the number that it removes: as few as
/// possible, as `diff` finds them.
pub fn changed(before: &str, after: &str) -> (usize, usize) {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // For each place in `after`: the most lines in common with the lines of `before` so far.
    let mut common = vec![0; after.len() + 1];
    for line in &before {
        let mut diagonal = 0;
        for (at, other) in after.iter().enumerate() {
            let above = common[at + 1];
            common[at + 1] = match line == other {
                true => diagonal + 1,
                false => above.max(common[at]),
            };
            diagonal = above;
        }
    }
    let common = common[after.len()];
    (after.len() - common, before.len() - common)
}

/// The rows of the guide's table that the files `[codec, plain, wrapped, conducted]` must have.
pub fn rows([codec, plain, wrapped, conducted]: [&str; 4]) -> [String; 3] {
    let row = |way: &str, host, rest: &str| {
        let (added, removed) = changed(plain, host);
        format!("| `{way}` | {added} | {removed} | {rest} |")
    };
    let codec = codec.lines().count();
    [
        format!("example host of {} lines", codec + plain.lines().count()),
        row("AuthStream", wrapped, "nothing"),
        row("conduct", conducted, &format!("the codec, {codec} lines")),
    ]
}

#[test]
fn lines_are_counted_as_diff_counts_them() {
    assert_eq!(changed("a\nb\nc", "a\nb\nc"), (0, 0));
    assert_eq!(changed("a\nb\nc", "a\nx\ny\nc"), (2, 1));
    assert_eq!(changed("", "a\nb"), (2, 0));
    assert_eq!(changed("a\nb\na", "b\na\nb"), (1, 1));
}
