//! A question about one name, and what an answer says.

use std::net::IpAddr;
use std::str::FromStr;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::rdata::{A, Aaaa};

pub(crate) use domain::base::Rtype as Kind;

/// As many addresses as one answer is taken for.
const MOST: usize = 64;

pub(crate) type Bytes = Vec<u8>;

/// A name as it goes into a question, if it is not too long.
pub(crate) fn name(text: &str) -> Option<Name<Bytes>> {
    Name::from_str(text).ok()
}

/// What a server says about one kind of address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// None, if the name has none of this kind or does not exist.
    Addresses(Vec<IpAddr>),
    /// It cannot say.
    Failed,
    /// More than fits in a datagram.
    Cut,
}

/// One question.
pub(crate) struct Question(Message<Bytes>);

impl Question {
    /// For a name's addresses of one kind, under a number that nobody can guess.
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

    /// What `bytes` say; nothing if they are no answer to this question.
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

/// Those of the name that was asked for, or of what it is an alias of.
fn addresses(message: &Message<&[u8]>) -> Option<Vec<IpAddr>> {
    let owner = message.canonical_name()?;
    let records = message.answer().ok()?;
    let four = records.limit_to::<A>().flatten().filter(|r| r.owner().name_eq(&owner)).map(|r| r.data().addr().into());
    let six =
        records.limit_to::<Aaaa>().flatten().filter(|r| r.owner().name_eq(&owner)).map(|r| r.data().addr().into());
    // Those of IPv4 that a server gives as IPv6 are IPv4's.
    Some(four.chain(six).map(|address: IpAddr| address.to_canonical()).take(MOST).collect())
}
