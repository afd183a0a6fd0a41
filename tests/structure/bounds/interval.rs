//! Numbers of which only a range is known, and the machine's operations on them. An operation that
//! could lose bits without a trace is an error.

/// Every number from `lo` to `hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub lo: u128,
    pub hi: u128,
    /// Bits of the type, or 0 for a literal, which takes the type of its neighbour.
    width: u32,
    /// Low bits that are clear in every number.
    pub zeros: u32,
    /// The number has lost its upper bits. It is a word of a longer number that is kept elsewhere:
    /// it can be masked, added to and stored, but it is not the number itself.
    is_word: bool,
}

pub type Result<T> = std::result::Result<T, String>;

impl Interval {
    pub fn literal(value: u128) -> Self {
        Self {
            lo: value,
            hi: value,
            width: 0,
            zeros: value.trailing_zeros(),
            is_word: false,
        }
    }

    pub fn range(lo: u128, hi: u128) -> Self {
        Self {
            lo,
            hi,
            width: 64,
            zeros: 0,
            is_word: false,
        }
    }

    /// Any 64 bits.
    pub fn any() -> Self {
        Self::range(0, u64::MAX.into())
    }

    pub fn constant(self) -> Option<u128> {
        (self.lo == self.hi && !self.is_word).then_some(self.lo)
    }

    fn max(width: u32) -> u128 {
        if width == 128 {
            u128::MAX
        } else {
            u64::MAX.into()
        }
    }

    fn word(width: u32, zeros: u32) -> Self {
        Self {
            lo: 0,
            hi: Self::max(width),
            width,
            zeros,
            is_word: true,
        }
    }

    fn number(self) -> Result<Self> {
        if self.is_word {
            return Err("a word that has lost its upper bits is taken for a number".into());
        }
        Ok(self)
    }

    /// A result, if the type can hold it.
    fn fits(lo: u128, hi: Option<u128>, width: u32, zeros: u32) -> Result<Self> {
        match hi {
            Some(hi) if hi <= Self::max(width) => Ok(Self {
                lo,
                hi,
                width,
                zeros,
                is_word: false,
            }),
            _ => Err(format!("a number of {width} bits overflows")),
        }
    }

    pub fn plus(self, other: Self) -> Result<Self> {
        let width = self.width.max(other.width);
        let zeros = self.zeros.min(other.zeros);
        if self.is_word || other.is_word {
            return Ok(Self::word(width, zeros));
        }
        let lo = self.lo.saturating_add(other.lo);
        Self::fits(lo, self.hi.checked_add(other.hi), width, zeros)
    }

    /// Addition of vectors. With 64 bits of which nothing is known it is one of words, whose carry
    /// the code finds by a comparison.
    pub fn plus_lanes(self, other: Self) -> Result<Self> {
        if [self, other].contains(&Self::any()) {
            return Ok(Self::word(64, 0));
        }
        self.plus(other)
    }

    pub fn times(self, other: Self) -> Result<Self> {
        let (a, b) = (self.number()?, other.number()?);
        let lo = a.lo.saturating_mul(b.lo);
        Self::fits(lo, a.hi.checked_mul(b.hi), a.width.max(b.width), 0)
    }

    pub fn minus(self, other: Self) -> Result<Self> {
        let (a, b) = (self.number()?, other.number()?);
        let lo = a.lo.checked_sub(b.hi).ok_or("a number falls below zero")?;
        Self::fits(lo, Some(a.hi - b.lo), a.width.max(b.width), 0)
    }

    /// What is shifted out makes the rest a word.
    pub fn left(self, by: u32) -> Self {
        let zeros = self.zeros.saturating_add(by);
        if self.is_word || self.hi.leading_zeros() < by || self.hi << by > Self::max(self.width) {
            return Self::word(self.width, zeros);
        }
        Self {
            lo: self.lo << by,
            hi: self.hi << by,
            zeros,
            ..self
        }
    }

    pub fn right(self, by: u32) -> Result<Self> {
        let a = self.number()?;
        Ok(Self {
            lo: a.lo >> by,
            hi: a.hi >> by,
            zeros: a.zeros.saturating_sub(by),
            ..a
        })
    }

    pub fn and(self, other: Self) -> Result<Self> {
        let (a, mask) = match (self.constant(), other.constant()) {
            (_, Some(mask)) => (self, mask),
            (Some(mask), _) => (other, mask),
            _ => return Err("a mask is not constant".into()),
        };
        let bits = 128 - mask.leading_zeros();
        let is_low = mask.count_ones() == bits;
        let same_above = bits < 128 && a.lo >> bits == a.hi >> bits;
        let (lo, hi) = if is_low && same_above && !a.is_word {
            (a.lo & mask, a.hi & mask)
        } else {
            (0, a.hi.min(mask))
        };
        Ok(Self {
            lo,
            hi,
            width: self.width.max(other.width),
            zeros: a.zeros.max(mask.trailing_zeros()),
            is_word: false,
        })
    }

    /// Here "or" only ever puts two numbers side by side.
    pub fn or(self, other: Self) -> Result<Self> {
        let is_below = |a: Self, b: Self| !a.is_word && (b.zeros >= 128 || a.hi >> b.zeros == 0);
        if !is_below(self, other) && !is_below(other, self) {
            return Err("two numbers overlap where they are put side by side".into());
        }
        self.plus(other)
    }

    pub fn not(self) -> Result<Self> {
        let value = self.constant().ok_or("the complement of no constant")?;
        Ok(Self::literal(Self::max(self.width) ^ value))
    }

    /// `as`, which cuts off what has no room.
    pub fn cast(self, width: u32) -> Result<Self> {
        let a = self.number()?;
        Ok(if a.hi > Self::max(width) {
            Self::word(width, a.zeros.min(width))
        } else {
            Self { width, ..a }
        })
    }

    /// Both may be words: the carry is kept.
    pub fn overflowing(self) -> Self {
        Self {
            width: 64,
            ..Self::any()
        }
    }

    pub fn join(self, other: Self) -> Self {
        Self {
            lo: self.lo.min(other.lo),
            hi: self.hi.max(other.hi),
            width: self.width.max(other.width),
            zeros: self.zeros.min(other.zeros),
            is_word: self.is_word || other.is_word,
        }
    }

    /// The lower or the upper half of a product of 52 by 52 bits. The processor ignores what is
    /// above 52 bits in a factor.
    pub fn product_52(self, other: Self, upper: bool) -> Result<Self> {
        let (a, b) = (self.number()?, other.number()?);
        if a.hi >> 52 != 0 || b.hi >> 52 != 0 {
            return Err("a factor has more than 52 bits".into());
        }
        let most = a.hi * b.hi;
        let most = if upper {
            most >> 52
        } else {
            most.min((1 << 52) - 1)
        };
        Ok(Self::range(0, most))
    }
}
