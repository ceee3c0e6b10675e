//! The environment variables of a guest that Catamaran itself sets or reads; the spec has all others. docs/reference.md says what they
//! mean.

/// Set to the user's home directory, unless the spec sets it.
pub const HOME: &str = "HOME";
/// Set to the working directory, unless the spec sets it: preview 1 has no working directory, and programs take this for it.
pub const WORKING_DIRECTORY: &str = "PWD";
/// The folders in which the container's command is looked for.
pub const PATH: &str = "PATH";
/// The file of the certificates that a component's requests trust.
pub const CERTIFICATES: &str = "SSL_CERT_FILE";
