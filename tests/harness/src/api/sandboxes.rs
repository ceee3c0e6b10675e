//! `services/sandbox/v1/sandbox.proto`, and `types/sandbox.proto`.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoreCreateRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) sandbox: Option<Sandbox>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sandbox {
    #[prost(string, tag = "1")]
    pub(crate) sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) runtime: Option<Runtime>,
    #[prost(string, tag = "10")]
    pub(crate) sandboxer: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Runtime {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}
