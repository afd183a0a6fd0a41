//! Code outside the crate cannot make an approval or an established connection.

#[test]
fn approval_cannot_be_forged() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
