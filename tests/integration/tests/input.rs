//! The container's input: writers that go away or never close, and CloseIO at any time. Tests that hold on runc's shim too
//! also run there, to test the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use catamaran_harness::{Code, Engine, Fifo, Node, Runtime, guests};
use catamaran_integration::everywhere;

const SOON: Duration = Duration::from_secs(10);
/// The capacity of a pipe.
const PIPE: usize = 64 << 10;

fn fifo(node: &Node, name: &str) -> Fifo {
    Fifo::make(node.dir().join(name))
}

#[test]
fn close_io_ends_an_input_that_its_client_left_open() {
    everywhere(|node, runtime| {
        let task = node.container("cat").image(&guests::image(runtime, "cat")).hold_stdin().spawn();
        task.write("early");
        task.expect_stdout("early");
        // The client is gone, or has detached: another one may come.
        task.end_stdin();
        assert_eq!(task.try_wait(Duration::from_millis(300)).unwrap_err().code, Code::DeadlineExceeded, "{runtime:?}");
        task.try_close_io().unwrap();
        assert_eq!(task.wait(SOON).code, 0, "{runtime:?}");
        assert_eq!(task.delete().stdout, "early", "{runtime:?}");
    });
}

#[test]
fn close_io_works_at_any_time() {
    everywhere(|node, runtime| {
        let cat = guests::image(runtime, "cat");
        // Before Start, with data that the guest has not read yet, and twice.
        let task = node.container("cat").image(&cat).hold_stdin().create();
        task.write("before Start");
        task.end_stdin();
        task.try_close_io().unwrap();
        task.try_close_io().unwrap();
        task.start();
        assert_eq!(task.wait(SOON).code, 0, "{runtime:?}");
        // After its end.
        task.try_close_io().unwrap();
        assert_eq!(task.delete().stdout, "before Start", "{runtime:?}");
        // On a task without input, and on one that is gone.
        let task = node.container("cat").image(&cat).spawn();
        assert_eq!(task.wait(SOON).code, 0, "no input is an empty one: {runtime:?}");
        task.try_close_io().unwrap();
        task.try_delete().unwrap();
        assert_eq!(task.try_close_io().unwrap_err().code, Code::NotFound, "{runtime:?}");
        task.remove_container();
    });
}

#[test]
fn input_ends_after_what_is_still_in_the_pipe() {
    everywhere(|node, runtime| {
        let output = fifo(node, "out");
        let mut reader = output.reader();
        let order = node.container("cat").image(&guests::image(runtime, "cat")).hold_stdin();
        let task = order.stream("stdout", output.path()).create();
        // The pipe is full when its end is announced, and the guest has read nothing.
        let text = "0123456789abcdef".repeat(PIPE / 16);
        task.write(&text);
        task.end_stdin();
        task.try_close_io().unwrap();
        task.start();
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap();
        assert!(heard == text, "{runtime:?}: {} bytes of {}", heard.len(), text.len());
        assert_eq!(task.wait(SOON).code, 0, "{runtime:?}");
        task.delete();
    });
}

#[test]
fn input_of_a_hundred_megabytes_goes_through() {
    const BLOCKS: usize = 1600;
    // Each 8 bytes hold their own number.
    let block = |number: usize| {
        let first = (number * PIPE / 8) as u64;
        (first..first + PIPE as u64 / 8).flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
    };
    let node = Node::start();
    for engine in Engine::ALL {
        let (input, output) = (fifo(&node, &format!("in-{engine:?}")), fifo(&node, &format!("out-{engine:?}")));
        let (mut writer, mut reader) = (input.writer(), output.reader());
        let order = node.container("cat").engine(engine).image(&guests::image(Runtime::Catamaran, "cat"));
        let task = order.stream("stdin", input.path()).stream("stdout", output.path()).spawn();
        let begin = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..BLOCKS).for_each(|number| writer.write_all(&block(number)).unwrap());
                drop(writer);
                task.try_close_io().unwrap();
            });
            let mut heard = vec![0; PIPE];
            for number in 0..BLOCKS {
                reader.read_exact(&mut heard).unwrap();
                assert!(heard == block(number), "block {number} on {engine:?}");
            }
            assert_eq!(reader.read(&mut heard).unwrap(), 0, "{engine:?}");
        });
        println!("{}: {} bytes in {:?}", engine.name(), BLOCKS * PIPE, begin.elapsed());
        assert_eq!(task.wait(SOON).code, 0);
        task.delete();
    }
    node.finish();
}
