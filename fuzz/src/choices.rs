//! Reads decisions from the front of a fuzzer's input. Missing bytes read as zero, so that every input
//! is valid.
#![forbid(unsafe_code)]

/// The rest of an input.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::from(self.byte()) % len
    }

    /// One of `items`.
    pub fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.index(items.len())]
    }

    /// The next `len` bytes, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length in one byte, or in three if the first is 255, and that many bytes.
    pub fn string(&mut self) -> &'a [u8] {
        let len = match self.byte() {
            255 => usize::from(self.byte()) << 8 | usize::from(self.byte()),
            short => usize::from(short),
        };
        self.take(len)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Strings to the end of the input.
    pub fn strings(&mut self) -> Vec<&'a [u8]> {
        let mut strings = Vec::new();
        while !self.is_empty() {
            strings.push(self.string());
        }
        strings
    }
}

/// The bytes that [`Choices::string`] reads as `bytes`.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    match u8::try_from(bytes.len()) {
        Ok(len) if len < 255 => [&[len], bytes].concat(),
        _ => [&[255][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat(),
    }
}

/// The bytes that [`Choices::strings`] reads as `parts`.
pub fn strings<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|part| string(part.as_ref()))
        .collect()
}
