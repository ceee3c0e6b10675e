//! A fake API server for tests, in this process. It lists, watches and patches objects, and can be stopped and restarted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

type Body = BoxBody<Bytes, Infallible>;

/// A change of an object.
#[derive(Clone)]
struct Event {
    version: u64,
    kind: &'static str,
    collection: String,
    object: Value,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Objects by their paths.
    objects: BTreeMap<String, Value>,
    events: Vec<Event>,
    /// The oldest version from which a watch can resume.
    oldest: u64,
    /// Accepted patches, by path.
    patches: Vec<(String, Value)>,
    /// The prefix of paths whose patches are refused, and the status code.
    refusal: Option<(String, u16)>,
    /// The collection whose watches send nothing.
    silent: Option<String>,
}

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// The newest version, for watches that wait for a change.
    version: Arc<watch::Sender<u64>>,
}

pub(crate) struct FakeApi {
    shared: Shared,
    address: SocketAddr,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Shared { state: Arc::default(), version: Arc::new(watch::Sender::new(0)) };
        let address = listener.local_addr().unwrap();
        let server = Mutex::new(Some(tokio::spawn(serve(listener, shared.clone()))));
        Self { shared, address, server }
    }

    /// Closes all connections, and forgets all events, so that no watch can resume.
    pub(crate) async fn stop(&self) {
        let server = self.server.lock().unwrap().take().unwrap();
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        let mut state = self.state();
        state.events.clear();
        state.version += 1;
        state.oldest = state.version;
    }

    pub(crate) async fn start_again(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        *self.server.lock().unwrap() = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    pub(crate) fn client(&self) -> Client {
        let mut config = Config::new(format!("http://{}", self.address).parse().unwrap());
        // There is no TLS. This only avoids searching for the system's certificates.
        config.accept_invalid_certs = true;
        Client::try_from(config).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Creates or replaces an object of a collection such as "nodes" or "namespaces/ns/pods".
    pub(crate) fn put(&self, collection: &str, object: Value) {
        self.shared.put(&format!("/api/v1/{collection}"), object);
    }

    pub(crate) fn delete(&self, collection: &str, name: &str) {
        let collection = format!("/api/v1/{collection}");
        let object = self.state().objects.remove(&format!("{collection}/{name}")).unwrap();
        self.shared.record("DELETED", &collection, object);
    }

    pub(crate) fn get(&self, collection: &str, name: &str) -> Value {
        self.state().objects[&format!("/api/v1/{collection}/{name}")].clone()
    }

    /// Merges a change into an object, as another client would.
    pub(crate) fn merge(&self, collection: &str, name: &str, change: &Value) {
        let mut object = self.get(collection, name);
        json_patch::merge(&mut object, change);
        self.put(collection, object);
    }

    pub(crate) fn patches(&self) -> Vec<(String, Value)> {
        self.state().patches.clone()
    }

    pub(crate) fn silence(&self, collection: &str) {
        self.state().silent = Some(format!("/api/v1/{collection}"));
    }

    pub(crate) fn refuse_patches(&self, refusal: Option<(&str, u16)>) {
        self.state().refusal = refusal.map(|(path, code)| (path.to_owned(), code));
    }
}

impl Shared {
    fn put(&self, collection: &str, object: Value) -> Value {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        let is_new = !self.state.lock().unwrap().objects.contains_key(&path);
        let object = self.record(if is_new { "ADDED" } else { "MODIFIED" }, collection, object);
        self.state.lock().unwrap().objects.insert(path, object.clone());
        object
    }

    /// Gives the object a new version, records the event, and notifies the watches.
    fn record(&self, kind: &'static str, collection: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".into(), version.to_string().into());
        metadata.entry("uid").or_insert_with(|| format!("uid-{version}").into());
        let collection = collection.to_owned();
        state.events.push(Event { version, kind, collection, object: object.clone() });
        self.version.send_replace(version);
        object
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        Ok(match *request.method() {
            Method::GET if query.get("watch").is_some_and(|watch| watch == "true") => self.watch(path, query),
            Method::GET => self.list(&path, &query),
            Method::PATCH => {
                let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                self.patch(&path, &kind, &serde_json::from_slice(&body).unwrap())
            }
            _ => failure(405, "neither GET nor PATCH"),
        })
    }

    fn list(&self, collection: &str, query: &BTreeMap<String, String>) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let is_in = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == collection);
        let items = state.objects.iter().filter(|(path, object)| is_in(path) && is_selected(object, query));
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        let metadata = json!({"resourceVersion": state.version.to_string()});
        whole(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(self, collection: String, query: BTreeMap<String, String>) -> Response<Body> {
        let since: u64 = query["resourceVersion"].parse().unwrap();
        let newest = self.version.subscribe();
        let lines = stream::unfold((since, newest), move |(since, mut newest)| {
            let (shared, collection, query) = (self.clone(), collection.clone(), query.clone());
            async move {
                loop {
                    newest.borrow_and_update();
                    if let Some((version, line)) = shared.event_after(since, &collection, &query) {
                        return Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), (version, newest)));
                    }
                    newest.changed().await.ok()?;
                }
            }
        });
        Response::new(BodyExt::boxed(StreamBody::new(lines)))
    }

    fn event_after(&self, since: u64, collection: &str, query: &BTreeMap<String, String>) -> Option<(u64, Value)> {
        let state = self.state.lock().unwrap();
        if state.silent.as_deref() == Some(collection) {
            return None;
        }
        if since < state.oldest {
            let object =
                json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
            return Some((u64::MAX, json!({"type": "ERROR", "object": object})));
        }
        let is_wanted = |event: &&Event| {
            event.version > since && event.collection == collection && is_selected(&event.object, query)
        };
        let event = state.events.iter().find(is_wanted)?;
        Some((event.version, json!({"type": event.kind, "object": event.object})))
    }

    fn patch(&self, path: &str, kind: &str, patch: &Value) -> Response<Body> {
        let object = {
            let mut state = self.state.lock().unwrap();
            if let Some((_, code)) = state.refusal.as_ref().filter(|(refused, _)| path.starts_with(refused.as_str())) {
                return failure(*code, "patches are refused");
            }
            let Some(mut object) = state.objects.get(path).cloned() else { return failure(404, "not found") };
            match kind {
                "application/merge-patch+json" => json_patch::merge(&mut object, patch),
                "application/json-patch+json" => {
                    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
                    if let Err(e) = json_patch::patch(&mut object, &patch) {
                        return failure(422, &e.to_string());
                    }
                }
                other => return failure(415, other),
            }
            state.patches.push((path.to_owned(), patch.clone()));
            object
        };
        let (collection, _) = path.rsplit_once('/').unwrap();
        whole(200, &self.put(collection, object))
    }
}

/// Whether an object matches the query's label selector ("a=b,c=d") and its field selector on metadata.name.
fn is_selected(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let words = |key: &str| query.get(key).map_or("", String::as_str).split(',').filter(|words| !words.is_empty());
    let of_label =
        |words: &str| words.split_once('=').is_some_and(|(key, value)| object["metadata"]["labels"][key] == value);
    let of_field = |words: &str| {
        words.split_once('=').is_some_and(|(key, value)| key == "metadata.name" && object["metadata"]["name"] == value)
    };
    words("labelSelector").all(of_label) && words("fieldSelector").all(of_field)
}

fn failure(code: u16, message: &str) -> Response<Body> {
    whole(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": message}),
    )
}

fn whole(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

/// Serves until the task is aborted, which closes its connections.
async fn serve(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| shared.clone().answer(request));
            // A client ends a watch by closing its connection.
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
