//! Writes the question about one name, and reads an answer.

use std::net::IpAddr;
use std::str::FromStr;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::rdata::{A, Aaaa};

pub(crate) use domain::base::Rtype as Kind;

/// The most addresses that are taken from one answer.
const MOST: usize = 64;

pub(crate) type Bytes = Vec<u8>;

/// Returns a name in the form of a question, or None if it is too long.
pub(crate) fn name(text: &str) -> Option<Name<Bytes>> {
    Name::from_str(text).ok()
}

/// A server's answer about one kind of address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The addresses; empty if the name has none of this kind or does not exist.
    Addresses(Vec<IpAddr>),
    /// The server cannot tell.
    Failed,
    /// The answer does not fit in a datagram.
    Cut,
}

/// A question for one kind of address.
pub(crate) struct Question(Message<Bytes>);

impl Question {
    /// Makes the question for a name's addresses of one kind, under a number that nobody can guess.
    pub(crate) fn new(name: &Name<Bytes>, kind: Kind) -> std::io::Result<Self> {
        let mut number = [0; 2];
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(u16::from_ne_bytes(number));
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((name, kind)).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(Self(builder.into_message()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Reads `bytes`. Returns None if they are not an answer to this question.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let message = Message::from_octets(bytes).ok()?;
        if !message.is_answer(&self.0) {
            return None;
        }
        Some(match message.header().rcode() {
            _ if message.header().tc() => Answer::Cut,
            Rcode::NOERROR => addresses(&message).map_or(Answer::Failed, Answer::Addresses),
            Rcode::NXDOMAIN => Answer::Addresses(Vec::new()),
            _ => Answer::Failed,
        })
    }
}

/// Returns the addresses of the name that was asked for, or of the name that it is an alias of.
fn addresses(message: &Message<&[u8]>) -> Option<Vec<IpAddr>> {
    let owner = message.canonical_name()?;
    let records = message.answer().ok()?;
    let four = records.limit_to::<A>().flatten().filter(|r| r.owner().name_eq(&owner)).map(|r| r.data().addr().into());
    let six =
        records.limit_to::<Aaaa>().flatten().filter(|r| r.owner().name_eq(&owner)).map(|r| r.data().addr().into());
    // IPv4 addresses in the form of IPv6 become IPv4 again.
    Some(four.chain(six).map(|address: IpAddr| address.to_canonical()).take(MOST).collect())
}
