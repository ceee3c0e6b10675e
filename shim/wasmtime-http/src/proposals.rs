//! Proposals to WASI that components of other runtimes use: `wasi:config/store`, which is the container's environment here, and
//! `wasi:logging`, which is its standard error.

use catamaran_wasmtime::world::World;
use catamaran_wasmtime_artifact::interfaces::LOGGING;
use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_config::WasiConfig;

use crate::guest::Extra;

/// `level` of `wasi:logging/logging`.
#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "a guest's call makes them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
        }
    }
}

/// Provides `wasi:config/store`, from the container's environment.
pub(crate) fn provide_config(linker: &mut Linker<World<Extra>>) -> Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |world| WasiConfig::from(&*world.extra.config))
}

/// Provides `wasi:logging/logging`, by each of its names that the component imports.
pub(crate) fn provide_logging(linker: &mut Linker<World<Extra>>, imports: impl Fn(&str) -> bool) -> Result<()> {
    for name in LOGGING.into_iter().filter(|name| imports(name)) {
        linker.instance(name)?.func_wrap_async(
            "log",
            |store: StoreContextMut<'_, World<Extra>>, (level, context, message): (Level, String, String)| {
                let log = store.data().extra.log.clone();
                Box::new(async move {
                    log.write(line(level, &context, &message)).await;
                    Ok(())
                })
            },
        )?;
    }
    Ok(())
}

/// Makes one line of a message, whatever is in it, so that it cannot look like two.
fn line(level: Level, context: &str, message: &str) -> String {
    let plain = |text: &str| text.trim_end_matches('\n').replace(['\n', '\r'], " ");
    match context {
        "" => format!("{}: {}\n", level.word(), plain(message)),
        context => format!("{}: {}: {}\n", level.word(), plain(context), plain(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, line};

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line(Level::Info, "", "hello\n"), "info: hello\n");
        assert_eq!(line(Level::Critical, "a\nb", "one\ntwo"), "critical: a b: one two\n");
    }
}
