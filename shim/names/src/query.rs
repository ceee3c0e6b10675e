//! Asks the servers, one after the other, until both kinds of address are known.

use std::io;
use std::net::{IpAddr, SocketAddr};

use domain::base::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::config::Config;
use crate::message::{Answer, Bytes, Kind, Question};
use crate::socket::connected;

/// A length above every UDP answer to a client that has not announced that it takes more.
const DATAGRAM: usize = 4096;

/// The outcome for one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one address.
    Addresses(Vec<IpAddr>),
    /// The name does not exist, or has no address.
    None,
    /// Servers answered, but none could tell.
    Failed,
    /// No server answered.
    Silence,
}

/// The two questions about one name. Each is asked until a server knows.
struct Both([(Question, Option<Answer>); 2]);

/// Asks for the addresses of `name`.
pub(crate) async fn ask(config: &Config, name: &Name<Bytes>) -> Outcome {
    let new = |kind| Question::new(name, kind).map(|question| (question, None));
    let (Ok(four), Ok(six)) = (new(Kind::A), new(Kind::AAAA)) else { return Outcome::Failed };
    let mut both = Both([four, six]);
    for _ in 0..config.attempts {
        for server in &config.servers {
            // After an error or a timeout, the next server is asked for all that is not known yet.
            let _ = timeout(config.timeout, both.ask(config, *server)).await;
            if both.open().next().is_none() {
                return both.outcome();
            }
        }
    }
    both.outcome()
}

impl Both {
    /// Returns the questions that no server has answered yet.
    fn open(&mut self) -> impl Iterator<Item = &mut (Question, Option<Answer>)> {
        self.0.iter_mut().filter(|(_, answer)| !matches!(answer, Some(Answer::Addresses(_))))
    }

    async fn ask(&mut self, config: &Config, server: SocketAddr) -> io::Result<()> {
        let mut open: Vec<_> = self.open().collect();
        match (config.tcp, config.one_at_a_time) {
            (true, _) => {}
            (false, false) => by_udp(server, &mut open).await?,
            (false, true) => {
                for one in open.chunks_mut(1) {
                    by_udp(server, one).await?;
                }
            }
        }
        for (question, answer) in open.into_iter().filter(|(_, a)| config.tcp || *a == Some(Answer::Cut)) {
            *answer = by_tcp(server, question).await?;
        }
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let mut found = Vec::new();
        let (mut failed, mut silent) = (false, 0);
        for (_, answer) in self.0 {
            match answer {
                Some(Answer::Addresses(addresses)) => found.extend(addresses),
                Some(Answer::Failed | Answer::Cut) => failed = true,
                None => silent += 1,
            }
        }
        match (found.is_empty(), silent) {
            // One kind of address is enough.
            (false, _) => Outcome::Addresses(found),
            (true, 2) => Outcome::Silence,
            (true, 0) if !failed => Outcome::None,
            (true, _) => Outcome::Failed,
        }
    }
}

/// Asks with one socket, and waits for all answers. The kernel accepts messages from the server alone.
async fn by_udp(server: SocketAddr, questions: &mut [&mut (Question, Option<Answer>)]) -> io::Result<()> {
    let socket = UdpSocket::from_std(connected(server)?)?;
    for (question, _) in questions.iter() {
        socket.send(question.bytes()).await?;
    }
    let mut heard = vec![false; questions.len()];
    let mut bytes = vec![0; DATAGRAM];
    while heard.contains(&false) {
        let n = socket.recv(&mut bytes).await?;
        for ((question, known), heard) in questions.iter_mut().map(|q| &mut **q).zip(&mut heard) {
            // The first answer counts.
            if let Some(answer) = question.answer(&bytes[..n]).filter(|_| !*heard) {
                *known = Some(answer);
                *heard = true;
            }
        }
    }
    Ok(())
}

/// Asks with a connection of its own. Returns None if the server answers something else.
async fn by_tcp(server: SocketAddr, question: &Question) -> io::Result<Option<Answer>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes().len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question.bytes()].concat()).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(question.answer(&bytes).map(|answer| match answer {
        // There is no further way to ask for an answer that is cut even on TCP.
        Answer::Cut => Answer::Failed,
        answer => answer,
    }))
}
