//! Damage to a box, and what may be seen of its text afterwards.
#![forbid(unsafe_code)]

/// Changes one bit, whose number is taken modulo the number of bits. An empty slice stays as it is.
pub fn flip(bytes: &mut [u8], bit: u64) {
    if let Some(bit) = bit.checked_rem(8 * bytes.len() as u64)
        && let Some(byte) = bytes.get_mut((bit / 8) as usize)
    {
        *byte ^= 1 << (bit % 8);
    }
}

/// Whether a text that has not opened shows nothing: each byte is as it was, or wiped.
#[must_use]
pub fn shows_nothing(here: &[u8], sealed: &[u8]) -> bool {
    let mut bytes = here.iter().zip(sealed);
    here.len() == sealed.len() && bytes.all(|(here, was)| here == was || *here == 0)
}
