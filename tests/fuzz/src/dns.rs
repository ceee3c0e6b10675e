//! Names and addresses: a server's message, a hosts file, a resolv.conf, and a guest's requested name.

use catamaran_names::untrusted;

use crate::Taken;

/// The name in the question.
const NAME: &str = "www.example.org";
/// The limit of addresses that are passed on for one name.
const MOST_ADDRESSES: usize = 64;
/// resolv.conf(5).
const MOST_SERVERS: usize = 3;
/// RFC 1035, with the dot of the root.
const LONGEST_NAME: usize = 254;

/// A letter for the kind of the rest: `4` or `6` a message, `h` hosts, `r` resolv.conf, and any other a name.
pub(crate) fn target(input: &[u8]) -> Taken {
    let Some((first, rest)) = input.split_first() else { return false };
    let text = String::from_utf8_lossy(rest);
    match first {
        b'4' | b'6' => {
            let addresses = untrusted::answer(NAME, *first == b'6', rest).unwrap_or_default();
            assert!(addresses.len() <= MOST_ADDRESSES);
            !addresses.is_empty()
        }
        b'h' => {
            let addresses = untrusted::hosts(&text, NAME);
            assert!(addresses.len() <= MOST_ADDRESSES);
            !addresses.is_empty()
        }
        b'r' => {
            let (servers, names) = untrusted::resolv_conf(&text, "web");
            assert!((1..=MOST_SERVERS).contains(&servers) && names.iter().any(|name| name == "web"));
            names.len() > 1
        }
        _ => match untrusted::name(&text) {
            Ok(name) => {
                assert!(name.is_ascii() && name.len() <= LONGEST_NAME, "{name:?}");
                assert_eq!(untrusted::name(&name), Ok(name.clone()), "of {text:?}");
                true
            }
            Err(_) => false,
        },
    }
}
