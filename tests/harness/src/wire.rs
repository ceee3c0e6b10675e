//! The part of protobuf that containerd's task API needs: writing a few fields, reading them back. A generated client would need a compiler
//! for .proto files on every machine that runs the tests.

/// A message to write.
#[derive(Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number or a boolean; zero is left out, as proto3 does.
    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
        self
    }

    /// A string, bytes, or an embedded message; empty is left out.
    pub(crate) fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            self.varint(u64::from(field) << 3 | 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
        self
    }

    /// One of several strings: written even if it is empty.
    pub(crate) fn word(self, field: u32, value: &str) -> Self {
        self.message(field, Self(value.as_bytes().to_vec()))
    }

    /// An embedded message, written even if it is empty: all its fields have their defaults then.
    pub(crate) fn message(mut self, field: u32, value: Self) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
        self
    }

    /// One entry of a `map<string, string>`.
    pub(crate) fn entry(self, field: u32, key: &str, value: &str) -> Self {
        self.message(field, Self::new().bytes(1, key).bytes(2, value))
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A message read: its fields in order.
pub(crate) struct Fields<'a>(Vec<(u32, Field<'a>)>);

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// Returns None if the bytes are no message.
    pub(crate) fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = take_varint(&mut rest)?;
            let number = u32::try_from(key >> 3).ok()?;
            match key & 7 {
                0 => fields.push((number, Field::Number(take_varint(&mut rest)?))),
                1 => drop(take(&mut rest, 8)?),
                2 => {
                    let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                    fields.push((number, Field::Bytes(take(&mut rest, length)?)));
                }
                5 => drop(take(&mut rest, 4)?),
                _ => return None,
            }
        }
        Some(Self(fields))
    }

    /// The last value of a number field; 0 when absent.
    pub(crate) fn number(&self, field: u32) -> u64 {
        let found = self.0.iter().rev().find_map(|(number, value)| match value {
            Field::Number(value) if *number == field => Some(*value),
            _ => None,
        });
        found.unwrap_or(0)
    }

    /// Every value of a string, bytes or message field.
    pub(crate) fn all(&self, field: u32) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.0.iter().filter_map(move |(number, value)| match value {
            Field::Bytes(value) if *number == field => Some(*value),
            _ => None,
        })
    }

    /// The last such value; empty when absent.
    pub(crate) fn bytes(&self, field: u32) -> &'a [u8] {
        self.all(field).last().unwrap_or_default()
    }
}

/// Parses the fields of an answer of containerd.
///
/// # Panics
/// When the bytes are no message.
pub(crate) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields::read(bytes).expect("containerd's answer is no protobuf message")
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Fields, Message};

    #[test]
    fn what_is_written_is_read_back() {
        let inner = Message::new().bytes(1, "a").done();
        let bytes = Message::new().number(1, 300).number(2, 0).bytes(3, &inner).bytes(3, "b").done();
        assert_eq!(bytes, [0x08, 0xac, 0x02, 0x1a, 3, 0x0a, 1, b'a', 0x1a, 1, b'b']);
        let fields = Fields::read(&bytes).unwrap();
        assert_eq!(fields.number(1), 300);
        assert_eq!(fields.number(2), 0);
        assert_eq!(fields.all(3).collect::<Vec<_>>(), [&inner[..], b"b"]);
        assert_eq!(fields.bytes(3), b"b");
    }

    #[test]
    fn a_truncated_message_is_refused() {
        assert!(Fields::read(&[0x0a, 5, b'a']).is_none());
        assert!(Fields::read(&[0x80]).is_none());
    }
}
