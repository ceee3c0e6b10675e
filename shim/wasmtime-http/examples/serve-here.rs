//! Serves a component's artifact as the worker does, without confinement: `serve-here ARTIFACT ADDRESS [KEY=VALUE ...]`, for
//! profiles and the tests of this crate. Keys: requests, timeout (milliseconds, or none), reuse, memory, body, processors, duck.

use std::error::Error;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use catamaran_wasmtime_http::Http;
use catamaran_worker::job::{Rules, Server};
use catamaran_worker::{Guest, Runner, Terms};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (artifact, address) = (words.next().ok_or("no artifact")?, words.next().ok_or("no address")?);
    let mut server = Server::new(address.parse()?, "the command line");
    for word in words {
        let (key, value) = word.split_once('=').ok_or("KEY=VALUE")?;
        match key {
            "requests" => server.most_requests = value.parse()?,
            "timeout" if value == "none" => server.request_timeout = None,
            "timeout" => server.request_timeout = Some(Duration::from_millis(value.parse()?)),
            "reuse" => server.instance_reuse = Some(value.parse()?),
            "memory" => server.instance_memory = Some(value.parse()?),
            "body" => server.most_body = Some(value.parse()?),
            "processors" => server.processors = Some(value.parse()?),
            "duck" => server.lame_duck = Duration::from_millis(value.parse()?),
            other => return Err(format!("no such key: {other}").into()),
        }
    }
    let artifact = File::open(artifact)?;
    let back = std::env::current_dir()?;
    // A component is mapped by its descriptor's number.
    std::env::set_current_dir("/proc/self/fd")?;
    let (listen, rules) = (server.listen, Rules { wasi_p3: true, link_local_requests: false });
    let mut http = Http::load(artifact, Terms { server: Some(server), certificate: None, rules })?;
    std::env::set_current_dir(back)?;
    http.listen()?;
    let guest = Guest { args: vec!["/server.wasm".to_owned()], env: Vec::new(), cwd: "/".to_owned() };
    let serve = http.link(&guest)?;
    eprintln!("serving on {listen}");
    Ok(serve())
}
