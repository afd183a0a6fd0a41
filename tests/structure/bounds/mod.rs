//! No limb overflows. The arithmetic of Poly1305 is run over intervals, straight from its source: from
//! any key, over texts of any length, for any bytes. A change that lets a limb grow too far, cuts
//! off bits that are needed, or gives a multiplication a factor that is too long, fails here.
//!
//! Ranges do not show that a product is the right one. The tests of `src/crypto` show that.

mod interpreter;
mod interval;
mod intrinsics;

use interpreter::{Program, Value};
use interval::{Interval, Result};

const SCALAR: &str = "src/crypto/secretbox/poly1305.rs";
const WIDE: &str = "src/crypto/secretbox/simd/ifma.rs";
const SIDE_BY_SIDE: &str = "src/crypto/secretbox/simd/side_by_side.rs";

/// Runs everything. `edited` stands in for one of the files.
fn check(edited: Option<(&str, &str)>) -> Result<()> {
    let mut program = Program::default();
    for file in [SCALAR, WIDE, SIDE_BY_SIDE] {
        match edited {
            Some((name, source)) if name == file => program.add(source),
            _ => program.add(&super::read(file)),
        }
    }
    let key = program.call("Poly1305", "new", &[Value::Unknown])?.0;
    if key.field("r")?.numbers()?[1].zeros < 2 {
        return Err("r1 is no multiple of 4, and r1 / 4 is taken".into());
    }
    scalar(&program, &key)?;
    wide(&program, key)?;
    side_by_side(&program)
}

/// Whole blocks, a part of a block, and the tag.
fn scalar(program: &Program, mac: &Value) -> Result<()> {
    let mac = program
        .call("Poly1305", "blocks", &[mac.clone(), Value::Unknown])?
        .1;
    let zero = Value::Number(Interval::literal(0));
    let part = [mac.clone(), Value::Unknown, zero.clone()];
    let ended = program.call("Poly1305", "words", &part)?.1;
    for mac in [mac, ended] {
        let nothing = Value::List(vec![zero.clone(); 2]);
        let above = program
            .call("Poly1305", "above", std::slice::from_ref(&mac))?
            .0;
        let folded = [mac.clone(), nothing, zero.clone(), above];
        let sum = program.call("Poly1305", "plus", &folded)?.0;
        // Otherwise one subtraction of p would not be enough.
        if sum.numbers()?[2].hi > 6 {
            return Err("the sum is not below 2 p".into());
        }
        program.call("Poly1305", "tag", &[mac])?;
    }
    Ok(())
}

/// Any number of groups, with and without a part that the scalar units compute, then of vectors, and
/// then block by block.
fn wide(program: &Program, key: Value) -> Result<()> {
    let r = program.call("Poly1305", "r", std::slice::from_ref(&key))?.0;
    let start = program.call("Wide", "new", &[r])?.0;
    let mut wide = program.call("Wide", "reach_higher", &[start])?.1;
    loop {
        let before = wide.clone();
        let groups = program
            .call("Wide", "groups", &[wide.clone(), Value::Unknown])?
            .1;
        wide = wide.join(&groups)?.join(&shared(program, &wide, &key)?)?;
        if wide == before {
            break;
        }
    }
    let sum = program.call("Wide", "sum", &[wide, Value::Unknown])?.0;
    if sum.numbers()?[2].hi > 6 {
        return Err("what is above 2^130 is not folded".into());
    }
    let mac = program.call("Poly1305", "set_sum", &[key, sum])?.1;
    scalar(program, &mac)
}

/// A group and 32 blocks after it that are added up elsewhere, as `avx512_long` does it.
fn shared(program: &Program, wide: &Value, key: &Value) -> Result<Value> {
    let higher = wide.field("higher")?.list()?.to_vec();
    let fourth = wide.field("factors")?.list()?[0].clone();
    let sums = wide.field("sums")?.clone();
    let mut products = program.call("Sums", "begin", &[sums, higher[0].clone()])?.0;
    for factor in higher.into_iter().skip(1).chain([fourth]) {
        let add = [products, Value::Unknown, factor];
        products = program.call("Products", "add", &add)?.0;
    }
    let mac = program
        .call("Poly1305", "restarted", std::slice::from_ref(key))?
        .0;
    let blocks = [mac, Value::Unknown];
    let mac = program.call("Poly1305", "blocks", &blocks)?.1;
    let sum = program
        .call("Poly1305", "sum_with", &[mac, Value::Unknown])?
        .0;
    let sums = program.call("Sums", "end_with", &[products, sum])?.0;
    let Value::Struct(name, mut fields) = wide.clone() else {
        return Err("no structure".into());
    };
    fields.insert("sums".into(), sums);
    Ok(Value::Struct(name, fields))
}

/// Any number of blocks in every lane, whole ones, pairs and parts, in any order.
fn side_by_side(program: &Program) -> Result<()> {
    let mut sums = program.call("Sums", "new", &[Value::Unknown])?.0;
    let square = program
        .call("Sums", "square", std::slice::from_ref(&sums))?
        .0;
    loop {
        let before = sums.clone();
        let two = [sums.clone(), square.clone(), Value::Unknown];
        sums = sums.join(&program.call("Sums", "absorb_two", &two)?.1)?;
        for step in ["blocks", "last_blocks"] {
            let block = [sums.clone(), Value::Unknown, Value::Unknown];
            sums = sums.join(&program.call("Sums", step, &block)?.1)?;
        }
        if sums == before {
            break;
        }
    }
    // The last carries depend on each other, so each case of the limbs that decide them is run by
    // itself.
    let Value::Struct(name, mut fields) = sums else {
        return Err("the sums are no structure".into());
    };
    let [h0, h1, h2] = fields["sums"].numbers()?[..] else {
        return Err("the sums are not three".into());
    };
    for h1 in split(h1, (1 << 44) - 1) {
        for h2 in split(h2, (1 << 42) - 2) {
            let limbs = [h0, h1, h2].map(Value::Number);
            fields.insert("sums".into(), Value::List(limbs.into()));
            let sums = Value::Struct(name.clone(), fields.clone());
            program.call("Sums", "finish", &[sums, Value::Unknown, Value::Unknown])?;
        }
    }
    Ok(())
}

/// The numbers up to `last`, and those above it.
fn split(whole: Interval, last: u128) -> Vec<Interval> {
    if whole.lo > last || whole.hi <= last {
        return vec![whole];
    }
    vec![
        Interval::range(whole.lo, last),
        Interval::range(last + 1, whole.hi),
    ]
}

#[test]
fn no_limb_of_poly1305_overflows_whatever_the_key_and_the_text() {
    check(None).unwrap();
}

/// Each change breaks a bound, and the check must say so.
#[test]
fn a_change_that_breaks_a_bound_is_found() {
    for (file, from, to) in [
        // Clamping.
        (
            SCALAR,
            "r0 & 0x0fff_fffc_0fff_ffff",
            "r0 & 0xffff_fffc_0fff_ffff",
        ),
        (
            SCALAR,
            "r1 & 0x0fff_fffc_0fff_fffc",
            "r1 & 0x0fff_fffc_0fff_ffff",
        ),
        (SCALAR, "r1 & 0x0fff_fffc_0fff_fffc", "r1"),
        // Carries, and what is above 2^130.
        (SCALAR, "(h2 & 3) + high", "(h2 & 7) + high"),
        (SCALAR, "(h2 & 3) + high", "h2 + high"),
        (SCALAR, "5 * folded", "20 * folded"),
        (SCALAR, "u64::from(carry)) >> 2", "u64::from(carry)) >> 1"),
        // Radix 2^44.
        (
            WIDE,
            "MASK_44: u64 = (1 << 44) - 1",
            "MASK_44: u64 = (1 << 50) - 1",
        ),
        (
            WIDE,
            "MASK_42: u64 = (1 << 42) - 1",
            "MASK_42: u64 = (1 << 50) - 1",
        ),
        (
            WIDE,
            "_mm512_set1_epi64(1 << 40)",
            "_mm512_set1_epi64(1 << 39)",
        ),
        (
            WIDE,
            "_mm512_slli_epi64::<2>(four), four",
            "_mm512_slli_epi64::<7>(four), four",
        ),
        (WIDE, "_mm512_and_si512(low_1, mask_44)", "low_1"),
        (WIDE, "_mm512_and_si512(low_2, mask_42)", "low_2"),
        (
            WIDE,
            "_mm512_slli_epi64::<10>(high_2)",
            "_mm512_slli_epi64::<26>(high_2)",
        ),
        (WIDE, "c0 & MASK_44, c1, d2", "c0, c1, d2"),
        (WIDE, "let l2 = l2 & MASK_42;", "let l2 = l2;"),
        (
            WIDE,
            "let l1 = l1 & MASK_44;\n        [l0",
            "let l1 = l1;\n        [l0",
        ),
        (WIDE, "d2 as u64 & MASK_42", "d2 as u64"),
        (WIDE, "limbs[2] * 20", "limbs[2] * 20_000"),
        // What the scalar units add to the sums of the vectors.
        (WIDE, "h1 >> 24 | h2 << 40", "h1 >> 24 | h2 << 39"),
        (WIDE, "h1 >> 24 | h2 << 40", "h1 | h2 << 48"),
        (
            SCALAR,
            "self.plus(words(block), 1, ",
            "self.plus(words(block), 1 << 62, ",
        ),
        // A lane for each text.
        (
            SIDE_BY_SIDE,
            "_mm512_set1_epi64(1 << 40)",
            "_mm512_set1_epi64(1 << 38)",
        ),
        (
            SIDE_BY_SIDE,
            "_mm512_maskz_set1_epi64(whole, 1 << 40)",
            "_mm512_maskz_set1_epi64(whole, 1 << 39)",
        ),
        (SIDE_BY_SIDE, "let h1 = _mm512_and_si512(h1, mask_44);", ""),
        (SIDE_BY_SIDE, "let h0 = _mm512_and_si512(h0, mask_44);", ""),
    ] {
        let source = super::read(file);
        assert!(source.contains(from), "{file} no longer has {from:?}");
        let found = check(Some((file, &source.replace(from, to))));
        assert!(found.is_err(), "{file}: {to:?} for {from:?} is not found");
        println!("{to:?}: {}", found.unwrap_err());
    }
}
