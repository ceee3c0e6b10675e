//! The parsers of untrusted input from a server, an image or a guest, without the network, for `tests/fuzz`.

use std::net::IpAddr;

use crate::config::Config;
use crate::message::{self, Answer, Kind, Question};
use crate::{Failure, Parsed, hosts, parsed};

/// Reads a server's message as the answer to a question for this name's addresses of version 4 or 6. Puts the question's number
/// into the message, because a fuzzer cannot guess it.
pub fn answer(name: &str, six: bool, message: &[u8]) -> Option<Vec<IpAddr>> {
    let question = Question::new(&message::name(name)?, if six { Kind::AAAA } else { Kind::A }).ok()?;
    let number = question.bytes().iter().take(2);
    let numbered: Vec<u8> = number.chain(message.iter().skip(2)).copied().collect();
    match question.answer(&numbered)? {
        Answer::Addresses(addresses) => Some(addresses),
        Answer::Failed | Answer::Cut => None,
    }
}

/// Reads a hosts file.
pub fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    hosts::addresses(text, name)
}

/// Reads a resolv.conf, and returns the number of its servers and the names to ask for in place of `name`.
pub fn resolv_conf(text: &str, name: &str) -> (usize, Vec<String>) {
    let config = Config::parse(text);
    (config.servers.len(), config.candidates(name))
}

/// Reads a host name in any script, or an address, and returns it in the form that a server would be asked for.
///
/// # Errors
/// If it is neither.
pub fn name(text: &str) -> Result<String, Failure> {
    parsed(text).map(|parsed| match parsed {
        Parsed::Address(address) => address.to_string(),
        Parsed::Name(name) => name,
    })
}
