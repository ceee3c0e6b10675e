//! Bounds the size of a file's artifact, because a few bytes can ask for much of the cache, which is for all of a node.
//!
//! Wasmtime writes tables and memories into an artifact as they are when the guest begins, gaps included. It bounds the size of each, and
//! not their number: two kilobytes made 1.6 GB, and a compile process of 3.7 GB (tried).

use std::collections::BTreeMap;

use catamaran_worker::compiler::ROOM;
use wasmtime::wasmparser::{ConstExpr, DataKind, DataSectionReader, Operator, Parser, Payload, TableSectionReader};

const MIB: u64 = 1 << 20;
/// Wasmtime's own bounds: for the entries of a table, and for the memory that it writes out whatever lies in it
/// (`memory_guaranteed_dense_image_size`).
const TABLE_MOST: u64 = MIB;
const IMAGE_MOST: u64 = 16 * MIB;
/// The most bytes of one entry of a table.
const ENTRY: u64 = 5;

/// Refuses, with a text for the user, a file whose initial tables and memories are out of proportion to it. A broken file passes: the
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
    // For each memory: where its data begins and ends, and how many bytes it is.
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

/// Returns where a segment lies, if that is known before the module runs.
fn constant(offset: &ConstExpr<'_>) -> Option<u64> {
    match offset.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some(value.cast_unsigned().into()),
        Operator::I64Const { value } => Some(value.cast_unsigned()),
        _ => None,
    }
}
