//! Bounds the tables and memories in an artifact. Without this a few bytes could fill much of the cache, which the whole node shares.
//!
//! Wasmtime writes the initial tables and memories into an artifact, gaps included. It bounds the size of each, but not their number: in a
//! test, 2 kB of module made 1.6 GB, in a compile process of 3.7 GB.

use std::collections::BTreeMap;

use catamaran_worker::compiler::ROOM;
use wasmtime::wasmparser::{ConstExpr, DataKind, DataSectionReader, Operator, Parser, Payload, TableSectionReader};

const MIB: u64 = 1 << 20;
/// Wasmtime's own bounds: for the entries of a table that it writes out, and for the size below which it always writes out a memory
/// (`memory_guaranteed_dense_image_size`).
const TABLE_MOST: u64 = MIB;
const IMAGE_MOST: u64 = 16 * MIB;
/// The most bytes of one table entry in an artifact.
const ENTRY: u64 = 5;

/// Refuses a file whose initial tables and memories are out of proportion to it, with a text for the user. A broken file passes: the
/// compiler says where it breaks.
pub(crate) fn check_start(bytes: &[u8]) -> Result<(), String> {
    let mut start = 0u64;
    for payload in Parser::new(0).parse_all(bytes) {
        start = start.saturating_add(match payload {
            Ok(Payload::TableSection(section)) => tables(section),
            Ok(Payload::DataSection(section)) => memories(section),
            Ok(_) => 0,
            Err(_) => break,
        });
    }
    let most = ROOM + 2 * bytes.len() as u64;
    match start > most {
        false => Ok(()),
        true => Err(format!(
            "the file has {} bytes, and its tables and memories with the gaps in them begin as {start}: at most {most} are \
             compiled; make tables no larger than their elements, and put the data of memories closer together",
            bytes.len()
        )),
    }
}

fn tables(section: TableSectionReader<'_>) -> u64 {
    let entries = section.into_iter().flatten().map(|table| table.ty.initial).filter(|&entries| entries <= TABLE_MOST);
    entries.fold(0, |all, entries| all.saturating_add(entries * ENTRY))
}

fn memories(section: DataSectionReader<'_>) -> u64 {
    // For each memory: the begin and end of its data, and the number of its bytes.
    let mut spans = BTreeMap::<u32, (u64, u64, u64)>::new();
    for data in section.into_iter().flatten() {
        let DataKind::Active { memory_index, offset_expr } = data.kind else { continue };
        let Some(begin) = constant(&offset_expr) else { continue };
        let length = data.data.len() as u64;
        let span = spans.entry(memory_index).or_insert((u64::MAX, 0, 0));
        *span = (span.0.min(begin), span.1.max(begin.saturating_add(length)), span.2 + length);
    }
    let images = spans.into_values().map(|(begin, end, data)| (end.saturating_sub(begin), data));
    let written = images.filter(|&(image, data)| image < IMAGE_MOST || image < 2 * data);
    written.fold(0, |all, (image, _)| all.saturating_add(image))
}

/// Returns a segment's offset, if it is a constant.
fn constant(offset: &ConstExpr<'_>) -> Option<u64> {
    match offset.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some(value.cast_unsigned().into()),
        Operator::I64Const { value } => Some(value.cast_unsigned()),
        _ => None,
    }
}
