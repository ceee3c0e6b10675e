//! The little of protobuf that the calls to containerd and a container's figures need: writing fields, reading a few back. The
//! services' messages are in no crate that this program has, and a generated client is larger than all that it would be
//! asked; those of the figures are, and their code is a page or two of every pod's memory.

/// A message being written. What is zero or empty is left out, as proto3 does.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A string, bytes, or a message.
    pub fn with(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            self.varint(u64::from(field) << 3 | 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
        self
    }

    /// A number.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// A number of type `double`.
    pub fn double(&mut self, field: u32, value: f64) {
        if value != 0.0 {
            self.varint(u64::from(field) << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Numbers, all in one field.
    pub fn numbers(&mut self, field: u32, values: &[u64]) {
        let mut all = Self::default();
        values.iter().for_each(|value| all.varint(*value));
        if !values.is_empty() {
            self.part(field, &all);
        }
    }

    /// A string.
    pub fn text(&mut self, field: u32, value: &str) {
        *self = std::mem::take(self).with(field, value);
    }

    /// A message, also when nothing is in it: it is there.
    pub fn part(&mut self, field: u32, value: &Self) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
    }

    /// What was written.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A value as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width: no field that is read here has one.
    Fixed,
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no protobuf message")]
pub struct Malformed;

/// The last string, bytes or message of that number, as proto3 reads a field; empty where there is none.
pub fn bytes(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = &[];
    each(message, |field, value| match value {
        Value::Bytes(bytes) if field == number => found = bytes,
        _ => {}
    })?;
    Ok(found)
}

/// All of them, of a field that is repeated, or of a map.
pub fn all(message: &[u8], number: u32) -> Result<Vec<&[u8]>, Malformed> {
    let mut found = Vec::new();
    each(message, |field, value| match value {
        Value::Bytes(bytes) if field == number => found.push(bytes),
        _ => {}
    })?;
    Ok(found)
}

/// The same as [`bytes`], of text.
pub fn text(message: &[u8], number: u32) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes(message, number)?).map_err(|_| Malformed)
}

/// The last number, zero where there is none.
pub fn number(message: &[u8], number: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    each(message, |field, value| match value {
        Value::Number(value) if field == number => found = value,
        _ => {}
    })?;
    Ok(found)
}

fn each<'a>(mut rest: &'a [u8], mut see: impl FnMut(u32, Value<'a>)) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let field = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).map_err(|_| Malformed)?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        see(field, value);
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = tail;
    Ok(head)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *take(rest, 1)? else { return Err(Malformed) };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::api::ForwardRequest;
    use containerd_shim_protos::protobuf::Message as _;
    use containerd_shim_protos::shim::event::Envelope;
    use containerd_shim_protos::{cgroups, cgroups_v2};

    #[test]
    fn what_is_written_another_library_reads() {
        let written = Message::default().with(1, Message::default().with(2, "namespace").with(3, "a".repeat(300)));
        let read = ForwardRequest::parse_from_bytes(written.as_ref()).unwrap();
        assert_eq!((read.envelope.namespace.as_str(), read.envelope.topic.len()), ("namespace", 300));
    }

    #[test]
    fn numbers_of_each_kind_another_library_reads() {
        let (mut data, mut psi, mut cpu, mut all) = Default::default();
        let figures: [(u32, f64); 3] = [(1, 12.34), (2, 0.0), (3, 100.0)];
        figures.iter().for_each(|(field, value)| Message::double(&mut data, *field, *value));
        data.number(4, u64::MAX);
        Message::part(&mut psi, 1, &data);
        Message::number(&mut cpu, 1, 300);
        cpu.part(7, &psi);
        Message::part(&mut all, 2, &cpu);
        all.part(4, &Message::default());
        let read = cgroups_v2::metrics::Metrics::parse_from_bytes(&all.done()).unwrap();
        let some = &read.cpu.psi.some;
        assert_eq!((some.avg10, some.avg60, some.avg300, some.total), (12.34, 0.0, 100.0, u64::MAX));
        assert_eq!(read.cpu.usage_usec, 300);
        assert!(read.memory.is_some() && read.pids.is_none(), "what is empty is there all the same");
        let mut usage = Message::default();
        usage.numbers(4, &[1, 0, 300]);
        usage.numbers(5, &[]);
        let read = cgroups::metrics::CPUUsage::parse_from_bytes(&usage.done()).unwrap();
        assert_eq!(read.per_cpu, [1, 0, 300]);
    }

    #[test]
    fn what_another_library_writes_is_read() {
        let envelope = Envelope { namespace: "n".into(), topic: "t".repeat(200), ..Default::default() };
        let request = ForwardRequest { envelope: Some(envelope).into(), ..Default::default() };
        let written = request.write_to_bytes().unwrap();
        let envelope = bytes(&written, 1).unwrap();
        assert_eq!((text(envelope, 2), text(envelope, 3), text(envelope, 9)), (Ok("n"), Ok(&*"t".repeat(200)), Ok("")));
        assert_eq!(number(&[8, 0x80, 1, 8, 7], 1), Ok(7), "the last one counts");
        assert_eq!(all(&[10, 1, 7, 18, 0, 10, 0], 1), Ok(vec![&[7][..], &[]]), "each one");
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let endless = [0xff; 11];
        let broken: [&[u8]; 7] = [&[10], &[10, 5, 1], &[0x80], &[8], &endless, &[0x0b], &[9, 1, 2]];
        for message in broken {
            assert_eq!(bytes(message, 1), Err(Malformed), "{message:?}");
        }
        assert_eq!(text(&[10, 1, 0xff], 1), Err(Malformed));
        // A length of 2^63 and more.
        assert_eq!(bytes(&[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 1), Err(Malformed));
    }
}
