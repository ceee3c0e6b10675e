//! A command of WASI 0.3, by its first argument:
//!   hello           "hello from wasi 0.3" by a stream of 0.3      print WORDS   the same words by Rust's own library, of 0.2
//!   env NAME        a variable, as 0.3 has it                     cwd           the first folder
//!   cat             standard input to standard output             read PATH     a file, by 0.3
//!   together        two waits of 700 ms at once, and how long both took, in milliseconds
//!   get HOST PATH   a request of its own: the status and the body, or the error
//!   resolve NAME    the addresses of a name                       listen PORT   a connection is taken, and its first bytes sent back
//!   fail            an error of `run`                             exit N        the exit code        trap
use wasip3::cli::{environment, exit, stdin, stdout};
use wasip3::clocks::monotonic_clock::{now, wait_for};
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket};
use wasip3::{wit_future, wit_stream};

struct Command;
wasip3::cli::command::export!(Command);

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let arguments = environment::get_arguments();
        let argument = |n: usize| arguments.get(n).map_or("", String::as_str);
        match argument(1) {
            "hello" => write("hello from wasi 0.3\n").await,
            "print" => println!("{}", argument(2)),
            "env" => {
                let all = environment::get_environment();
                let value = all.into_iter().find(|(name, _)| name == argument(2)).map(|(_, value)| value);
                write(&format!("{}\n", value.unwrap_or_else(|| "unset".to_owned()))).await;
            }
            "cwd" => write(&format!("{:?} {}\n", environment::get_initial_cwd(), preopens::get_directories()[0].1)).await,
            "cat" => {
                let (mut from, ended) = stdin::read_via_stream();
                let (mut to, out) = wit_stream::new();
                let copy = async {
                    while let (_, bytes) = from.read(Vec::with_capacity(4096)).await
                        && !bytes.is_empty()
                    {
                        assert!(to.write_all(bytes).await.is_empty());
                    }
                    drop(to);
                };
                let (written, ()) = futures::join!(stdout::write_via_stream(out).into_future(), copy);
                written.unwrap();
                ended.await.unwrap();
            }
            "read" => {
                let (root, _) = preopens::get_directories().remove(0);
                let path = argument(2).trim_start_matches('/').to_owned();
                let opened = root.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ).await;
                match opened {
                    Ok(file) => {
                        let (bytes, ended) = file.read_via_stream(0);
                        write(&String::from_utf8(bytes.collect().await).unwrap()).await;
                        ended.await.unwrap();
                    }
                    Err(code) => write(&format!("{code:?}\n")).await,
                }
            }
            "together" => {
                let begin = now();
                futures::join!(wait_for(700_000_000), wait_for(700_000_000));
                write(&format!("{}\n", (now() - begin) / 1_000_000)).await;
            }
            "get" => write(&get(argument(2), argument(3)).await.unwrap_or_else(|code| format!("{code:?}\n"))).await,
            "resolve" => write(&format!("{:?}\n", resolve_addresses(argument(2).to_owned()).await)).await,
            "listen" => listen(argument(2).parse().unwrap()).await,
            "fail" => return Err(()),
            "exit" => exit::exit_with_code(argument(2).parse().unwrap()),
            "trap" => std::process::abort(),
            other => panic!("no such word: {other}"),
        }
        Ok(())
    }
}

async fn write(text: &str) {
    let (mut to, out) = wit_stream::new();
    let bytes = text.as_bytes().to_vec();
    let all = async {
        assert!(to.write_all(bytes).await.is_empty());
        drop(to);
    };
    futures::join!(stdout::write_via_stream(out).into_future(), all).0.unwrap();
}

async fn get(host: &str, path: &str) -> Result<String, ErrorCode> {
    let (trailers, none) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (request, _sent) = Request::new(Fields::new(), None, none, None);
    let _ = request.set_method(&Method::Get);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(host)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let response = client::send(request).await?;
    let status = response.get_status_code();
    let (_done, done) = wit_future::new(|| Ok(()));
    let (body, _trailers) = Response::consume_body(response, done);
    Ok(format!("{status} {}", String::from_utf8_lossy(&body.collect().await)))
}

async fn listen(port: u16) {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    socket.bind(IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) })).unwrap();
    let mut connections = socket.listen().unwrap();
    let connection = connections.next().await.unwrap();
    let (mut from, _) = connection.receive();
    let (_, bytes) = from.read(Vec::with_capacity(64)).await;
    let (mut to, out) = wit_stream::new();
    let all = async {
        to.write_all(bytes).await;
        drop(to);
    };
    let _ = futures::join!(connection.send(out).into_future(), all);
}
