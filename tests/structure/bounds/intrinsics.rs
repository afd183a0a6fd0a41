//! What the processor's vector instructions do in every lane, over intervals. One that is not here
//! fails the check: it must be added with its preconditions.

use super::interpreter::Value;
use super::interval::{Interval, Result};

/// `immediate` is the constant in `f::<44>`.
pub fn call(name: &str, immediate: u32, arguments: &[Value]) -> Result<Value> {
    let number = |at: usize| arguments[at].number();
    Ok(Value::Number(match name {
        "_mm512_setzero_si512" => Interval::range(0, 0),
        "_mm512_set1_epi64" => number(0)?,
        "_mm512_setr_epi64" => {
            let first = number(0)?;
            let all = arguments.iter().map(Value::number);
            all.collect::<Result<Vec<_>>>()?
                .into_iter()
                .fold(first, Interval::join)
        }
        "_mm512_add_epi64" => number(0)?.plus_lanes(number(1)?)?,
        "_mm512_and_si512" => number(0)?.and(number(1)?)?,
        "_mm512_or_si512" => number(0)?.or(number(1)?)?,
        "_mm512_slli_epi64" => number(0)?.left(immediate),
        "_mm512_srli_epi64" => number(0)?.right(immediate)?,
        "_mm512_madd52lo_epu64" => number(0)?.plus(number(1)?.product_52(number(2)?, false)?)?,
        "_mm512_madd52hi_epu64" => number(0)?.plus(number(1)?.product_52(number(2)?, true)?)?,
        "_mm512_reduce_add_epi64" => number(0)?.times(Interval::literal(8))?,
        // By a mask over the lanes: either way.
        "_mm512_mask_mov_epi64" => number(0)?.join(number(2)?),
        "_mm512_mask_and_epi64" => number(0)?.join(number(2)?.and(number(3)?)?),
        "_mm512_mask_add_epi64" => number(0)?.join(number(2)?.plus(number(3)?)?),
        "_mm512_maskz_set1_epi64" => Interval::literal(0).join(number(1)?),
        // Bytes and comparisons.
        "_mm512_unpacklo_epi64"
        | "_mm512_unpackhi_epi64"
        | "_mm512_cmpgt_epu64_mask"
        | "_mm512_cmplt_epu64_mask"
        | "_mm_setzero_si128"
        | "_mm_maskz_set1_epi8"
        | "_mm_or_si128" => return Ok(Value::Unknown),
        _ => return Err(format!("the instruction {name} is not known")),
    }))
}
