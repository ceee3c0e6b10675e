//! A registry on loopback, from which containerd pulls every image, whatever host the image's name has (OCI distribution spec, "Pull").

use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use catamaran_harness::Image;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tiny_http::{Header, Request, Response, Server};

/// The content, by the requested path.
#[derive(Default)]
struct Content {
    /// A type and bytes.
    found: HashMap<String, (String, Vec<u8>)>,
}

/// Serves until it is dropped.
pub struct Registry {
    server: Arc<Server>,
    port: u16,
}

impl Registry {
    /// Serves the images, each by its repository and tag.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn serve<'i>(images: impl IntoIterator<Item = (&'i str, &'i str, Image)>) -> Self {
        let mut content = Content::default();
        for (repository, tag, image) in images {
            content.add(repository, tag, &image);
        }
        let server = Arc::new(Server::http("127.0.0.1:0").expect("no port on loopback"));
        let port = server.server_addr().to_ip().expect("an address").port();
        let served = server.clone();
        std::thread::spawn(move || {
            for request in served.incoming_requests() {
                content.answer(request);
            }
        });
        Self { server, port }
    }

    /// Returns text for containerd's configuration, so that it pulls all images from here. `folder` gets the files that the text names.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn configuration(&self, folder: &Path) -> String {
        let certs = folder.join("certs.d");
        fs::create_dir_all(certs.join("_default")).expect("cannot make a folder");
        let hosts = format!("[host.'http://127.0.0.1:{}']\n", self.port);
        fs::write(certs.join("_default/hosts.toml"), hosts).expect("cannot write");
        format!("[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '{}'", certs.display())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

impl Content {
    /// Adds the content of the image's OCI layout.
    fn add(&mut self, repository: &str, tag: &str, image: &Image) {
        let mut blobs = HashMap::new();
        let layout = image.to_tar();
        for entry in tar::Archive::new(Cursor::new(layout)).entries().expect("a layout") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            blobs.insert(name, bytes);
        }
        let index: Value = serde_json::from_slice(&blobs["index.json"]).expect("an index");
        let kind = index["manifests"][0]["mediaType"].as_str().expect("a type").to_owned();
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
        let manifest = blobs[&format!("blobs/{}", digest.replace(':', "/"))].clone();
        for reference in [tag, &digest] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            self.found.insert(path, (kind.clone(), manifest.clone()));
        }
        for (name, bytes) in blobs {
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                let path = format!("/v2/{repository}/blobs/sha256:{digest}");
                self.found.insert(path, ("application/octet-stream".to_owned(), bytes));
            }
        }
    }

    fn answer(&self, request: Request) {
        // The query names the host that this registry stands in for.
        let path = request.url().split('?').next().unwrap_or_default().to_owned();
        let header = |name: &str, value: &str| Header::from_bytes(name, value).expect("a header");
        let answered = match self.found.get(&path) {
            Some((kind, bytes)) => {
                let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                let response = Response::from_data(bytes.clone()).with_header(header("Content-Type", kind));
                request.respond(response.with_header(header("Docker-Content-Digest", &format!("sha256:{digest}"))))
            }
            None if path == "/v2/" => request.respond(Response::from_string("{}")),
            None => request.respond(Response::from_string("{}").with_status_code(404)),
        };
        // A client that went away asks again.
        drop(answered);
    }
}
