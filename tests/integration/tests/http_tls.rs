//! A server that speaks TLS, with a certificate from a folder that is mounted for the worker and hidden from the guest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use catamaran_harness::{Container, Node, Task, guests, wait_until};
use catamaran_integration::component;
use catamaran_integration::http::{Client, PORT, image};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const SOON: Duration = Duration::from_secs(10);
const TLS: &str = "catamaran.wasm/http-tls";
const FOLDER: &str = "/etc/tls";

/// A CA, and a certificate of it for `pod.test`.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
    client: Arc<ClientConfig>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        Self { params, key, client }
    }

    /// Certificate and key, as PEM.
    fn pair(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let own = CertificateParams::new(vec!["pod.test".to_owned()]).unwrap();
        (own.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a new pair as the kubelet writes a secret: into a new folder, to which it then turns a link atomically.
    fn renew(&self, volume: &Path) {
        let (certificate, key) = self.pair();
        write(volume, &certificate, &key);
    }

    fn connect(&self, protocols: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
        let mut config = ClientConfig::clone(&self.client);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("pod.test").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        StreamOwned::new(client, stream)
    }

    /// Returns the answer to a request of HTTP/1.1 that closes its connection, with its head.
    fn ask(&self, path: &str) -> String {
        let mut stream = self.connect(&[]);
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: pod.test\r\nconnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Returns the certificate that the server shows.
    fn shown(&self) -> Vec<u8> {
        let mut stream = self.connect(&[]);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

fn write(volume: &Path, certificate: &str, key: &str) {
    let own = format!("..{:?}", Instant::now()).replace(|c: char| !c.is_ascii_digit() && c != '.', "");
    fs::create_dir(volume.join(&own)).unwrap();
    fs::write(volume.join(&own).join("tls.crt"), certificate).unwrap();
    fs::write(volume.join(&own).join("tls.key"), key).unwrap();
    symlink(&own, volume.join("..new")).unwrap();
    fs::rename(volume.join("..new"), volume.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{name}"), volume.join(name));
    }
}

fn volume(node: &Node, name: &str) -> PathBuf {
    let path = node.dir().join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn order<'n>(node: &'n Node, id: &str, volume: &Path) -> Container<'n> {
    let image = image("server").file("/etc/motd", "of the image\n");
    node.container(id).image(&image).annotation(TLS, FOLDER).bind(volume, FOLDER, ["rbind", "ro"])
}

fn ok(answer: &str, body: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(body), "{answer}");
}

#[test]
fn a_server_speaks_tls_and_nothing_else() {
    let (node, ca) = (Node::start(), Ca::new());
    let volume = volume(&node, "secret");
    ca.renew(&volume);
    let task = order(&node, "server", &volume).spawn();
    task.within(|| {
        ok(&ca.ask("/hello"), "hello from http\n");
        for (offered, agreed) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
            let mut stream = ca.connect(offered);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            assert_eq!(stream.conn.alpn_protocol(), Some(agreed.as_bytes()));
        }
        // A client without TLS gets nothing that could pass for an answer.
        let mut clear = Client::connect(PORT);
        clear.send("GET /hello HTTP/1.1\r\nhost: pod\r\n\r\n");
        let heard = clear.rest();
        assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
        // A silent client delays no other.
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
        ok(&ca.ask("/hello"), "hello from http\n");
        // The guest knows that the request came by HTTPS, and sees neither the key nor its folder.
        assert!(ca.ask("/request").to_lowercase().contains("https"), "{}", ca.ask("/request"));
        ok(&ca.ask("/file?/etc/motd"), "of the image\n");
        for path in ["/etc/tls/tls.key", "/etc/tls/tls.crt", "/etc/tls/..data/tls.key"] {
            assert!(ca.ask(&format!("/file?{path}")).starts_with("HTTP/1.1 404"), "{path}");
        }
    });
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0, "{}", task.stderr());
    task.delete();
    node.finish();
}

#[test]
fn a_guest_of_wasi_0_3_is_asked_by_https_too() {
    let (node, ca) = (Node::start(), Ca::new());
    let volume = volume(&node, "secret");
    ca.renew(&volume);
    let image = component("service", guests::http_3("service", "0.3.0"));
    let task = node.container("server").image(&image).annotation(TLS, FOLDER).bind(&volume, FOLDER, ["rbind", "ro"]);
    let task = task.spawn();
    task.within(|| ok(&ca.ask("/hello"), "hello from wasi 0.3\n"));
    task.discard();
    node.finish();
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_a_broken_one_is_not() {
    let (node, ca) = (Node::start(), Ca::new());
    let volume = volume(&node, "secret");
    ca.renew(&volume);
    let task = order(&node, "server", &volume).spawn();
    let shown = |task: &Task<'_>| task.within(|| ca.shown());
    let first = shown(&task);
    let mut kept = task.within(|| ca.connect(&[]));
    let mut asked = |path: &str| {
        kept.write_all(format!("GET {path} HTTP/1.1\r\nhost: pod.test\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        let read = kept.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    assert!(asked("/hello").starts_with("HTTP/1.1 200"));
    ca.renew(&volume);
    let second = wait_until(3 * SOON, "the new certificate", || Some(shown(&task)).filter(|shown| *shown != first));
    assert!(asked("/hello").starts_with("HTTP/1.1 200"), "the connection from before goes on");
    // The key of another certificate.
    write(&volume, &ca.pair().0, &ca.pair().1);
    wait_until(3 * SOON, "a word about it", || {
        assert!(shown(&task) == second, "the certificate from before is kept");
        task.stderr()
            .contains("the certificate from before is kept: /etc/tls: tls.key does not fit tls.crt")
            .then_some(())
    });
    ca.renew(&volume);
    wait_until(3 * SOON, "the newest certificate", || (shown(&task) != second).then_some(()));
    task.discard();
    node.finish();
}

#[test]
fn a_file_that_is_no_certificate_is_named_and_refuses_the_container() {
    let (node, ca) = (Node::start(), Ca::new());
    let (certificate, key) = ca.pair();
    let other = ca.pair().1;
    for (name, files, words) in [
        ("missing", &[("tls.crt", &certificate)][..], "/etc/tls/tls.key cannot be read: No such file or directory"),
        ("empty", &[("tls.crt", &String::new()), ("tls.key", &key)], "/etc/tls/tls.crt has no certificate"),
        ("swapped", &[("tls.crt", &certificate), ("tls.key", &certificate)], "/etc/tls/tls.key has no private key"),
        ("other", &[("tls.crt", &certificate), ("tls.key", &other)], "tls.key does not fit tls.crt"),
    ] {
        let volume = volume(&node, name);
        for (file, text) in files {
            fs::write(volume.join(file), text).unwrap();
        }
        let refused = order(&node, name, &volume).try_create().map(drop).unwrap_err();
        assert!(refused.message.contains(words), "{name}: {refused}");
    }
    // A key that the container's user may not read.
    let unreadable = volume(&node, "unreadable");
    fs::write(unreadable.join("tls.crt"), &certificate).unwrap();
    fs::write(unreadable.join("tls.key"), &key).unwrap();
    fs::set_permissions(unreadable.join("tls.key"), fs::Permissions::from_mode(0o400)).unwrap();
    let refused = order(&node, "unreadable", &unreadable).user("65532:65532").try_create().map(drop).unwrap_err();
    for words in ["/etc/tls/tls.key cannot be read: Permission denied", "runs as user 65532", "fsGroup"] {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
    // A link that leads out of the folder.
    let outside = volume(&node, "outside");
    fs::write(outside.join("tls.crt"), &certificate).unwrap();
    symlink("../key", outside.join("tls.key")).unwrap();
    let refused = order(&node, "outside", &outside).try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("/etc/tls/tls.key cannot be read: "), "{refused}");
    // And a folder where nothing is mounted.
    let image = image("server");
    let nowhere = node.container("nowhere").image(&image).annotation(TLS, FOLDER).try_create().map(drop).unwrap_err();
    for words in [
        "annotation catamaran.wasm/http-tls",
        "\"/etc/tls\", and nothing is mounted there",
        "the mountPath of a volume",
    ] {
        assert!(nowhere.message.contains(words), "{words}: {nowhere}");
    }
    node.finish();
}

#[test]
fn a_command_ignores_the_annotation() {
    let node = Node::start();
    let volume = volume(&node, "data");
    fs::write(volume.join("a"), "text").unwrap();
    let cat = component("read", catamaran_integration::adapted(&guests::go("kitchen")));
    let order = node.container("read").image(&cat).annotation(TLS, FOLDER).bind(&volume, FOLDER, ["rbind", "ro"]);
    let output = order.args(["/read.wasm", "read", "/etc/tls/a"]).limit(6 * SOON).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, "text"), "{output:?}");
    node.finish();
}

#[test]
fn connections_that_never_finish_the_tls_handshake_are_closed() {
    let (node, ca) = (Node::start(), Ca::new());
    let volume = volume(&node, "secret");
    ca.renew(&volume);
    let task = order(&node, "server", &volume).spawn();
    task.within(|| {
        let silent: Vec<_> = (0..100).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap()).collect();
        thread::sleep(Duration::from_secs(11));
        for mut stream in silent {
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut bytes = [0; 16];
            assert!(matches!(stream.read(&mut bytes), Ok(0) | Err(_)));
            let _ = stream.shutdown(Shutdown::Both);
        }
        ok(&ca.ask("/hello"), "hello from http\n");
    });
    task.discard();
    node.finish();
}

/// An attacker in the worker can reach the certificate's folder, and nothing beside it.
#[test]
fn the_workers_descriptor_of_the_folder_leads_nowhere_else() {
    let (node, ca) = (Node::start(), Ca::new());
    let volume = volume(&node, "secret");
    ca.renew(&volume);
    let task = order(&node, "server", &volume).spawn();
    let process = PathBuf::from(format!("/proc/{}", task.pid()));
    let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).unwrap();
    let all = fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = all.filter(|fd| place(fd) == place(&volume)).collect();
    let [folder] = &folders[..] else { panic!("one descriptor of the folder: {folders:?}") };
    assert_eq!(place(&folder.join("..")), place(&volume), "above it is nothing");
    assert_eq!(
        fs::read_dir(process.join("root/etc/tls")).map_or(0, Iterator::count),
        0,
        "it is not in the container's tree"
    );
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap();
    assert!(!mounts.contains(FOLDER), "{mounts}");
    task.discard();
    node.finish();
}
