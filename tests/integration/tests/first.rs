//! first
use catamaran_harness::{Node, Runtime, guests};
#[test]
fn hello() {
    let node = Node::start().runtime(Runtime::Catamaran);
    let out = node.container("hello").image(&guests::image(Runtime::Catamaran, "hello")).run();
    eprintln!("{out:?}");
    eprintln!("{}", node.log().lines().filter(|l| l.contains("catamaran")).collect::<Vec<_>>().join("\n"));
    assert_eq!(out.code, 0);
    node.finish();
}
