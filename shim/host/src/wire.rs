//! Writes protobuf fields, as a container's statistics need them. The messages themselves are in a crate that the shim has, but that
//! crate's code for them takes a page or two of every pod's memory.

/// A message that is being written. Zero and empty values are left out, as in proto3.
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

    /// Adds a string, bytes, or a message.
    pub fn with(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            self.varint(u64::from(field) << 3 | 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// Adds a number of type `double`.
    pub fn double(&mut self, field: u32, value: f64) {
        if value != 0.0 {
            self.varint(u64::from(field) << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Adds numbers, all in one field.
    pub fn numbers(&mut self, field: u32, values: &[u64]) {
        let mut all = Self::default();
        values.iter().for_each(|value| all.varint(*value));
        if !values.is_empty() {
            self.part(field, &all);
        }
    }

    /// Adds a string.
    pub fn text(&mut self, field: u32, value: &str) {
        *self = std::mem::take(self).with(field, value);
    }

    /// Adds a message, even an empty one, because its presence counts.
    pub fn part(&mut self, field: u32, value: &Self) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
    }

    /// Returns the bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::api::ForwardRequest;
    use containerd_shim_protos::protobuf::Message as _;
    use containerd_shim_protos::{cgroups, cgroups_v2};

    #[test]
    fn messages_are_read_by_the_protobuf_library() {
        let written = Message::default().with(1, Message::default().with(2, "namespace").with(3, "a".repeat(300)));
        let read = ForwardRequest::parse_from_bytes(written.as_ref()).unwrap();
        assert_eq!((read.envelope.namespace.as_str(), read.envelope.topic.len()), ("namespace", 300));
    }

    #[test]
    fn numbers_are_read_by_the_protobuf_library() {
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
}
