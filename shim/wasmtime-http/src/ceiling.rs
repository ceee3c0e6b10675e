//! Bounds the sum of an instance's linear memories.

use wasmtime::{ResourceLimiter, Result};

/// Refuses memory beyond the limit: the guest is told that there is none.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    used: u64,
    /// In bytes.
    most: u64,
}

impl Ceiling {
    pub(crate) fn new(most: u64) -> Self {
        Self { used: 0, most }
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let sum = self.used.saturating_add((desired - current.min(desired)) as u64);
        if sum > self.most {
            return Ok(false);
        }
        self.used = sum;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut ceiling = Ceiling::new(100);
        assert!(ceiling.memory_growing(0, 60, None).unwrap());
        assert!(!ceiling.memory_growing(0, 50, None).unwrap(), "another one's begin");
        assert!(ceiling.memory_growing(60, 100, Some(200)).unwrap());
        assert!(!ceiling.memory_growing(100, 101, None).unwrap());
        assert!(!Ceiling::new(100).memory_growing(0, 10, Some(5)).unwrap());
    }
}
