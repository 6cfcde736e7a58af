//! Numbers and text as bytes. Both ends run the same version, so there is nothing to describe.

use crate::error::{Error, Result};

/// Appends values to a message.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.0.push(u8::from(flag));
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Floats with all their bits.
    pub fn floats(&mut self, floats: &[f64]) -> &mut Self {
        self.number(floats.len() as u64);
        self.0.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
        self
    }

    pub fn indices(&mut self, indices: &[usize]) -> &mut Self {
        self.number(indices.len() as u64);
        indices.iter().for_each(|index| _ = self.number(*index as u64));
        self
    }

    /// Columns of floats, each of its own length.
    pub fn columns(&mut self, columns: &[Vec<f64>]) -> &mut Self {
        self.number(columns.len() as u64);
        columns.iter().for_each(|column| _ = self.floats(column));
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values from a message in the order in which they were appended.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| Error::bug("a message of another rank is short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    pub fn length(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| Error::bug("a length of another rank is too large"))
    }

    pub fn flag(&mut self) -> Result<bool> {
        Ok(self.take(1)?[0] != 0)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub fn floats(&mut self) -> Result<Vec<f64>> {
        let length = self.length()?.saturating_mul(8);
        let float = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
        Ok(self.take(length)?.chunks_exact(8).map(float).collect())
    }

    pub fn indices(&mut self) -> Result<Vec<usize>> {
        (0..self.length()?).map(|_| self.length()).collect()
    }

    pub fn columns(&mut self) -> Result<Vec<Vec<f64>>> {
        (0..self.length()?).map(|_| self.floats()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_with_all_their_bits_and_a_short_message_is_an_error() {
        let floats = [-0.0, f64::MIN_POSITIVE / 3.0, f64::INFINITY, 0.1];
        let mut writer = Writer::default();
        writer.number(7).flag(true).bytes(b"text").floats(&floats).floats(&[]);
        let message = writer.finish();
        let mut reader = Reader::new(&message);
        assert_eq!((reader.number().unwrap(), reader.flag().unwrap()), (7, true));
        assert_eq!(reader.bytes().unwrap(), b"text");
        let same = reader.floats().unwrap();
        assert_eq!(same.map_bits(), floats.map_bits());
        assert!(reader.floats().unwrap().is_empty() && reader.number().is_err());
        for length in 0..message.len() {
            let mut reader = Reader::new(&message[..length]);
            let all = |reader: &mut Reader| {
                reader.number()?;
                reader.flag()?;
                reader.bytes()?;
                reader.floats()?;
                reader.floats()
            };
            assert!(all(&mut reader).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn lists_come_back() {
        let (indices, columns) = (vec![3, 0, 70_000], vec![vec![0.5], Vec::new(), vec![-1.0, 2.0]]);
        let mut writer = Writer::default();
        writer.indices(&indices).columns(&columns).indices(&[]);
        let message = writer.finish();
        let mut reader = Reader::new(&message);
        assert_eq!(reader.indices().unwrap(), indices);
        assert_eq!(reader.columns().unwrap(), columns);
        assert!(reader.indices().unwrap().is_empty() && reader.indices().is_err());
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u64>;
    }

    impl<T: AsRef<[f64]>> Bits for T {
        fn map_bits(&self) -> Vec<u64> {
            self.as_ref().iter().map(|float| float.to_bits()).collect()
        }
    }
}
