//! Refusals of calls.

use zbus::message::Header;
use zbus::names::ErrorName;
use zbus::{DBusError, Message};

/// An error of D-Bus: its name and its text, in systemd's words.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    name: String,
    text: String,
}

pub(crate) type Result<T> = std::result::Result<T, Refused>;

impl Refused {
    /// One of systemd's own errors, such as `NoSuchUnit`.
    pub(crate) fn own(name: &str, text: impl Into<String>) -> Self {
        Self { name: format!("org.freedesktop.systemd1.{name}"), text: text.into() }
    }

    /// One of D-Bus's, such as `InvalidArgs`.
    pub(crate) fn of_bus(name: &str, text: impl Into<String>) -> Self {
        Self { name: format!("org.freedesktop.DBus.Error.{name}"), text: text.into() }
    }

    pub(crate) fn not_loaded(unit: &str) -> Self {
        Self::own("NoSuchUnit", format!("Unit {unit} not loaded."))
    }
}

impl DBusError for Refused {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name())?.build(&(&self.text,))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_str_unchecked(&self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.text)
    }
}
