//! Header fields of HTTP/2 (RFC 7541), as far as a gRPC client needs them: requests are written plainly, and of a response's
//! fields only those are read whose names gRPC has. There is no dynamic table: the peer is told so ([`TABLE_SIZE`]).

/// The value of `SETTINGS_HEADER_TABLE_SIZE` that goes with this.
pub(super) const TABLE_SIZE: u32 = 0;
const STATUS: &[u8] = b":status";
/// The static table's entries for `:status` (RFC 7541, appendix A), from this index on.
const FIRST_STATUS: usize = 8;
const STATUSES: [&[u8]; 7] = [b"200", b"204", b"206", b"304", b"400", b"404", b"500"];
/// The static table's last index.
const LAST: usize = 61;

/// A field of a response. Its name is empty where it is one of the static table that nobody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The bytes are no header block, or one for a peer with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed header block")]
pub(super) struct Malformed;

/// Writes fields: each a literal that nobody is to index, its name and its value as they are.
pub(super) fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            write_number(&mut block, 7, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number behind the bits that share its first byte, which are all zero (section 5.1).
fn write_number(block: &mut Vec<u8>, prefix: u32, mut number: usize) {
    let most = (1 << prefix) - 1;
    if number < most {
        block.push(number as u8);
        return;
    }
    block.push(most as u8);
    number -= most;
    while number > 0x7f {
        block.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// Reads a whole header block.
pub(super) fn decode(mut block: &[u8]) -> Result<Vec<Field>, Malformed> {
    let mut fields = Vec::new();
    while let Some(&first) = block.first() {
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let number = read_number(&mut block, prefix)?;
        match prefix {
            7 => fields.push(indexed(number)?),
            // Another size of the table, which can only be none.
            5 if number as u64 > u64::from(TABLE_SIZE) => return Err(Malformed),
            5 => {}
            _ => {
                let name = if number == 0 { read_text(&mut block)? } else { indexed(number)?.name };
                fields.push(Field { name, value: read_text(&mut block)? });
            }
        }
    }
    Ok(fields)
}

fn indexed(index: usize) -> Result<Field, Malformed> {
    if index == 0 || index > LAST {
        return Err(Malformed);
    }
    let status = index.checked_sub(FIRST_STATUS).and_then(|at| STATUSES.get(at));
    Ok(match status {
        Some(value) => Field { name: STATUS.to_vec(), value: value.to_vec() },
        None => Field { name: Vec::new(), value: Vec::new() },
    })
}

fn take(block: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, rest) = block.split_first().ok_or(Malformed)?;
    *block = rest;
    Ok(*first)
}

fn read_number(block: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let most = (1 << prefix) - 1;
    let mut number = usize::from(take(block)?) & most;
    if number < most {
        return Ok(number);
    }
    // No length and no index of ours needs more.
    for shift in [0, 7, 14] {
        let byte = take(block)?;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn read_text(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = read_number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if coded { huffman(text) } else { Ok(text.to_vec()) }
}

/// How many bits each byte's code has, and the end's (RFC 7541, appendix B). The code is canonical: shorter ones first, those
/// of one length in the order of their bytes, so that the lengths are all of it.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19,
    22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;
const END: usize = 256;

fn huffman(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut counts = [0; LONGEST + 1];
    LENGTHS.iter().for_each(|length| counts[usize::from(*length)] += 1);
    let mut text = Vec::with_capacity(coded.len() * 2);
    // Of the code that is being read: its bits, how many, and the first code of that length.
    let (mut code, mut length, mut first) = (0usize, 0usize, 0usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| usize::from(byte >> at & 1))) {
        code = code << 1 | bit;
        length += 1;
        first = (first + counts[length - 1]) << 1;
        if code < first + counts[length] {
            match symbol(length, code - first) {
                END => return Err(Malformed),
                symbol => text.push(symbol as u8),
            }
            (code, length, first) = (0, 0, 0);
        } else if length == LONGEST {
            return Err(Malformed);
        }
    }
    // What is left fills the last byte: the beginning of the end's code, all ones.
    if length < 8 && code + 1 == 1 << length { Ok(text) } else { Err(Malformed) }
}

/// The symbol that is the `nth` of those with codes of this length.
fn symbol(length: usize, nth: usize) -> usize {
    let same = LENGTHS.iter().enumerate().filter(|(_, own)| usize::from(**own) == length);
    same.map(|(symbol, _)| symbol).nth(nth).unwrap_or(END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn field(name: &str, value: &str) -> Field {
        Field { name: name.into(), value: value.into() }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // C.4: requests with Huffman codes. C.1: numbers.
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            // C.6: responses.
            ("6402", "302"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            assert_eq!(huffman(&bytes(hex)).unwrap(), text.as_bytes(), "{text}");
        }
        assert_eq!(read_number(&mut &bytes("1f9a0a")[..], 5), Ok(1337));
        assert_eq!(read_number(&mut &bytes("0a")[..], 5), Ok(10));
        let mut written = Vec::new();
        write_number(&mut written, 5, 1337);
        assert_eq!(written, bytes("1f9a0a"));
        // C.6.1: `:status` 302, and three fields that nobody asks for.
        let response = bytes(
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
             8f0b 97c8 e9ae 82ae 43d3",
        );
        let fields = decode(&response).unwrap();
        assert_eq!((fields.len(), &fields[0]), (4, &field(":status", "302")));
    }

    #[test]
    fn every_code_has_its_symbol() {
        // Each symbol's code by the rule, in bits, filled with ones.
        let mut order: Vec<usize> = (0..257).collect();
        order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
        let (mut code, mut before) = (0u64, 0);
        for symbol in order {
            let length = LENGTHS[symbol];
            code <<= length - before;
            before = length;
            let padded = code << (40 - length) | ((1 << (40 - length)) - 1);
            let whole = usize::from(length).div_ceil(8);
            let coded = &padded.to_be_bytes()[3..3 + whole];
            let expected = if symbol == END { Err(Malformed) } else { Ok(vec![symbol as u8]) };
            assert_eq!(huffman(coded), expected, "symbol {symbol}");
            code += 1;
        }
        assert_eq!(code, 1 << 30, "every string of bits is a code or its beginning");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = "x".repeat(300);
        let fields = [("content-type", "application/grpc"), ("x", ""), ("y", &long)];
        let expected: Vec<_> = fields.iter().map(|(name, value)| field(name, value)).collect();
        assert_eq!(decode(&encode(&fields)).unwrap(), expected);
        assert_eq!(decode(&[0x88]).unwrap(), [field(":status", "200")]);
        assert_eq!(decode(&[0x20, 0x88]).unwrap(), [field(":status", "200")]);
    }

    #[test]
    fn broken_blocks_are_refused() {
        for hex in [
            "80",                     // index zero
            "be",                     // the dynamic table's first entry
            "ff8001",                 // far behind it
            "3f01",                   // a table of 32 bytes
            "00",                     // no name
            "000161",                 // no value
            "000561",                 // shorter than it says
            "00ffffffffffffffffff01", // a length of 2^63 and more
            "0081ff0161",             // a code that is cut
            "0085ffffffffff00",       // the end's code
            "0082f1e3f1",             // filled with other than ones
            "0f",                     // an index that is cut
        ] {
            assert_eq!(decode(&bytes(hex)), Err(Malformed), "{hex}");
        }
    }
}
