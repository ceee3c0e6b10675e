//! `services/events/v1/events.proto`, and `events/namespace.proto`.

use prost::Message;

use super::known::Any;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PublishRequest {
    #[prost(string, tag = "1")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) event: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamespaceDelete {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}
